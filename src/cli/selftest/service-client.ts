import type { Clock } from '../../core/clock.ts';
import { type ErrorCode, LeewayError, systemCode } from '../../core/errors.ts';
import { ok, type Outcome, reject, retry } from '../../core/outcome.ts';
import { isPlainObject } from '../../core/schema-check.ts';
import type { MarkedBatch } from './marked-batch.ts';
import type { Target } from './target.ts';

/** A stalled service answers when it goes on; a request that waits longer is repeated. */
const REQUEST_MS_MAX = 10_000;
const PAGE_ITEMS = 500;
/** Pages of one list: 10 million rows are more than any proof sends. */
const PAGES_MAX = 20_000;
/** Reading goes on through restarts of the service for this long. */
const READ_RETRY_MS = 250;

/** What a service took of a batch: how many of its records it refused one by one, with the first reason. */
export type Taken = { readonly refused: number; readonly reason: string | null };

export type ServiceClientOptions = {
  /** Asked anew for each request: a service that was started again may listen elsewhere. */
  readonly target: () => Target;
  readonly source: string;
  readonly epoch: number;
  readonly clock: Clock;
  readonly signal: AbortSignal;
};

/** The API of a Leeway service as a sender and a reader use it: one request a call. */
export class ServiceClient {
  readonly #options: ServiceClientOptions;

  constructor(options: ServiceClientOptions) {
    this.#options = options;
  }

  /** Sends a batch under its own name once. Retry: send the same again; reject: this batch will never be taken. */
  async send(batch: MarkedBatch): Promise<Outcome<Taken>> {
    const { source, epoch, target } = this.#options;
    const { ingest_url, token } = target();
    const headers = {
      'content-type': batch.content_type,
      'x-leeway-source': source,
      'x-leeway-epoch': String(epoch),
      'x-leeway-sequence': String(batch.sequence),
      ...bearer(token),
    };
    const answer = await this.#request(ingest_url + batch.path, { method: 'POST', headers, body: batch.body });
    if ('kind' in answer) return answer;
    if (answer.status === 200) return ok(takenOf(answer.text));
    const said = `POST ${batch.path} answered ${answer.status}${detailOf(answer.text)}`;
    if (answer.status === 401 || answer.status === 403) throw notAllowed(answer.status, said, ingest_url);
    if (answer.status === 408 || answer.status === 425 || answer.status === 429 || answer.status >= 500)
      return retry('LW-OVERLOADED', said, answer.retry_after_ms);
    return reject('LW-DELIVERY', said);
  }

  /** All items of a list. Waits for a service that is away until `until_ms` of the clock's elapsed time. */
  async list(path: string, until_ms: number): Promise<readonly unknown[]> {
    const items: unknown[] = [];
    let cursor: string | null = null;
    for (let page = 0; page < PAGES_MAX; page++) {
      const query = `${path.includes('?') ? '&' : '?'}limit=${PAGE_ITEMS}`;
      const address = `${path}${query}${cursor === null ? '' : `&cursor=${encodeURIComponent(cursor)}`}`;
      const answer = await this.#get(address, until_ms);
      const { items: some, next_cursor } = pageOf(answer, path);
      items.push(...some);
      if (next_cursor === null) return items;
      cursor = next_cursor;
    }
    throw new LeewayError('LW-INTERNAL', `${path} has more than ${PAGES_MAX} pages`);
  }

  /** Throws with the next step where no Leeway answers, the token is refused, or reading happens elsewhere. */
  async requireReachable(): Promise<void> {
    const { ingest_url, read_url, token } = this.#options.target();
    for (const [option, url, path] of [
      ['--url', ingest_url, '/healthz'],
      ['--read-url', read_url, `/api/v1/delivery?limit=1&source=${encodeURIComponent(this.#options.source)}`],
    ] as const) {
      const answer = await this.#request(url + path, { method: 'GET', headers: bearer(token) });
      if ('kind' in answer) throw unreachable(option, url, answer.reason);
      if (answer.status === 401 || answer.status === 403)
        throw notAllowed(answer.status, `GET ${path} answered ${answer.status}`, url);
      if (answer.status === 200) continue;
      const isGateway = answer.status === 404 && option === '--read-url';
      const hint = isGateway ? '; a gateway keeps no rows: the console does' : '';
      throw unreachable(option, url, `GET ${path} answered ${answer.status}${detailOf(answer.text)}${hint}`);
    }
  }

