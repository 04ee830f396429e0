import { Agent as PlainAgent, type IncomingMessage, request as plainRequest } from 'node:http';
import type { Clock } from '../core/clock.ts';
import { systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import { LINK_FAULT_PATH, type LinkFrame, type LinkMessage } from '../formats/link-batch.ts';
import { LINK_MEDIA_TYPE, packMessage } from './codec.ts';

/** What a gateway says beside its acknowledgement, for the log. */
export type LinkEvent = {
  /** `gateway_rejected`: records of an accepted batch that it did not take; `gateway_older`: it does not know our batches. */
  readonly kind: 'gateway_rejected' | 'gateway_older';
  readonly records: number;
  readonly reason: string;
};

export type LinkOptions = {
  /** Where a service listens, with or without a path before `/v1/events`. */
  readonly url: string;
  /** The bearer token; read again whenever the gateway does not know the last one. Null: none is sent. */
  readonly readToken: () => Promise<string | null>;
  readonly clock: Clock;
  /** How long a connection may be silent, while it is made and while it is used. Default 10 s. */
  readonly timeout_ms?: number;
  readonly onEvent: (event: LinkEvent) => void;
};

/** What became of a message: the gateway has it durably; `declared`: its gaps too. */
export type Sent = { readonly declared: boolean };

/**
 * One gateway. `send` resolves with ok once everything in the message is durable there, `retry` when the same message may be
 * sent again, `reject` when this message never will be taken: LW-BODY-SIZE (a smaller one may be) or LW-DELIVERY. Never throws.
 */
export type GatewayLink = Disposable & {
  readonly send: (message: LinkMessage, signal: AbortSignal) => Promise<Outcome<Sent>>;
};

const TIMEOUT_MS = 10_000;
/** The longest rest that a gateway may ask for with Retry-After. */
const REST_MS_MAX = 60_000;
/** An older gateway is offered batches again this often: it may have been replaced. */
const OLDER_MS = 600_000;
/** Messages go one after the other; the second connection is for what is declared beside them. */
const SOCKETS_MAX = 2;
const NDJSON = 'application/x-ndjson';
/** Statuses below 500 that judge the message itself. Any other says that address, token or moment are wrong: it is kept. */
const JUDGED = new Set([400, 422]);

/**
 * Opens the way to a gateway: each message is one `POST /v1/events` of packed batches over connections that stay open. A
 * gateway that does not know them (415, or what one says that reads them as text) gets NDJSON, one request a batch.
 */
export async function openGatewayLink(options: LinkOptions): Promise<GatewayLink> {
  const base = new URL(options.url);
  if (!base.pathname.endsWith('/')) base.pathname += '/';
  const url = new URL('v1/events', base);
  const pool = { keepAlive: true, maxSockets: SOCKETS_MAX };
  if (url.protocol !== 'https:') return new Link(options, { url, request: plainRequest, agent: new PlainAgent(pool) });
  const { Agent, request } = await import('node:https'); // TLS costs memory that plain HTTP does not need
  return new Link(options, { url, request, agent: new Agent(pool) });
}

type Wire = { readonly url: URL; readonly request: typeof plainRequest; readonly agent: PlainAgent };
type Answer = { readonly status: number; readonly retry_after: string | undefined; readonly body: string };
type Body = { readonly headers: Record<string, string>; readonly bytes: Buffer };

class Link implements GatewayLink {
  readonly #options: LinkOptions;
  readonly #wire: Wire;
  #token: string | null | undefined;
  #rest_until_ms = 0;
  #older_until_ms = 0;

  constructor(options: LinkOptions, wire: Wire) {
    this.#options = options;
    this.#wire = wire;
  }

  async send(message: LinkMessage, signal: AbortSignal): Promise<Outcome<Sent>> {
    const { clock } = this.#options;
    if (clock.elapsed_ms() >= this.#older_until_ms) {
      const answer = await this.#exchange(packed(message), signal);
      if (!isOlder(answer, recordsOf(message.frames))) return this.#judge(answer, recordsOf(message.frames), true);
      this.#older_until_ms = clock.elapsed_ms() + OLDER_MS;
      const reason = `${this.#wire.url.host} does not take ${LINK_MEDIA_TYPE}; sending NDJSON`;
      this.#options.onEvent({ kind: 'gateway_older', records: 0, reason });
    }
    for (const frame of message.frames) {
      const answer = await this.#exchange(lines(frame), signal);
      const outcome = this.#judge(answer, frame.records.length, false);
      if (outcome.kind !== 'ok') return outcome;
    }
    return ok({ declared: message.gaps.length === 0 });
  }

  [Symbol.dispose](): void {
    this.#wire.agent.destroy();
  }

  #judge(answer: Outcome<Answer>, records: number, declared: boolean): Outcome<Sent> {
    if (answer.kind !== 'ok') return answer;
    const { status, retry_after, body } = answer.value;
    const said = `${this.#wire.url.host} answered ${status}${detailOf(body)}`;
    if (status === 200) {
      const counts = countsOf(body);
      if (counts === null || counts.accepted + counts.rejected !== records)
        return retry('LW-UNREACHABLE', `${said} and no count of the records sent; is it a Leeway gateway?`);
      if (counts.rejected > 0)
        this.#options.onEvent({ kind: 'gateway_rejected', records: counts.rejected, reason: counts.reason });
      return ok({ declared: declared && counts.undeclared === 0 });
    }
    if (status === 413) return reject('LW-BODY-SIZE', said);
    if (JUDGED.has(status)) return reject('LW-DELIVERY', said);
    if (status === 401 || status === 403) {
      this.#token = undefined;
      return retry('LW-UNAUTHENTICATED', `${said}; check the token in gateway.token_file`);
    }
    const asked_ms = /^\d{1,6}$/.test(retry_after ?? '') ? Math.min(Number(retry_after) * 1000, REST_MS_MAX) : 0;
    this.#rest_until_ms = this.#options.clock.elapsed_ms() + asked_ms;
    return retry(status === 429 ? 'LW-OVERLOADED' : 'LW-UNREACHABLE', said, asked_ms > 0 ? asked_ms : null);
  }

  async #exchange(body: Body, signal: AbortSignal): Promise<Outcome<Answer>> {
    const { clock, timeout_ms = TIMEOUT_MS } = this.#options;
    const { host } = this.#wire.url;
    const rest_ms = Math.ceil(this.#rest_until_ms - clock.elapsed_ms());
    if (rest_ms > 0) return retry('LW-OVERLOADED', `${host} asked to be left alone for ${rest_ms} ms`, rest_ms);
    if (body.bytes.length > LIMITS.body_compressed_bytes_max)
      return reject('LW-BODY-SIZE', `a message of ${body.bytes.length} bytes`);
    try {
      this.#token ??= await this.#options.readToken();
      const headers = {
        ...body.headers,
        'content-length': String(body.bytes.length),
        ...(this.#token === null ? {} : { authorization: `Bearer ${this.#token}` }),
      };
      return ok(await exchange(this.#wire, { headers, body: body.bytes, signal, timeout_ms }));
    } catch (cause) {
      if (signal.aborted || cause === SILENT) return retry('LW-TIMEOUT', `no answer from ${host} in time`);
      return retry('LW-UNREACHABLE', `no answer from ${host} (${systemCode(cause) ?? 'unknown reason'})`);
    }
  }
}

function recordsOf(frames: readonly LinkFrame[]): number {
  return frames.reduce((sum, { records }) => sum + records.length, 0);
}

function packed(message: LinkMessage): Body {
  const { encoding, bytes } = packMessage(message);
  const headers: Record<string, string> = { 'content-type': LINK_MEDIA_TYPE };
  if (encoding !== null) headers['content-encoding'] = encoding;
  return { headers, bytes };
}

function lines({ source, epoch, sequence, records }: LinkFrame): Body {
  const headers = {
    'content-type': NDJSON,
    'x-leeway-source': source,
    'x-leeway-epoch': String(epoch),
    'x-leeway-sequence': String(sequence),
  };
  const bytes = Buffer.from(records.map((record) => `${JSON.stringify(record)}\n`).join(''));
  return { headers, bytes };
}

/**
 * Whether an answer to packed batches is that of a gateway from before them: 415; 400, for it found no line of JSON, unless it
 * says that it judged a batch; or 200 with the number of lines that it found instead.
 */
function isOlder(answer: Outcome<Answer>, records: number): boolean {
  if (answer.kind !== 'ok') return false;
  const { status, body } = answer.value;
  if (status !== 200) return status === 415 || (status === 400 && !isJudgedBatch(body));
  const counts = countsOf(body);
  return counts !== null && counts.accepted + counts.rejected !== records;
}

type Message = {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
  readonly signal: AbortSignal;
  readonly timeout_ms: number;
};

/** Why a request that nobody answered ended. */
const SILENT = new Error('no answer in time');

/** The socket's own timer and the one signal of the role: a controller a request would cost as much as sending it. */
function exchange({ url, request, agent }: Wire, message: Message): Promise<Answer> {
  const { headers, body, signal, timeout_ms } = message;
  return new Promise((resolve, reject) => {
    const sent = request(url, { method: 'POST', agent, headers, signal, timeout: timeout_ms }, (response) => {
      read(response).then(
        (text) =>
          resolve({ status: response.statusCode ?? 0, retry_after: response.headers['retry-after'], body: text }),
        reject,
      );
    });
    sent.on('error', reject);
    sent.on('timeout', () => sent.destroy(SILENT));
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

type Counts = {
  readonly accepted: number;
  readonly rejected: number;
  readonly undeclared: number;
  readonly reason: string;
};

/** How many records the gateway took, from `{"accepted","rejected":[…],"rejected_count"?,"undeclared_count"?}`; null when it says none. */
function countsOf(body: string): Counts | null {
  const value = parsed(body);
  const accepted: unknown = value === null ? undefined : Reflect.get(value, 'accepted');
  const rejected: unknown = value === null ? undefined : Reflect.get(value, 'rejected');
  if (value === null || typeof accepted !== 'number' || !Array.isArray(rejected)) return null;
  const total: unknown = Reflect.get(value, 'rejected_count');
  const first: unknown = rejected[0];
  const reason =
    typeof first === 'object' && first !== null ? `${Reflect.get(first, 'code')} ${Reflect.get(first, 'reason')}` : '';
  const undeclared: unknown = Reflect.get(value, 'undeclared_count');
  return {
    accepted,
    rejected: typeof total === 'number' ? total : rejected.length,
    undeclared: typeof undeclared === 'number' ? undeclared : 0,
    reason: reason.slice(0, 500),
  };
}

/** Whether a problem document is about a message of batches, which an older gateway cannot say. */
function isJudgedBatch(body: string): boolean {
  const value = parsed(body);
  const errors: unknown = value === null ? undefined : Reflect.get(value, 'errors');
  const first: unknown = Array.isArray(errors) ? errors[0] : undefined;
  return typeof first === 'object' && first !== null && Reflect.get(first, 'path') === LINK_FAULT_PATH;
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
