import { lookup } from 'node:dns/promises';
import { isIP } from 'node:net';
import { Agent, type Dispatcher, request } from 'undici';
import type { Clock } from '../core/clock.ts';
import type { PostDoor, SinkRequest, SinkResponse } from '../core/define.ts';
import { systemCode } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { ok, type Outcome, reject, retry } from '../core/outcome.ts';
import { untilAborted } from '../core/until-aborted.ts';
import { type Address, createEgress, type Egress, type EgressSettings, hostOf } from './egress.ts';

/** All addresses of a name. Tests bring their own; the default asks the system. */
export type Resolver = (host: string) => Promise<readonly Address[]>;

export type HttpClientOptions = {
  readonly egress: EgressSettings;
  readonly clock: Clock;
  readonly timeout_ms: number;
  readonly resolve?: Resolver;
};

/** Says nothing of the address: open, closed and absent targets read the same. */
const BLOCKED = reject('LW-EGRESS', 'the target address is not allowed; operators open private targets under "egress"');

/**
 * The only way out to addresses that people enter. Resolves the name, judges every address, connects to the judged
 * addresses and no other (a name that changes its mind meanwhile gains nothing), follows no redirect, uses no proxy,
 * reads at most 64 KiB, and gives up after `timeout_ms` all in all; once the headers are in, the status is the answer. See reference: OWASP SSRF prevention; B4 of reliability.
 */
export function createHttpClient(options: HttpClientOptions): PostDoor {
  const egress = createEgress(options.egress);
  const resolve = options.resolve ?? systemResolver;
  return { post: (message, signal) => withDeadline(options, signal, (limit) => post(egress, resolve, message, limit)) };
}

async function systemResolver(host: string): Promise<Address[]> {
  const found = await lookup(host, { all: true, verbatim: true });
  return found.map(({ address, family }) => ({ address, family: family === 6 ? 6 : 4 }));
}

async function withDeadline(
  options: HttpClientOptions,
  signal: AbortSignal,
  work: (limit: AbortSignal) => Promise<Outcome<SinkResponse>>,
): Promise<Outcome<SinkResponse>> {
  const limit = new AbortController();
  const done = new AbortController();
  const expire = (): void => limit.abort();
  const timer = options.clock.sleep(options.timeout_ms, done.signal).then(
    expire,
    () => undefined, // finished in time
  );
  // not AbortSignal.any: while one has a listener and nothing aborts it, Node keeps it, 1 to 2 KB an attempt for ever
  signal.addEventListener('abort', expire, { once: true });
  if (signal.aborted) expire();
  try {
    return await work(limit.signal);
  } catch (error) {
    if (!limit.signal.aborted) throw error;
    return retry('LW-TIMEOUT', `no answer within ${options.timeout_ms} ms`);
  } finally {
    signal.removeEventListener('abort', expire);
    done.abort();
    await timer;
  }
}

/** Throws when `limit` is over before the answer's headers are in. */
async function post(
  egress: Egress,
  resolve: Resolver,
  message: SinkRequest,
  limit: AbortSignal,
): Promise<Outcome<SinkResponse>> {
  const url = URL.parse(message.url);
  if (url === null || !egress.allowsUrl(url)) return BLOCKED;
  const host = hostOf(url);
  let addresses: readonly Address[];
  try {
    const kind = isIP(host);
    addresses = kind === 0 ? await untilAborted(resolve(host), limit) : [{ address: host, family: kind === 6 ? 6 : 4 }];
  } catch (error) {
    limit.throwIfAborted();
    return retry('LW-UNREACHABLE', `the name does not resolve (${systemCode(error) ?? 'unknown reason'})`);
  }
  if (addresses.length === 0) return retry('LW-UNREACHABLE', 'the name has no address');
  if (!addresses.every(({ address }) => egress.allowsAddress(url, address))) return BLOCKED;
  const agent = pinned(addresses);
  try {
    return ok(await exchange(agent, url, message, limit));
  } catch (error) {
    limit.throwIfAborted();
    return retry('LW-UNREACHABLE', `no answer (${systemCode(error) ?? 'unknown reason'})`);
  } finally {
    await agent.destroy();
  }
}

/** An agent that resolves every name to the judged addresses. One a request: nothing outlives its judgement. */
function pinned(addresses: readonly Address[]): Agent {
  return new Agent({
    pipelining: 0,
    connect: {
      lookup: (_host, asked, answer) => {
        const [first] = addresses;
        if (asked.all === true) answer(null, [...addresses]);
        else answer(null, first?.address ?? '', first?.family ?? 4);
      },
    },
  });
}

async function exchange(agent: Agent, url: URL, message: SinkRequest, limit: AbortSignal): Promise<SinkResponse> {
  const { headers: sent, body } = message;
  const asked = request(url, { dispatcher: agent, method: 'POST', headers: { ...sent }, body, signal: limit });
  const answer = await untilAborted(asked, limit); // while it connects, undici does not look at the signal
  const headers = Object.fromEntries(
    Object.entries(answer.headers).map(([name, value]) => [
      name,
      Array.isArray(value) ? value.join(', ') : (value ?? ''),
    ]),
  );
  return { status: answer.statusCode, headers, ...(await bodyOf(answer.body)) };
}

/**
 * At most LIMITS.response_bytes_max of the body; what follows is not read and the connection ends. The other side has
 * said its word with the status: a body that stalls or breaks off is what came of it, and the message is not sent again.
 */
async function bodyOf(body: Dispatcher.ResponseData['body']): Promise<Pick<SinkResponse, 'body' | 'body_cut'>> {
  const chunks: Buffer[] = [];
  const text = (): string => Buffer.concat(chunks).subarray(0, LIMITS.response_bytes_max).toString('utf8');
  let bytes = 0;
  try {
    for await (const chunk of body) {
      const part = Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
      chunks.push(part);
      bytes += part.length;
      if (bytes >= LIMITS.response_bytes_max) break;
    }
  } catch {
    return { body: text(), body_cut: true }; // by the deadline or by the other side: what was read stands
  }
  return { body: text() };
}
