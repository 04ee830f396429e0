import { Readable } from 'node:stream';
import { type Clock, every } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { StreamEvent, StreamService } from './services.ts';

/** Proxies close silent connections after 30 to 60 s; browsers notice a dead one by the missing comment. */
const HEARTBEAT_MS = 15_000;

type Client = { readonly stream: Readable; readonly queue: string[]; hungry: boolean };

/**
 * Server-sent events for many clients from one subscription. Each client has a queue of
 * LIMITS.stream_queue_events_max texts; a client that falls behind further is disconnected, reconnects and reads the
 * current state anew. `Last-Event-ID` needs no answer for the same reason: state is read from the API, events only say
 * what to read.
 */
export class StreamHub {
  readonly #source: StreamService;
  readonly #clock: Clock;
  readonly #signal: AbortSignal;
  readonly #clients = new Set<Client>();
  #started = false;
  #sequence = 0;

  constructor(source: StreamService, clock: Clock, signal: AbortSignal) {
    this.#source = source;
    this.#clock = clock;
    this.#signal = signal;
  }

  /** The bytes for one more client. Throws LW-OVERLOADED when there are LIMITS.stream_clients_max already. */
  open(): Readable {
    if (this.#clients.size >= LIMITS.stream_clients_max)
      throw new LeewayError('LW-OVERLOADED', `${LIMITS.stream_clients_max} streams are open, the most there may be`);
    this.#start();
    const client: Client = {
      stream: new Readable({ read: () => feed(client) }),
      queue: ['retry: 2000\n: connected\n\n'],
      hungry: false,
    };
    client.stream.on('close', () => this.#clients.delete(client));
    this.#clients.add(client);
    return client.stream;
  }

  get clients(): number {
    return this.#clients.size;
  }

  #start(): void {
    if (this.#started) return;
    this.#started = true;
    const unsubscribe = this.#source.subscribe((event) => this.#publish(format(event, ++this.#sequence)));
    const beat = async (): Promise<void> => this.#publish(': heartbeat\n\n');
    void every(this.#clock, HEARTBEAT_MS, beat, { signal: this.#signal, onError: () => {} });
    this.#signal.addEventListener(
      'abort',
      () => {
        unsubscribe();
        for (const client of this.#clients) client.stream.push(null);
      },
      { once: true },
    );
  }

  #publish(text: string): void {
    for (const client of this.#clients) {
      if (client.queue.length >= LIMITS.stream_queue_events_max) {
        client.stream.destroy();
        continue;
      }
      client.queue.push(text);
      if (client.hungry) feed(client);
    }
  }
}

function feed(client: Client): void {
  client.hungry = true;
  while (client.hungry) {
    const text = client.queue.shift();
    if (text === undefined) return;
    client.hungry = client.stream.push(text);
  }
}

/** JSON has no raw line ends, so one `data:` line holds it. */
function format(event: StreamEvent, sequence: number): string {
  return `id: ${sequence}\nevent: ${event.event}\ndata: ${JSON.stringify(event.data)}\n\n`;
}
