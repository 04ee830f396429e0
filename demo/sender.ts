import { randomBytes } from 'node:crypto';
import { Agent, type IncomingMessage, request } from 'node:http';
import { type Clock, systemClock } from '../src/core/clock.ts';
import { systemCode } from '../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import { type Random, systemRandom } from '../src/core/random.ts';
import type { LeewayRecord } from '../src/core/records.ts';

/** Where records go: `base_url` of a Leeway service (http), the name of this source, and a token where auth is on. */
export type LeewayTarget = { readonly base_url: string; readonly source: string; readonly token: string | null };

/** The sender's own account. emitted = acknowledged + rejected + pending + lost. All in records. */
export type SenderAccount = {
  readonly source: string;
  readonly epoch: number;
  readonly emitted: number;
  readonly acknowledged: number;
  /** Refused one by one in a batch that was otherwise accepted. */
  readonly rejected: number;
  readonly pending: number;
  readonly lost: {
    /** Arrived while the buffer was full. */
    readonly buffer_full: number;
    /** In a batch that the service refused for good (400, 413, 415, 422). */
    readonly refused: number;
    /** Still unsent when the time to close was up. */
    readonly unsent: number;
  };
  readonly batches: number;
  readonly retries: number;
  readonly last_error: string | null;
};

export type Sender = {
  /** Takes a record; never blocks, never throws. */
  emit(record: LeewayRecord): void;
  account(): SenderAccount;
  /** Sends what is left for at most `timeout_ms`, then gives up on the rest; the account is final. */
  close(timeout_ms: number): Promise<SenderAccount>;
};

export type SenderOptions = {
  readonly batch_ms?: number;
  readonly records_max?: number;
  readonly clock?: Clock;
  readonly random?: Random;
};

const BATCH_MS = 200;
/** 20,000 records of about 600 bytes are 12 MB: 5 minutes of the busiest process (60 records a second) without a service. */
const RECORDS_MAX = 20_000;
/** 2,000 × 600 bytes = 1.2 MB a request, far under the service's 16 MiB. */
const BATCH_RECORDS_MAX = 2_000;
const BATCH_BYTES_MAX = 4 * 1_048_576;
const RETRY_BASE_MS = 100;
const RETRY_MAX_MS = 5_000;
const REQUEST_MS_MAX = 15_000;
const ANSWER_BYTES_MAX = 65_536;
/** Answers that the same bytes will always get. */
const FINAL_STATUS: readonly number[] = [400, 413, 415, 422];

/**
 * Opens a buffered sender of NDJSON batches to `POST {base_url}/v1/events`, one request at a time over one kept connection.
 * A batch is (source, epoch, sequence); it is repeated under the same sequence until it is acknowledged, so that a repeat
 * after a lost answer stores nothing twice. A batch refused for good is counted as lost and its sequence used again: the
 * sequence of acknowledged batches has no gap.
 */
export function openSender(target: LeewayTarget, options: SenderOptions = {}): Sender {
  return new BufferedSender(target, options);
}

type Answer = { readonly rejected: number };

class BufferedSender implements Sender {
  readonly #target: LeewayTarget;
  readonly #batch_ms: number;
  readonly #records_max: number;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 1 });
  readonly #epoch = Number(randomBytes(8).readBigUInt64BE() >> 11n);
  readonly #closing = new AbortController();
  readonly #abandon = new AbortController();
  readonly #running: Promise<void>;
  #lines: string[] = [];
  #in_flight = 0;
  #sequence = 1;
  #count = { emitted: 0, acknowledged: 0, rejected: 0, buffer_full: 0, refused: 0, unsent: 0, batches: 0, retries: 0 };
  #last_error: string | null = null;

  constructor(target: LeewayTarget, options: SenderOptions) {
    this.#target = target;
    this.#batch_ms = options.batch_ms ?? BATCH_MS;
    this.#records_max = options.records_max ?? RECORDS_MAX;
    this.#clock = options.clock ?? systemClock;
    this.#random = options.random ?? systemRandom;
    this.#running = this.#run();
  }

