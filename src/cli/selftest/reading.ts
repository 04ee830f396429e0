import type { Clock } from '../../core/clock.ts';
import { LeewayError } from '../../core/errors.ts';
import type { ExactNumber } from '../../core/samples.ts';
import { isPlainObject } from '../../core/schema-check.ts';
import { type MarkedSample, type Marks, METRIC, RUN_LABEL } from './marked-batch.ts';
import type { SentBatch } from './sending.ts';
import type { ServiceClient } from './service-client.ts';

const POLL_MS_MIN = 100;
const POLL_MS_MAX = 1_000;

/** One line of `GET /api/v1/delivery`, in records. */
export type AccountLine = {
  readonly source: string;
  readonly epoch: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly declared_loss: Readonly<Record<string, number>>;
  readonly duplicates_absorbed: number;
  readonly sequence_min: number | null;
  readonly sequence_max: number | null;
  readonly sequences_missing: number;
};

/** What the API gives back of a run. */
export type ReadBack = {
  readonly steps: readonly unknown[];
  readonly samples: readonly MarkedSample[];
  /** Marked series by their label `part`; a part that is listed twice is there twice. */
  readonly series: readonly string[];
};

/** Reads the account and the marked rows of one run. */
export class Reading {
  readonly #client: ServiceClient;
  readonly #clock: Clock;
  readonly #marks: Marks;
  /** Looks at the own line of the account, and those in which it did not add up at that moment. */
  readonly looks = { total: 0, unbalanced: 0 };

  constructor(client: ServiceClient, clock: Clock, marks: Marks) {
    this.#client = client;
    this.#clock = clock;
    this.#marks = marks;
  }

  /** Every line of the account, or those of one source. */
  async account(source: string | null, until_ms: number): Promise<readonly AccountLine[]> {
    const filter = source === null ? '' : `?source=${encodeURIComponent(source)}`;
    return (await this.#client.list(`/api/v1/delivery${filter}`, until_ms)).map(accountLine);
  }

  /**
   * The account of (source, epoch) as soon as stored and declared loss come to `records`, no more and no less, and nothing is
   * on its way, else as it is at `until_ms`; null when the service knows nothing of it.
   */
  async settled(
    name: { readonly source: string; readonly epoch: number },
    records: number,
    { until_ms, signal }: { readonly until_ms: number; readonly signal: AbortSignal },
  ): Promise<AccountLine | null> {
    for (let poll_ms = POLL_MS_MIN; ; poll_ms = Math.min(POLL_MS_MAX, poll_ms * 1.5)) {
      const lines = await this.account(name.source, until_ms);
      const line = lines.find(({ epoch }) => epoch === String(name.epoch)) ?? null;
      this.looks.total++;
      if (line !== null && line.emitted !== line.stored + line.in_flight + lossOf(line)) this.looks.unbalanced++;
      if (line !== null && line.in_flight === 0 && line.stored + lossOf(line) === records) return line;
      const left_ms = until_ms - this.#clock.elapsed_ms();
      if (left_ms <= 0) return line;
      await this.#clock.sleep(Math.min(poll_ms, left_ms), signal);
    }
  }

  /** Step records of the run from `from_step` on. */
  steps(from_step: number, until_ms: number): Promise<readonly unknown[]> {
    return this.#client.list(
      `/api/v1/jobs/${encodeURIComponent(this.#marks.job)}/steps?from_step=${from_step}`,
      until_ms,
    );
  }

  async everything(until_ms: number): Promise<ReadBack> {
    const steps = await this.steps(0, until_ms);
    const found = (await this.#client.list(`/api/v1/series?metric=${METRIC}`, until_ms)).flatMap((item) => {
      const labels: unknown = isPlainObject(item) ? item['labels'] : null;
      const mine = isPlainObject(item) && isPlainObject(labels) && labels[RUN_LABEL] === this.#marks.run;
      return mine ? [{ id: String(item['id']), part: String(labels['part']) }] : [];
    });
    const samples: MarkedSample[] = [];
    for (const { id, part } of found)
      for (const item of await this.#client.list(`/api/v1/series/${id}/samples`, until_ms))
        samples.push(sampleOf(part, item));
    return { steps, samples, series: found.map(({ part }) => part) };
  }
}

/** Records that policy or quarantine took, all reasons together. */
export function lossOf({ declared_loss }: Pick<AccountLine, 'declared_loss'>): number {
  return Object.values(declared_loss).reduce((sum, count) => sum + count, 0);
}

function sampleOf(series: string, item: unknown): MarkedSample {
  const { at_ms, value } = isPlainObject(item) ? item : {};
  return { series, at_ms: Number(at_ms), value: value as ExactNumber }; // the parse door: compared bit by bit, whatever it is
}

function accountLine(item: unknown): AccountLine {
  if (!isPlainObject(item) || typeof item['emitted'] !== 'number' || typeof item['stored'] !== 'number')
    throw new LeewayError(
      'LW-INPUT',
      'GET /api/v1/delivery answered no account; is this a Leeway service of this version?',
    );
  return { ...item, epoch: String(item['epoch']) } as AccountLine; // the parse door: Leeway's own API
}

/**
 * Watches when rows become readable: asks for the steps of the run again and again, and notes for each batch the time from
 * its acknowledgement to the first answer that held all of its steps.
 */
export class FreshnessWatch {
  readonly #reading: Reading;
  readonly #clock: Clock;
  readonly #waiting = new Set<SentBatch>();
  readonly #seen = new Set<string>();
  readonly after_ms: number[] = [];

  constructor(reading: Reading, clock: Clock) {
    this.#reading = reading;
    this.#clock = clock;
  }

  add(sent: SentBatch): void {
    if (sent.batch.steps.length > 0) this.#waiting.add(sent);
  }

  /** Looks until the signal fires; a look that fails (a service that is away) is made again. */
  async run(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await this.#clock.sleep(POLL_MS_MIN, signal).catch(() => undefined); // fired: the loop's end
      if (this.#waiting.size > 0 && !signal.aborted) await this.#look();
    }
  }

  async #look(): Promise<void> {
    const oldest = Math.min(...[...this.#waiting].map(({ batch }) => batch.steps[0]?.step ?? 0));
    const rows = await this.#reading.steps(oldest, this.#clock.elapsed_ms()).catch((error: unknown) => {
      if (error instanceof LeewayError) return null;
      throw error;
    });
    if (rows === null) return;
    const now_ms = this.#clock.elapsed_ms();
    for (const row of rows) if (isPlainObject(row)) this.#seen.add(`${String(row['step'])}/${String(row['rank'])}`);
    for (const sent of this.#waiting) {
      if (!sent.batch.steps.every(({ step, rank }) => this.#seen.has(`${step}/${rank}`))) continue;
      this.#waiting.delete(sent);
      this.after_ms.push(Math.max(0, now_ms - sent.acknowledged_at_ms));
    }
  }
}
