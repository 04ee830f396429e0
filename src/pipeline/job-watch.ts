import type { Finding } from '../core/finding.ts';
import type { Store } from '../core/ports.ts';
import type { RecordType } from '../core/records.ts';
import { TableNews } from '../read/table-news.ts';
import { type TimedRecord, UnreadRecords } from '../read/unread-records.ts';
import { type JobMemory, jobMemory, type Standing } from './job-memory.ts';
import { createStragglerDetector, type StragglerDetector } from '../straggler/detector.ts';
import { STRAGGLER_DEFAULTS, type StragglerOptions } from '../straggler/options.ts';
import type { StragglerReport } from '../straggler/report.ts';

/** Record types that the straggler engine reads. */
const TYPES = ['job', 'step', 'heartbeat', 'phase', 'checkpoint', 'gpu', 'nic', 'host'] as const satisfies RecordType[];

/** Rows of one type taken in one reading: 200,000 steps are 3 minutes of 1,024 ranks at one step a second. */
const ROWS_MAX = 200_000;
/** Readings of backlogs in one look: a second or two each. */
const BACKLOG_READINGS_MAX = 4;
/** After this long without a finding about a job, its last verdict is no longer repeated to the desk. */
const FORGET_MS = 24 * 3_600_000;
/** A hang also needs this long by the wall clock without the arrival of a step (contract: api.md). */
const SILENCE_MS = 60_000;
/** A slowdown is believed when the steps themselves show it for this long: a job that ended shows nothing more. */
const SHOWN_MS = 4_000;
/** Rows older than this are history: they came in batches, table by table, and the rest may be on its way … */
const HISTORIC_MS = 5_000;
/** … so their verdict waits for a look without any, at most this long (contract: analysed within 5 s of storing). */
const SETTLE_MS = 2_500;

/** What is remembered is kept this often; a successor reads what came since. */
const KEEP_MS = 60_000;

export type JobWatchOptions = {
  readonly detector: Partial<StragglerOptions>;
  /** How far back a restarted watch reads to build its state anew. */
  readonly history_ms: number;
  /** Default: ROWS_MAX. */
  readonly rows_max?: number;
};

/**
 * Watches training jobs: feeds what was stored since the last look to the detector and keeps the standing verdicts. A
 * watch goes on where another one was by its memory and the recent history, of which the detector leaves what it knows;
 * without one it builds its state from the history alone.
 */
export class JobWatch {
  readonly #options: JobWatchOptions;
  readonly #detector: StragglerDetector;
  readonly #news: TableNews;
  /** When a step of a job last arrived, by the wall clock. */
  readonly #stepped = new Map<string, number>();
  /** Time of the newest step of a job, by its own clock. */
  readonly #newest_step = new Map<string, number>();
  /** The same as a memory had it: steps up to there are known, they do not arrive when they are read again. */
  readonly #remembered_step = new Map<string, number>();
  readonly #unread: ReadonlyMap<string, UnreadRecords>;
  readonly #standing = new Map<string, Standing>();
  #arrived_ms = Number.NEGATIVE_INFINITY;
  #newest_ms = 0;
  #oldest_read_ms = Number.POSITIVE_INFINITY;
  #settling_since_ms: number | null = null;
  #kept = { at_ms: Number.NEGATIVE_INFINITY, until_ms: 0 };
  #restored: boolean;

  constructor(store: Store, options: JobWatchOptions, memory: JobMemory | null = null) {
    this.#options = options;
    const known = memory?.block_steps === this.#block_steps ? memory : null;
    this.#detector = createStragglerDetector(options.detector, known?.detector);
    this.#restored = known !== null;
    if (known !== null) this.#goOn(known);
    this.#news = new TableNews(store);
    this.#unread = new Map(TYPES.map((type) => [type, new UnreadRecords(store, type, this.#rows_max)]));
  }