  emit(record: LeewayRecord): void {
    this.#count.emitted++;
    if (this.#closing.signal.aborted) this.#count.unsent++;
    else if (this.#lines.length + this.#in_flight >= this.#records_max) this.#count.buffer_full++;
    else this.#lines.push(JSON.stringify(record));
  }

  account(): SenderAccount {
    const { buffer_full, refused, unsent, ...count } = this.#count;
    return {
      source: this.#target.source,
      epoch: this.#epoch,
      ...count,
      pending: this.#lines.length + this.#in_flight,
      lost: { buffer_full, refused, unsent },
      last_error: this.#last_error,
    };
  }

  async close(timeout_ms: number): Promise<SenderAccount> {
    this.#closing.abort();
    const limit = setTimeout(() => this.#abandon.abort(), timeout_ms);
    await this.#running;
    clearTimeout(limit);
    this.#agent.destroy();
    return this.account();
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      await this.#rest(this.#batch_ms, this.#closing.signal);
      await this.#drain();
    }
    await this.#drain();
    this.#count.unsent += this.#lines.length;
    this.#lines = [];
  }

  async #drain(): Promise<void> {
    while (this.#lines.length > 0 && !this.#abandon.signal.aborted) {
      const batch = this.#takeBatch();
      this.#in_flight = batch.length;
      await this.#deliver(batch);
      this.#in_flight = 0;
    }
  }

  #takeBatch(): string[] {
    let bytes = 0;
    let rows = 0;
    for (const line of this.#lines) {
      bytes += line.length + 1;
      if (rows === BATCH_RECORDS_MAX || (rows > 0 && bytes > BATCH_BYTES_MAX)) break;
      rows++;
    }
    return this.#lines.splice(0, rows);
  }

  async #deliver(batch: readonly string[]): Promise<void> {
    const body = Buffer.from(`${batch.join('\n')}\n`);
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#post(body);
      if (outcome.kind === 'ok') return this.#acknowledged(batch.length, outcome.value);
      this.#last_error = `${outcome.code}: ${outcome.reason}`;
      if (outcome.kind === 'reject') {
        this.#count.refused += batch.length;
        return;
      }
      if (this.#abandon.signal.aborted) break;
      this.#count.retries++;
      await this.#rest(this.#backoff_ms(attempt, outcome.after_ms), this.#abandon.signal);
    }
    this.#count.unsent += batch.length;
  }

  #acknowledged(rows: number, answer: Answer): void {
    this.#sequence++;
    this.#count.batches++;
    this.#count.rejected += answer.rejected;
    this.#count.acknowledged += rows - answer.rejected;
  }

  #backoff_ms(attempt: number, at_least_ms: number | null): number {
    const doubled = Math.min(RETRY_MAX_MS, RETRY_BASE_MS * 2 ** Math.min(attempt - 1, 16));
    return Math.max(doubled * (0.8 + 0.4 * this.#random.next()), at_least_ms ?? 0);
  }

  async #rest(duration_ms: number, until: AbortSignal): Promise<void> {
    try {
      await this.#clock.sleep(duration_ms, until);
    } catch (error) {
      if (!until.aborted) throw error;
    }
  }

  #post(body: Buffer): Promise<Outcome<Answer>> {
    return new Promise((resolve) => {
      const failed = (error: unknown): void =>
        resolve(retry('LW-UNREACHABLE', `${this.#target.base_url} (${systemCode(error) ?? 'broken off'})`));
      const outgoing = request(
        `${this.#target.base_url}/v1/events`,
        { method: 'POST', agent: this.#agent, headers: this.#headers(body.length), signal: this.#abandon.signal },
        (incoming) => {
          incoming.once('error', failed);
          readText(incoming, (text) => resolve(outcomeOf(incoming, text)));
        },
      );
      outgoing.once('error', failed);
      outgoing.setTimeout(REQUEST_MS_MAX, () => outgoing.destroy());
      outgoing.end(body);
    });
  }

  #headers(length: number): Record<string, string> {
    return {
      'content-type': 'application/x-ndjson',
      'content-length': String(length),
      'x-leeway-source': this.#target.source,
      'x-leeway-epoch': String(this.#epoch),
      'x-leeway-sequence': String(this.#sequence),
      ...(this.#target.token === null ? {} : { authorization: `Bearer ${this.#target.token}` }),
    };
  }
}

function readText(incoming: IncomingMessage, done: (text: string) => void): void {
  let text = '';
  incoming.setEncoding('utf8');
  incoming.on('data', (part: string) => {
    if (text.length < ANSWER_BYTES_MAX) text += part;
  });
  incoming.once('end', () => done(text));
}

function outcomeOf(incoming: IncomingMessage, text: string): Outcome<Answer> {
  const status = incoming.statusCode ?? 0;
  if (status === 200) return ok({ rejected: rejectedIn(text) });
  const reason = `status ${status} ${text.slice(0, 200)}`;
  if (FINAL_STATUS.includes(status)) return reject('LW-DELIVERY', reason);
  const after_s = Number(incoming.headers['retry-after']);
  return retry('LW-DELIVERY', reason, Number.isFinite(after_s) ? after_s * 1_000 : null);
}

/** Length of `rejected` in the answer; an answer that is no JSON says nothing of rejections. */
function rejectedIn(text: string): number {
  try {
    const answer: unknown = JSON.parse(text);
    if (typeof answer !== 'object' || answer === null || !('rejected' in answer)) return 0;
    return Array.isArray(answer.rejected) ? answer.rejected.length : 0;
  } catch {
    return 0; // acknowledged by its status; the body only adds counts
  }
}
