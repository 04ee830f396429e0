import { chmod, lstat, mkdir, rm } from 'node:fs/promises';
import type { IncomingMessage, Server as HttpServer } from 'node:http';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { dirname } from 'node:path';
import Type from 'typebox';
import type { Clock } from '../src/core/clock.ts';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { type ErrorCode, ERRORS, LeewayError } from '../src/core/errors.ts';
import { LIMITS } from '../src/core/limits.ts';
import { ok, type Outcome, reject } from '../src/core/outcome.ts';
import { parseRecord } from '../src/core/parse-record.ts';
import { farAheadReason, isFarAhead } from '../src/core/record-clock.ts';
import type { LeewayRecord } from '../src/core/records.ts';

const config = Type.Object({
  /** Path of the Unix socket; `auto` = workload.sock in the data directory, `off` = none. */
  socket: Type.String({ default: 'auto' }),
  /** Also takes `POST /v1/events` on this port of 127.0.0.1; null = not. A whole service answers there by itself. */
  http_port: Type.Union([Type.Null(), Type.Integer({ minimum: 0, maximum: 65_535 })], { default: null }),
});

/** Records held between two collects: 5 s of 1,024 ranks at 10 records a second. More is refused and counted. */
const RECORDS_MAX = 51_200;
/** Bytes of records and unfinished lines held: as many as one body of the service may have. */
const BYTES_MAX = LIMITS.body_bytes_max;
const CONNECTIONS_MAX = 256;
/** sun_path of Linux holds 108 bytes with the final NUL. */
const SOCKET_PATH_BYTES_MAX = 107;

/**
 * Training ranks and servers of this machine write NDJSON records into a Unix socket, one a line, without waiting for
 * an answer: telemetry never slows the workload. With `http_port`, `POST /v1/events` on loopback answers 202 with what
 * was accepted and what was not; accepted there means held in memory, where the service's own door means durable.
 */
export const collector = defineCollector({
  name: 'workload',
  about: 'Records that training ranks and servers of this machine write into a Unix socket',
  config,
  open: async ({ settings, clock }): Promise<OpenCollector> => {
    if (settings.socket === 'off' && settings.http_port === null)
      return {
        collect: async () => reject('LW-NOT-FOUND', 'absent: socket is off'),
        [Symbol.asyncDispose]: async () => undefined,
      };
    await using stack = new AsyncDisposableStack();
    const inbox = new Inbox(clock);
    if (settings.socket !== 'off') stack.use(await listenOnSocket(settings.socket, inbox));
    if (settings.http_port !== null) stack.use(await listenOnLoopback(settings.http_port, inbox));
    const doors = stack.move();
    return {
      collect: async () => ok(inbox.take()),
      rejected: () => inbox.rejected,
      [Symbol.asyncDispose]: () => doors.disposeAsync(),
    };
  },
});

async function listenOnSocket(path: string, inbox: Inbox): Promise<AsyncDisposable> {
  if (Buffer.byteLength(path) > SOCKET_PATH_BYTES_MAX)
    throw new LeewayError(
      'LW-CONFIG',
      `collectors.workload.socket: got a path of ${Buffer.byteLength(path)} bytes, expected at most ${SOCKET_PATH_BYTES_MAX}; ` +
        'set it to a shorter one',
    );
  await mkdir(dirname(path), { recursive: true });
  await clearAway(path);
  const sockets = new Set<Socket>();
  const server = createServer((socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    attend(socket, inbox);
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('drop', () => inbox.count('LW-OVERLOADED'));
  await listening(server, () => server.listen(path));
  await chmod(path, 0o660);
  return {
    [Symbol.asyncDispose]: async () => {
      for (const socket of sockets) socket.destroy();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      await rm(path, { force: true });
    },
  };
}

/** Removes the socket that a killed process left; refuses to touch one that answers, or what is no socket. */
async function clearAway(path: string): Promise<void> {
  const found = await lstat(path).catch(() => null); // nothing there: nothing to clear away
  if (found === null) return;
  const inUse = found.isSocket() && (await answers(path));
  if (!found.isSocket() || inUse)
    throw new LeewayError(
      'LW-CONFIG',
      `collectors.workload.socket: ${path} ${inUse ? 'is in use by another process' : 'exists and is no socket'}; set another path`,
    );
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = connect(path);
    const done = (answer: boolean) => (): void => {
      probe.destroy();
      resolve(answer);
    };
    probe.once('connect', done(true)).once('error', done(false));
  });
}