  #goOn(memory: JobMemory): void {
    this.#newest_ms = memory.until_ms;
    this.#kept = { at_ms: Number.NEGATIVE_INFINITY, until_ms: memory.until_ms };
    for (const [key, standing] of memory.standing) this.#standing.set(key, standing);
    for (const [job, at_ms] of memory.stepped) this.#stepped.set(job, at_ms);
    for (const [job, at_ms] of memory.newest_step) {
      this.#newest_step.set(job, at_ms);
      this.#remembered_step.set(job, at_ms);
    }
  }

  /** What to keep for a successor; null while that of less than a minute ago, or nothing new, is enough. */
  memory(now_ms: number): JobMemory | null {
    const { until_ms } = this.#detector;
    if (now_ms - this.#kept.at_ms < KEEP_MS || until_ms === this.#kept.until_ms) return null;
    this.#kept = { at_ms: now_ms, until_ms };
    return jobMemory({
      block_steps: this.#block_steps,
      until_ms,
      detector: this.#detector.memory(),
      standing: [...this.#standing],
      stepped: [...this.#stepped],
      newest_step: [...this.#newest_step],
    });
  }

  /** Reads what is new, judges it, and returns every standing finding; a cleared one is returned with value 0. */
  async analyse(now_ms: number, signal: AbortSignal): Promise<Finding[]> {
    // silence of before a restart is none yet: what was sent meanwhile may be on its way
    if (this.#restored) this.#arrived_ms = now_ms;
    this.#restored = false;
    await this.#readNews(now_ms, signal);
    if (!this.#isSettling(now_ms)) {
      // silence counts by the records' own time while records still come: history is not a hang (contract: api.md)
      const silence = now_ms - this.#arrived_ms < SILENCE_MS ? { arrivals_stopped_ms: this.#newest_ms } : {};
      for (const { finding } of this.#detector.advance(Math.min(now_ms, this.#readTo() + this.#lateness_ms), silence))
        this.#standing.set(finding.key, { finding, at_ms: now_ms });
    }
    for (const [key, standing] of this.#standing) if (now_ms - standing.at_ms > FORGET_MS) this.#standing.delete(key);
    for (const [job, at_ms] of this.#stepped) {
      if (now_ms - at_ms <= FORGET_MS) continue;
      this.#stepped.delete(job);
      this.#newest_step.delete(job);
    }
    return [...this.#standing.values()]
      .filter(({ finding }) => this.#isBelieved(finding, now_ms))
      .map(({ finding }) => ({
        ...finding,
        window: { from_ms: finding.window.from_ms, to_ms: Math.max(finding.window.to_ms, now_ms) },
      }));
  }

  async #readNews(now_ms: number, signal: AbortSignal): Promise<void> {
    const news = await this.#news.look(signal);
    this.#oldest_read_ms = Number.POSITIVE_INFINITY;
    const behind = [...this.#unread.values()].filter(({ read_to_ms }) => read_to_ms < Infinity);
    let whole = behind.length === 0;
    for (const [type, unread] of this.#unread)
      if (news.tables.has(type) && !behind.includes(unread))
        whole = (await this.#read(unread, now_ms, signal)) < this.#rows_max && whole;
    for (let time = 0; time < BACKLOG_READINGS_MAX && this.#readTo() < Infinity; time++) {
      // the one that is furthest behind: the detector moves on to where all types were read to
      const last = [...this.#unread.values()].reduce((one, other) => (other.read_to_ms < one.read_to_ms ? other : one));
      await this.#read(last, now_ms, signal);
    }
    if (whole) news.read();
  }

  /** What is older than this was read of all types, what is younger not of all. */
  #readTo(): number {
    return Math.min(...[...this.#unread.values()].map(({ read_to_ms }) => read_to_ms - 1));
  }

  get #rows_max(): number {
    return this.#options.rows_max ?? ROWS_MAX;
  }

  get #block_steps(): number {
    return this.#options.detector.block_steps ?? STRAGGLER_DEFAULTS.block_steps;
  }

  get #lateness_ms(): number {
    return this.#options.detector.lateness_ms ?? STRAGGLER_DEFAULTS.lateness_ms;
  }

  #isSettling(now_ms: number): boolean {
    const historic = this.#oldest_read_ms < now_ms - Math.max(this.#lateness_ms, HISTORIC_MS);
    if (historic) this.#settling_since_ms ??= now_ms;
    const settling = historic && now_ms - (this.#settling_since_ms ?? now_ms) < SETTLE_MS;
    if (!settling) this.#settling_since_ms = null;
    return settling;
  }

  #isBelieved({ name, value, scope, started_at_ms }: Finding, now_ms: number): boolean {
    if (value === 0 || !('job' in scope)) return true;
    if (name === 'straggler.hang')
      return now_ms - (this.#stepped.get(scope.job) ?? Number.NEGATIVE_INFINITY) >= SILENCE_MS;
    if (!name.startsWith('straggler.slow_') || started_at_ms === null) return true;
    return (this.#newest_step.get(scope.job) ?? Number.POSITIVE_INFINITY) - started_at_ms >= SHOWN_MS;
  }

  /** Jobs, incidents and insights as `leeway stragglers` prints them. */
  report(): StragglerReport {
    return this.#detector.report();
  }

  async #read(unread: UnreadRecords, now_ms: number, signal: AbortSignal): Promise<number> {
    const records = await unread.read(now_ms - this.#options.history_ms, signal);
    for (const record of records) this.#take(record, now_ms);
    if (records.length > 0) this.#arrived_ms = now_ms;
    return records.length;
  }

  #take(record: TimedRecord, now_ms: number): void {
    this.#detector.observe(record);
    this.#newest_ms = Math.max(this.#newest_ms, record.at_ms);
    this.#oldest_read_ms = Math.min(this.#oldest_read_ms, record.at_ms);
    if (record.type !== 'step' || record.at_ms <= (this.#remembered_step.get(record.job) ?? -Infinity)) return;
    this.#stepped.set(record.job, now_ms);
    this.#newest_step.set(record.job, Math.max(this.#newest_step.get(record.job) ?? 0, record.at_ms));
  }
}
