import { Agent as PlainAgent, type IncomingMessage, request as plainRequest } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Backlog, Batch, Bus, Published } from '../core/ports.ts';

/** Lines of an accepted batch that the gateway did not take, and batches it refused for good, for the log. */
export type GatewayEvent = {
  readonly kind: 'gateway_rejected' | 'gateway_refused';
  readonly source: string;
  readonly records: number;
  readonly reason: string;
};

export type GatewayOptions = {
  /** Where a service listens, with or without a path before `/v1/events`. */
  readonly url: string;
  /** The bearer token; read again whenever the gateway does not know the last one. Null: none is sent. */
  readonly readToken: () => Promise<string | null>;
  readonly clock: Clock;
  /** Time for one batch, connecting included. Default 10 s. */
  readonly timeout_ms?: number;
  /** When it fires, what is under way ends and nothing new begins: the end of draining. */
  readonly cut: AbortSignal;
  readonly onEvent: (event: GatewayEvent) => void;
};

const TIMEOUT_MS = 10_000;
/** The longest rest that a gateway may ask for with Retry-After. */
const REST_MS_MAX = 60_000;
/** One connection a collector, and none to spare. */
const SOCKETS_MAX = 8;
/** Statuses below 500 that judge the sender or the moment and not the batch: it is kept and sent again. */
const PASSING = new Set([401, 403, 408, 425, 429]);

/**
 * The bus of a sidecar: each batch is one `POST /v1/events` to the gateway, over connections that stay open, and
 * durable when the gateway says so. Rejects with LeewayError: LW-UNREACHABLE, LW-TIMEOUT, LW-OVERLOADED and
 * LW-UNAUTHENTICATED = send the same batch again; LW-BODY-SIZE = halve it; LW-DELIVERY = refused for good.
 */
export async function openGatewayBus(options: GatewayOptions): Promise<Bus> {
  const base = new URL(options.url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  const url = new URL('v1/events', base);
  const pool = { keepAlive: true, maxSockets: SOCKETS_MAX };
  if (url.protocol !== 'https:')
    return new GatewayBus(options, { url, request: plainRequest, agent: new PlainAgent(pool) });
  const { Agent, request } = await import('node:https'); // TLS costs memory that plain HTTP does not need
  return new GatewayBus(options, { url, request, agent: new Agent(pool) });
}

type Wire = { readonly url: URL; readonly request: typeof plainRequest; readonly agent: PlainAgent };
type Answer = { readonly status: number; readonly retry_after: string | undefined; readonly body: string };

class GatewayBus implements Bus {
  readonly #options: GatewayOptions;
  readonly #wire: Wire;
  #token: string | null | undefined;
  #rest_until_ms = 0;

  constructor(options: GatewayOptions, wire: Wire) {
    this.#options = options;
    this.#wire = wire;
  }

  async publish(batch: Batch, signal: AbortSignal): Promise<Published> {
    const { clock } = this.#options;
    const rest_ms = this.#rest_until_ms - clock.elapsed_ms();
    if (rest_ms > 0)
      throw new LeewayError('LW-OVERLOADED', `the gateway asked to be left alone for ${Math.ceil(rest_ms)} ms`);
    const body = Buffer.from(batch.records.map((record) => `${JSON.stringify(record)}\n`).join(''));
    if (body.length > LIMITS.body_bytes_max) {
      this.#sayRefusal(batch, `a body of ${body.length} bytes, at most ${LIMITS.body_bytes_max}`);
      throw new LeewayError('LW-BODY-SIZE', `a batch of ${body.length} bytes, at most ${LIMITS.body_bytes_max}`);
    }
    const answer = await this.#send(batch, body, signal);
    if (answer.status === 200) return this.#accepted(batch, answer);
    throw this.#refusal(batch, answer);
  }

  async consume(): Promise<void> {
    throw new LeewayError('LW-INTERNAL', 'a sidecar has nothing to consume: the service at the gateway does');
  }

  backlog(): Backlog {
    return { bytes: 0, frames: 0, oldest_ms: 0, in_flight: [], torn_frames: 0, damaged_frames: 0, quarantined: [] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#wire.agent.destroy();
  }

  #accepted(batch: Batch, answer: Answer): Published {
    const counts = countsOf(answer.body);
    if (counts === null || counts.accepted + counts.rejected !== batch.records.length)
      throw new LeewayError(
        'LW-UNREACHABLE',
        `${this.#wire.url.host} answered 200 and no count of the records sent; is it a Leeway gateway?`,
      );
    if (counts.rejected > 0)
      this.#options.onEvent({
        kind: 'gateway_rejected',
        source: batch.source,
        records: counts.rejected,
        reason: counts.reason,
      });
    return { repeated: false };
  }

  #refusal(batch: Batch, { status, retry_after, body }: Answer): LeewayError {
    const said = `${this.#wire.url.host} answered ${status}${detailOf(body)}`;
    if (status === 413) {
      this.#sayRefusal(batch, said);
      return new LeewayError('LW-BODY-SIZE', said);
    }
    if (status === 401 || status === 403) {
      this.#token = undefined;
      return new LeewayError('LW-UNAUTHENTICATED', `${said}; check the token in gateway.token_file`);
    }
    if (status >= 400 && status < 500 && !PASSING.has(status)) {
      this.#sayRefusal(batch, said);
      return new LeewayError('LW-DELIVERY', said);
    }
    const asked_ms = /^\d{1,6}$/.test(retry_after ?? '') ? Number(retry_after) * 1000 : 0;
    this.#rest_until_ms = this.#options.clock.elapsed_ms() + Math.min(asked_ms, REST_MS_MAX);
    return new LeewayError(status === 429 ? 'LW-OVERLOADED' : 'LW-UNREACHABLE', said);
  }

  #sayRefusal({ source, records }: Batch, reason: string): void {
    this.#options.onEvent({ kind: 'gateway_refused', source, records: records.length, reason });
  }

  async #send(batch: Batch, body: Buffer, signal: AbortSignal): Promise<Answer> {
    const { clock, cut, timeout_ms = TIMEOUT_MS } = this.#options;
    this.#token ??= await this.#options.readToken();
    const limit = new AbortController();
    const stop = (): void => limit.abort();
    const done = new AbortController();
    for (const outer of [signal, cut]) {
      if (outer.aborted) stop();
      outer.addEventListener('abort', stop, { signal: done.signal });
    }
    clock.sleep(timeout_ms, done.signal).then(stop, () => undefined); // answered in time
    try {
      return await exchange(this.#wire, { headers: headersOf(batch, body, this.#token), body, signal: limit.signal });
    } catch (cause) {
      const { host } = this.#wire.url;
      if (limit.signal.aborted) throw new LeewayError('LW-TIMEOUT', `no answer from ${host} in time`, { cause });
      throw new LeewayError('LW-UNREACHABLE', `no answer from ${host} (${systemCode(cause) ?? 'unknown reason'})`, {
        cause,
      });
    } finally {
      done.abort();
    }
  }
}