function listening(server: Server | HttpServer, listen: () => void): Promise<void> {
  return new Promise<void>((resolve, fail) => {
    server.once('error', fail);
    server.once('listening', () => {
      server.off('error', fail);
      resolve();
    });
    listen();
  });
}

/** Reads lines from one connection until it ends. */
function attend(socket: Socket, inbox: Inbox): void {
  const lines = new Lines(inbox);
  socket.on('data', (bytes: Buffer) => lines.push(bytes));
  socket.on('end', () => lines.end());
  socket.on('error', () => socket.destroy());
  socket.on('close', () => lines.drop());
}

async function listenOnLoopback(port: number, inbox: Inbox): Promise<AsyncDisposable> {
  const { createServer: createHttpServer } = await import('node:http');
  const server = createHttpServer((request, response) => {
    answer(request, inbox).then(
      ({ status, body }) =>
        response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(body)),
      () => response.destroy(), // the sender broke off: nobody to answer
    );
  });
  server.maxConnections = CONNECTIONS_MAX;
  server.on('drop', () => inbox.count('LW-OVERLOADED'));
  await listening(server, () => server.listen(port, '127.0.0.1'));
  return {
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
    },
  };
}

type Rejection = { readonly line: number; readonly code: string; readonly reason: string };
type Reply = { readonly status: number; readonly body: object };

/** `POST /v1/events` as the service answers it (api.md), but 202: what is accepted is not durable yet. */
async function answer(request: IncomingMessage, inbox: Inbox): Promise<Reply> {
  if (request.headers.origin !== undefined) return problem('LW-ORIGIN', 'a page in a browser may not send records');
  if (request.url !== '/v1/events') return problem('LW-NOT-FOUND', 'only /v1/events is here');
  if (request.method !== 'POST') return problem('LW-METHOD', 'only POST');
  if ((request.headers['content-encoding'] ?? 'identity') !== 'identity')
    return problem('LW-MEDIA-TYPE', 'send the body as it is, without content-encoding');
  const rejected: Rejection[] = [];
  let rejected_count = 0;
  let unreadable = 0;
  const lines = new Lines(inbox, (rejection) => {
    rejected_count++;
    if (rejection.code === 'LW-RECORD-JSON') unreadable++;
    if (rejected.length < LIMITS.rejected_listed_max) rejected.push(rejection);
  });
  let bytes = 0;
  try {
    for await (const chunk of request) {
      const part = Buffer.from(chunk);
      bytes += part.length;
      if (bytes > BYTES_MAX)
        return problem('LW-BODY-SIZE', `more than ${BYTES_MAX} bytes; what came before is accepted`);
      lines.push(part);
    }
    lines.end();
  } finally {
    lines.drop();
  }
  const { accepted } = lines;
  if (accepted === 0 && rejected[0]?.code === 'LW-OVERLOADED') return problem('LW-OVERLOADED', rejected[0].reason);
  if (accepted === 0 && rejected_count === unreadable)
    return problem('LW-BODY', 'no line of the body is a JSON object; send NDJSON, one record a line');
  return { status: 202, body: { accepted, rejected, ...(rejected_count > rejected.length ? { rejected_count } : {}) } };
}

function problem(code: ErrorCode, detail: string): Reply {
  const { status, title } = ERRORS[code];
  return { status, body: { type: `urn:leeway:error:${code}`, title, status, detail, code, instance: '/v1/events' } };
}

const NEWLINE = 10;
const strict = new TextDecoder('utf-8', { fatal: true });

