import type { Finding } from '../core/finding.ts';
import type { Store } from '../core/ports.ts';
import type { RecordType } from '../core/records.ts';
import { storedRecords } from '../read/stored-records.ts';
import { createStragglerDetector, type StragglerDetector } from '../straggler/detector.ts';
import type { StragglerOptions } from '../straggler/options.ts';
import type { StragglerReport } from '../straggler/report.ts';

/** Record types that the straggler engine reads. */
const TYPES = ['job', 'step', 'heartbeat', 'phase', 'checkpoint', 'gpu', 'nic', 'host'] as const satisfies RecordType[];

/** Rows of one type taken in one tick: 200,000 steps are 3 minutes of 1,024 ranks at one step a second. */
const ROWS_MAX = 200_000;
/** After this long without a finding about a job, its last verdict is no longer repeated to the desk. */
const FORGET_MS = 24 * 3_600_000;
/** A hang by the wall clock also needs this long without any arrival. */
const SILENCE_MS = 60_000;

export type JobWatchOptions = {
  readonly detector: Partial<StragglerOptions>;
  /** How far back a restarted watch reads to build its state anew. */
  readonly history_ms: number;
};

/**
 * Watches training jobs: feeds what was stored since the last look to the detector and keeps the standing verdicts.
 * The state is a pure function of the stored rows, so a restart rebuilds it from the recent history.
 */
export class JobWatch {
  readonly #store: Store;
  readonly #options: JobWatchOptions;
  readonly #detector: StragglerDetector;
  readonly #seen = new Map<RecordType, bigint>();
  readonly #standing = new Map<string, { finding: Finding; at_ms: number }>();
  #arrived_ms = Number.NEGATIVE_INFINITY;
  #newest_ms = 0;

  constructor(store: Store, options: JobWatchOptions) {
    this.#store = store;
    this.#options = options;
    this.#detector = createStragglerDetector(options.detector);
  }

  /** Reads what is new, judges it, and returns every standing finding; a cleared one is returned with value 0. */
  async analyse(now_ms: number, signal: AbortSignal): Promise<Finding[]> {
    let arrived = 0;
    for (const type of TYPES) arrived += await this.#read(type, now_ms, signal);
    if (arrived > 0) this.#arrived_ms = now_ms;
    // silence counts by the records' own time while records still come: history is not a hang (contract: api.md)
    const silence = now_ms - this.#arrived_ms < SILENCE_MS ? { arrivals_stopped_ms: this.#newest_ms } : {};
    for (const { finding } of this.#detector.advance(now_ms, silence))
      this.#standing.set(finding.key, { finding, at_ms: now_ms });
    for (const [key, standing] of this.#standing) if (now_ms - standing.at_ms > FORGET_MS) this.#standing.delete(key);
    return [...this.#standing.values()].map(({ finding }) => ({
      ...finding,
      window: { from_ms: finding.window.from_ms, to_ms: Math.max(finding.window.to_ms, now_ms) },
    }));
  }

  /** Jobs, incidents and insights as `leeway stragglers` prints them. */
  report(): StragglerReport {
    return this.#detector.report();
  }

  async #read(type: (typeof TYPES)[number], now_ms: number, signal: AbortSignal): Promise<number> {
    const after = this.#seen.get(type) ?? 0n;
    const rows = await storedRecords(
      this.#store,
      {
        type,
        where: 'precedence < {precedence:UInt64} AND at >= fromUnixTimestamp64Milli({since:Int64})',
        parameters: {
          precedence: 0xffff_ffff_ffff_ffffn - after,
          since: BigInt(Math.floor(now_ms - this.#options.history_ms)),
        },
        order: 'precedence DESC',
        limit: ROWS_MAX,
      },
      signal,
    );
    for (const { record, lineage } of rows) {
      this.#detector.observe(record);
      this.#newest_ms = Math.max(this.#newest_ms, record.at_ms);
      if (lineage > (this.#seen.get(type) ?? 0n)) this.#seen.set(type, lineage);
    }
    return rows.length;
  }
}