function headersOf(batch: Batch, body: Buffer, token: string | null): Record<string, string> {
  return {
    'content-type': 'application/x-ndjson',
    'content-length': String(body.length),
    'x-leeway-source': batch.source,
    'x-leeway-epoch': String(batch.epoch),
    'x-leeway-sequence': String(batch.sequence),
    ...(token === null ? {} : { authorization: `Bearer ${token}` }),
  };
}

type Message = { readonly headers: Record<string, string>; readonly body: Buffer; readonly signal: AbortSignal };

function exchange({ url, request, agent }: Wire, { headers, body, signal }: Message): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent, headers, signal }, (response) => {
      read(response).then(
        (text) =>
          resolve({ status: response.statusCode ?? 0, retry_after: response.headers['retry-after'], body: text }),
        reject,
      );
    });
    sent.on('error', reject);
    sent.end(body);
  });
}

/** At most LIMITS.response_bytes_max of the answer; a longer one ends the connection. */
async function read(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of response) {
    const part = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
    bytes += part.length;
    chunks.push(part);
    if (bytes > LIMITS.response_bytes_max) break; // ends the iteration, which destroys the response
  }
  return Buffer.concat(chunks).toString('utf8');
}

type Counts = { readonly accepted: number; readonly rejected: number; readonly reason: string };

/** How many records the gateway took, from `{"accepted","rejected":[…],"rejected_count"?}`; null when it says none. */
function countsOf(body: string): Counts | null {
  const value = parsed(body);
  const accepted: unknown = value === null ? undefined : Reflect.get(value, 'accepted');
  const rejected: unknown = value === null ? undefined : Reflect.get(value, 'rejected');
  if (value === null || typeof accepted !== 'number' || !Array.isArray(rejected)) return null;
  const total: unknown = Reflect.get(value, 'rejected_count');
  const first: unknown = rejected[0];
  const reason =
    typeof first === 'object' && first !== null ? `${Reflect.get(first, 'code')} ${Reflect.get(first, 'reason')}` : '';
  return { accepted, rejected: typeof total === 'number' ? total : rejected.length, reason: reason.slice(0, 500) };
}

/** What a problem document says of itself, for a message. */
function detailOf(body: string): string {
  const value = parsed(body);
  const detail: unknown = value === null ? undefined : (Reflect.get(value, 'detail') ?? Reflect.get(value, 'title'));
  return typeof detail === 'string' ? `: ${detail.slice(0, 300)}` : '';
}

function parsed(body: string): object | null {
  try {
    const value: unknown = JSON.parse(body);
    return typeof value === 'object' && value !== null ? value : null;
  } catch {
    return null; // the caller says that this is no answer of a gateway
  }
}