  async #get(path: string, until_ms: number): Promise<unknown> {
    const { clock, signal, target } = this.#options;
    for (;;) {
      const { read_url, token } = target();
      const answer = await this.#request(read_url + path, { method: 'GET', headers: bearer(token) });
      if (!('kind' in answer) && answer.status === 200) return parsed(answer.text, path);
      const said = 'kind' in answer ? answer.reason : `answered ${answer.status}${detailOf(answer.text)}`;
      const status = 'kind' in answer ? 503 : answer.status;
      if (status === 401 || status === 403) throw notAllowed(status, `GET ${path} ${said}`, read_url);
      if (status < 500 && status !== 429)
        throw new LeewayError('LW-INPUT', `GET ${path} ${said}; is ${read_url} a Leeway service of this version?`);
      if (clock.elapsed_ms() >= until_ms)
        throw new LeewayError('LW-UNREACHABLE', `GET ${path}: ${said}; the account could not be read in time`);
      await clock.sleep(READ_RETRY_MS, signal);
    }
  }

  async #request(url: string, init: RequestInit): Promise<Answer | Extract<Outcome, { kind: 'retry' }>> {
    const { signal } = this.#options;
    signal.throwIfAborted();
    try {
      const limit = AbortSignal.any([signal, AbortSignal.timeout(REQUEST_MS_MAX)]);
      const answer = await fetch(url, { ...init, redirect: 'error', signal: limit });
      const after_s = Number(answer.headers.get('retry-after') ?? Number.NaN);
      const retry_after_ms = Number.isFinite(after_s) ? after_s * 1_000 : null;
      return { status: answer.status, text: await answer.text(), retry_after_ms };
    } catch (error) {
      signal.throwIfAborted();
      return retry('LW-UNREACHABLE', `no answer (${whyNot(error)})`);
    }
  }
}

/** fetch hides the reason behind "fetch failed". */
function whyNot(error: unknown): string {
  if (!(error instanceof Error)) return 'unknown reason';
  return systemCode(error.cause) ?? (error.cause instanceof Error ? error.cause.message : error.name);
}

type Answer = { readonly status: number; readonly text: string; readonly retry_after_ms: number | null };

function bearer(token: string | null): Record<string, string> {
  return token === null ? {} : { authorization: `Bearer ${token}` };
}

function unreachable(option: string, url: string, reason: string): LeewayError {
  return new LeewayError(
    'LW-UNREACHABLE',
    `no Leeway service at ${url}: ${reason}; start it with "leeway serve", or say with ${option} where it listens`,
  );
}

function notAllowed(status: number, said: string, url: string): LeewayError {
  const code: ErrorCode = status === 401 ? 'LW-UNAUTHENTICATED' : 'LW-FORBIDDEN';
  return new LeewayError(
    code,
    `${url}: ${said}; make a token with "leeway token create --scopes ingest,read", keep it in a file and give --token-file`,
  );
}

/** The answer of /v1/events counts refused lines, that of /v1/metrics refused points. */
function takenOf(text: string): Taken {
  const answer = parsed(text, 'the answer');
  if (!isPlainObject(answer)) return { refused: 0, reason: null };
  const { rejected, rejected_count, partialSuccess } = answer;
  if (Array.isArray(rejected)) {
    const first: unknown = rejected[0];
    const reason = isPlainObject(first) ? `${String(first['code'])}: ${String(first['reason'])}` : null;
    return { refused: typeof rejected_count === 'number' ? rejected_count : rejected.length, reason };
  }
  if (!isPlainObject(partialSuccess)) return { refused: 0, reason: null };
  const refused = Number(partialSuccess['rejectedDataPoints'] ?? 0);
  const { errorMessage } = partialSuccess;
  return {
    refused,
    reason: refused === 0 ? null : typeof errorMessage === 'string' ? errorMessage : 'no reason given',
  };
}

function pageOf(answer: unknown, path: string): { items: readonly unknown[]; next_cursor: string | null } {
  const items: unknown = isPlainObject(answer) ? answer['items'] : undefined;
  const next: unknown = isPlainObject(answer) ? answer['next_cursor'] : undefined;
  if (!Array.isArray(items) || (next !== null && typeof next !== 'string'))
    throw new LeewayError('LW-INPUT', `GET ${path} answered no list; is this a Leeway service of this version?`);
  return { items, next_cursor: next };
}

function parsed(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new LeewayError('LW-INPUT', `${what} is no JSON; is this a Leeway service?`, { cause });
  }
}

function detailOf(text: string): string {
  try {
    const body: unknown = JSON.parse(text);
    const detail = isPlainObject(body) ? body['detail'] : undefined;
    return typeof detail === 'string' ? ` (${detail.slice(0, 300)})` : '';
  } catch {
    return ''; // not ours: the status alone tells
  }
}
