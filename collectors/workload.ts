import { chmod, rm } from 'node:fs/promises';
import { createServer, type Server, type Socket } from 'node:net';
import Type from 'typebox';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { LIMITS } from '../src/core/limits.ts';
import { ok, reject } from '../src/core/outcome.ts';
import { type LeewayRecord, parseRecord } from '../src/core/records.ts';
import { systemCode } from '../src/core/errors.ts';

const config = Type.Object({
  /** Path of the Unix socket; `auto` = workload.sock in the data directory, `off` = none. */
  socket: Type.String({ default: 'auto' }),
});

/** Records held between two collects: 5 s of 1,024 ranks at 10 records a second. More is dropped and counted. */
const RECORDS_MAX = 51_200;
const CONNECTIONS_MAX = 256;

/**
 * Training ranks and servers of this machine write NDJSON records into a Unix socket, one a line, without waiting for
 * an answer: telemetry never slows the workload. (For an acknowledgement use `POST /v1/events` on loopback.)
 */
export const collector = defineCollector({
  name: 'workload',
  about: 'Records that training ranks and servers of this machine write into a Unix socket',
  config,
  open: async ({ settings }): Promise<OpenCollector> => {
    if (settings.socket === 'off') return closed('absent: socket is off');
    const inbox = new Inbox();
    const server = await listen(settings.socket, inbox);
    return {
      collect: async () => ok(inbox.take()),
      rejected: () => inbox.rejected,
      [Symbol.asyncDispose]: async () => {
        inbox.close();
        await new Promise<void>((resolve) => server.close(() => resolve()));
        await rm(settings.socket, { force: true });
      },
    };
  },
});

function closed(reason: string): OpenCollector {
  return { collect: async () => reject('LW-NOT-FOUND', reason), [Symbol.asyncDispose]: async () => undefined };
}

async function listen(path: string, inbox: Inbox): Promise<Server> {
  await rm(path, { force: true }); // the data directory's lock says that no living process of ours holds it
  const server = createServer((socket) => inbox.attend(socket));
  server.maxConnections = CONNECTIONS_MAX;
  await new Promise<void>((resolve, fail) => {
    server.once('error', fail);
    server.listen(path, () => resolve());
  });
  server.on('error', (error) => inbox.count(systemCode(error) ?? 'LW-INTERNAL'));
  await chmod(path, 0o660);
  return server;
}

/** What came in since the last collect, and what was refused, by code. */
class Inbox {
  readonly rejected: Record<string, number> = {};
  #records: LeewayRecord[] = [];
  readonly #sockets = new Set<Socket>();

  take(): LeewayRecord[] {
    const taken = this.#records;
    this.#records = [];
    return taken;
  }

  count(code: string): void {
    this.rejected[code] = (this.rejected[code] ?? 0) + 1;
  }

  close(): void {
    for (const socket of this.#sockets) socket.destroy();
  }

  attend(socket: Socket): void {
    this.#sockets.add(socket);
    let held = '';
    let skipping = false;
    socket.setEncoding('utf8');
    socket.on('data', (text: string) => {
      const parts = (held + text).split('\n');
      held = parts.pop() ?? '';
      for (const part of parts) {
        if (!skipping) this.#line(part);
        skipping = false;
      }
      if (held.length > LIMITS.record_bytes_max) {
        if (!skipping) this.count('LW-RECORD-SIZE');
        skipping = true;
        held = '';
      }
    });
    socket.on('error', () => socket.destroy());
    socket.on('close', () => this.#sockets.delete(socket));
  }

  #line(text: string): void {
    if (text.trim() === '') return;
    const parsed = parseRecord(text);
    if (parsed.kind !== 'ok') return this.count(parsed.code);
    if (this.#records.length >= RECORDS_MAX) return this.count('LW-OVERLOADED');
    this.#records.push(parsed.value);
  }
}
