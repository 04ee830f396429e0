import { connect, isIP, type Socket } from 'node:net';
import { connect as connectTls, type ConnectionOptions } from 'node:tls';

type Wanted = {
  readonly host: string;
  readonly port: number;
  readonly ssl: ConnectionOptions | undefined;
  readonly onConnect: () => void;
};

const KEEP_ALIVE_MS = 60_000;

/**
 * The connections of one kafkajs client, so that none outlives it. Version 2.2.4 forgets connections that are being made
 * while a client fails or is closed; one of them, with the timer beside it, keeps a process alive for ever.
 */
export class KafkaSockets {
  readonly #open = new Set<Socket>();
  #isClosed = false;

  /** What kafkajs takes as `socketFactory`; the same as its own otherwise. */
  readonly connect = ({ host, port, ssl, onConnect }: Wanted): Socket => {
    const named = isIP(host) === 0 ? { servername: host } : {};
    const socket =
      ssl === undefined || ssl === null
        ? connect({ host, port }, onConnect)
        : connectTls({ host, port, ...named, ...ssl }, onConnect);
    socket.setKeepAlive(true, KEEP_ALIVE_MS);
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    if (this.#isClosed) setImmediate(() => destroy(socket)); // when its listeners are there
    return socket;
  };

  /** Ends every connection, and every one that is still to come. */
  close(): void {
    this.#isClosed = true;
    for (const socket of this.#open) destroy(socket);
  }
}

function destroy(socket: Socket): void {
  socket.destroy(new Error('the client was closed'));
}
