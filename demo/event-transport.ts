import { Agent, type IncomingMessage, request } from 'node:http';
import { connect, type Socket } from 'node:net';
import { systemCode } from '../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import { readBody } from './http-body.ts';

/** Where records go: `base_url` of a Leeway service (`http://…`) or of its workload socket (`unix:/path`), and under which name. */
export type LeewayTarget = {
  readonly base_url: string;
  /** Name of this source; the socket has no place for it. */
  readonly source: string;
  /** Token where auth is on. */
  readonly token: string | null;
};

/** One batch of `records` NDJSON lines. (source, epoch, sequence) names it for ever. */
export type EventBatch = {
  readonly body: Buffer;
  readonly records: number;
  readonly epoch: number;
  readonly sequence: number;
};

/** What the receiver said of a batch that it took. */
export type Receipt = { readonly rejected: number };

/** A way for batches to leave, one at a time. Retry: later the same again; reject: never again. */
export type EventTransport = {
  deliver(batch: EventBatch, signal: AbortSignal): Promise<Outcome<Receipt>>;
  close(): void;
};

const REQUEST_MS_MAX = 15_000;
const ANSWER_BYTES_MAX = 65_536;
/** Answers that the same bytes will always get. */
const FINAL_STATUS: readonly number[] = [400, 413, 415, 422];

/** The transport for a target's address. */
export function openTransport(target: LeewayTarget): EventTransport {
  return target.base_url.startsWith('unix:') ? openSocket(target.base_url.slice('unix:'.length)) : openHttp(target);
}

/** `POST {base_url}/v1/events` over one kept connection; taken means acknowledged as durable by status 200. */
function openHttp(target: LeewayTarget): EventTransport {
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  return {
    deliver: (batch, signal) =>
      new Promise((resolve) => {
        const failed = (error: unknown): void =>
          resolve(retry('LW-UNREACHABLE', `${target.base_url} (${systemCode(error) ?? 'broken off'})`));
        const outgoing = request(
          `${target.base_url}/v1/events`,
          { method: 'POST', agent, headers: headersOf(target, batch), signal },
          (incoming) => {
            readBody(incoming, ANSWER_BYTES_MAX).then((body) => resolve(outcomeOf(incoming, body, batch)), failed);
          },
        );
        outgoing.once('error', failed);
        outgoing.setTimeout(REQUEST_MS_MAX, () => outgoing.destroy());
        outgoing.end(batch.body);
      }),
    close: () => agent.destroy(),
  };
}

function headersOf({ source, token }: LeewayTarget, { body, epoch, sequence }: EventBatch): Record<string, string> {
  return {
    'content-type': 'application/x-ndjson',
    'content-length': String(body.length),
    'x-leeway-source': source,
    'x-leeway-epoch': String(epoch),
    'x-leeway-sequence': String(sequence),
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
}

function outcomeOf(incoming: IncomingMessage, body: Buffer, batch: EventBatch): Outcome<Receipt> {
  const status = incoming.statusCode ?? 0;
  const text = body.toString('utf8');
  if (status === 200) return ok({ rejected: batch.records - acceptedIn(text, batch.records) });
  const reason = `status ${status} ${text.slice(0, 200)}`;
  if (FINAL_STATUS.includes(status)) return reject('LW-DELIVERY', reason);
  const after_s = Number(incoming.headers['retry-after']);
  return retry('LW-DELIVERY', reason, Number.isFinite(after_s) ? after_s * 1_000 : null);
}

/** `accepted` of the answer, at most `records`; an answer that does not say has accepted all. */
function acceptedIn(text: string, records: number): number {
  try {
    const answer: unknown = JSON.parse(text);
    const accepted = typeof answer === 'object' && answer !== null && 'accepted' in answer ? answer.accepted : records;
    return typeof accepted === 'number' ? Math.max(0, Math.min(accepted, records)) : records;
  } catch {
    return records; // acknowledged by its status; the body only adds counts
  }
}

/**
 * Lines into the workload socket, without an answer: taken means handed to the kernel. A batch that breaks off is sent again
 * whole over a new connection; its records' keys absorb the repeat.
 */
function openSocket(path: string): EventTransport {
  let socket: Socket | null = null;
  return {
    deliver: async ({ body }) => {
      try {
        socket ??= await connected(path, () => (socket = null));
        await written(socket, body);
        return ok({ rejected: 0 });
      } catch (error) {
        socket?.destroy();
        socket = null;
        return retry('LW-UNREACHABLE', `${path} (${systemCode(error) ?? 'broken off'})`);
      }
    },
    close: () => socket?.end(),
  };
}

function connected(path: string, onClose: () => void): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect(path, () => {
      socket.off('error', reject);
      socket.on('error', onClose);
      resolve(socket);
    });
    socket.once('error', reject);
    socket.once('close', onClose);
    socket.resume(); // the socket never says anything; an end must still be seen
  });
}

function written(socket: Socket, body: Buffer): Promise<void> {
  return new Promise((resolve, reject) => {
    socket.write(body, (error) => {
      if (error == null) resolve();
      else reject(error);
    });
  });
}