/** Splits one stream of bytes into lines, holding at most one; a line that is too long is passed over and counted. */
class Lines {
  readonly #inbox: Inbox;
  readonly #refuse: (rejection: Rejection) => void;
  #held: Buffer[] = [];
  #held_bytes = 0;
  #isSkipping = false;
  #line = 1;
  accepted = 0;

  constructor(inbox: Inbox, refuse: (rejection: Rejection) => void = () => undefined) {
    this.#inbox = inbox;
    this.#refuse = refuse;
  }

  push(bytes: Buffer): void {
    let from = 0;
    for (let end = bytes.indexOf(NEWLINE); end >= 0; end = bytes.indexOf(NEWLINE, from)) {
      this.#hold(bytes.subarray(from, end));
      this.#close();
      from = end + 1;
    }
    this.#hold(bytes.subarray(from));
  }

  /** The stream is whole: what is left is the last line. */
  end(): void {
    if (this.#held_bytes > 0 || this.#isSkipping) this.#close();
  }

  /** The stream broke off: what is left is half a line. */
  drop(): void {
    this.#inbox.held_bytes -= this.#held_bytes;
    this.#held = [];
    this.#held_bytes = 0;
  }

  #hold(part: Buffer): void {
    if (this.#isSkipping || part.length === 0) return;
    const isFull = this.#inbox.held_bytes + part.length > BYTES_MAX;
    if (isFull || this.#held_bytes + part.length > LIMITS.record_bytes_max) {
      this.#isSkipping = true;
      this.drop();
      if (isFull) this.#reject('LW-OVERLOADED', `more than ${BYTES_MAX} bytes wait to be collected`);
      else this.#reject('LW-RECORD-SIZE', `longer than ${LIMITS.record_bytes_max} bytes`);
      return;
    }
    this.#held.push(Buffer.from(part)); // a copy: a view would keep the whole chunk in memory
    this.#held_bytes += part.length;
    this.#inbox.held_bytes += part.length;
  }

  #close(): void {
    const bytes = Buffer.concat(this.#held);
    this.drop();
    if (this.#isSkipping) this.#isSkipping = false;
    else if (bytes.length > 0) this.#take(bytes);
    this.#line++;
  }

  #take(bytes: Buffer): void {
    let text: string;
    try {
      text = strict.decode(bytes);
    } catch {
      return this.#reject('LW-RECORD-JSON', 'not UTF-8');
    }
    if (text.trim() === '') return;
    const outcome = this.#inbox.put(text);
    if (outcome.kind === 'ok') this.accepted++;
    else if (outcome.kind === 'reject') this.#reject(outcome.code, outcome.reason);
  }

  #reject(code: string, reason: string): void {
    this.#inbox.count(code);
    this.#refuse({ line: this.#line, code, reason });
  }
}

/** What came in since the last collect, and what was refused, by code. */
class Inbox {
  readonly #clock: Clock;
  readonly rejected: Record<string, number> = {};
  /** Bytes of records and of unfinished lines. */
  held_bytes = 0;
  #records: LeewayRecord[] = [];
  #record_bytes = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  take(): LeewayRecord[] {
    const taken = this.#records;
    this.#records = [];
    this.held_bytes -= this.#record_bytes;
    this.#record_bytes = 0;
    return taken;
  }

  count(code: string): void {
    this.rejected[code] = (this.rejected[code] ?? 0) + 1;
  }

  put(text: string): Outcome {
    const parsed = parseRecord(text);
    if (parsed.kind !== 'ok') return parsed;
    const now_ms = this.#clock.now_ms();
    if (isFarAhead(parsed.value, now_ms)) return reject('LW-RECORD-CLOCK', farAheadReason(now_ms));
    if (this.#records.length >= RECORDS_MAX || this.held_bytes + text.length > BYTES_MAX)
      return reject('LW-OVERLOADED', 'too much waits to be collected; send it again later');
    this.#records.push(parsed.value);
    this.#record_bytes += text.length;
    this.held_bytes += text.length;
    return ok(undefined);
  }
}
