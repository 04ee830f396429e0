import { type Clock, every } from '../core/clock.ts';
import type { Finding } from '../core/finding.ts';
import type { Control } from '../core/ports.ts';
import type { Desk, Judgement } from './decide.ts';
import { HeldLease } from './held-lease.ts';
import type { JobMemory } from './job-memory.ts';
import type { JobWatch } from './job-watch.ts';
import type { ModelState } from './model-state.ts';
import type { ModelAnalysis, ModelWatch } from './model-watch.ts';
import type { Retraining } from './retrain.ts';
import type { Episode } from './retrain-episode.ts';

export type AnalysisEngine = 'straggler' | 'drift' | 'delivery';

/** What a worker remembers of jobs and models: good for as long as nobody else analysed. */
export type Watches = { readonly jobs: JobWatch; readonly models: ModelWatch };

export type AnalysisOptions = {
  readonly clock: Clock;
  readonly control: Control;
  readonly desk: Desk;
  /** Watches that go on from what is stored and kept now. */
  readonly begin: () => Promise<Watches>;
  readonly retraining: Retraining;
  /** Findings about Leeway itself: an account that does not add up, a source that fell silent. */
  readonly ownFindings: (now_ms: number, signal: AbortSignal) => Promise<Finding[]>;
  /** What other systems' alerts come to; they are read from the control store and do not wait for the telemetry store. */
  readonly externalFindings: (now_ms: number) => Promise<Finding[]>;
  readonly saveModels: (states: readonly ModelState[], now_ms: number) => Promise<void>;
  readonly saveJobs: (memory: JobMemory, now_ms: number) => Promise<void>;
  /** This worker's name in the lease table: one worker analyses at a time. */
  readonly holder: string;
  /** An engine has read all that was stored before `until_ms` of the clock's elapsed time. */
  readonly onAnalysed: (engine: AnalysisEngine, until_ms: number) => void;
  readonly onFinding: (finding: Finding) => void;
  readonly onError: (error: unknown) => void;
};

/** Rows are judged within this of being stored (contract: 5 s, with inserts at 0.3 s in front). */
const INTERVAL_MS = 1_000;
const LEASE = 'analysis';
/** A worker that stops answering loses its shard after this; a pass that takes longer renews it. */
const LEASE_MS = 15_000;

/** The analysis loop: reads windows from the store, judges them, hands findings to the desk and to retraining. */
export async function analyse(options: AnalysisOptions, signal: AbortSignal): Promise<void> {
  const analysis = new Analysis(options);
  await every(options.clock, INTERVAL_MS, () => analysis.once(signal), { signal, onError: options.onError });
  await analysis.release(); // its successor goes on at once
}

/** Analyses while it holds the lease. A worker that stood by, or was away for too long, begins with what is kept. */
export class Analysis {
  readonly #options: AnalysisOptions;
  readonly #lease: HeldLease;
  #watches: Watches | null = null;

  constructor(options: AnalysisOptions) {
    const { control, clock, holder, onError } = options;
    this.#options = options;
    this.#lease = new HeldLease({ control, clock, name: LEASE, holder, ttl_ms: LEASE_MS, onError });
  }

  /** One look at everything. Does nothing while another worker holds the lease. */
  async once(signal: AbortSignal): Promise<void> {
    const hold = await this.#lease.take();
    if (hold !== 'kept') this.#watches = null; // somebody else may have analysed since
    if (hold === 'absent') return;
    await this.#lease.during(async (lost) => {
      this.#watches ??= await this.#options.begin();
      await this.#look(this.#watches, AbortSignal.any([signal, lost]));
    });
  }

  /** Lets the next worker go on. */
  release(): Promise<void> {
    return this.#lease.release();
  }

  async #look({ jobs, models: modelWatch }: Watches, signal: AbortSignal): Promise<void> {
    const { clock, desk, retraining, ownFindings, externalFindings, saveModels, saveJobs, onFinding } = this.#options;
    const now_ms = clock.now_ms();
    const from = <Item>(engine: AnalysisEngine | null, work: () => Promise<Item[]>): Promise<Item[]> =>
      this.#findings(engine, work, signal);
    const stragglers = await from('straggler', () => jobs.analyse(now_ms, signal));
    const models = await from('drift', () => modelWatch.analyse(now_ms, signal));
    const own = await from('delivery', () => ownFindings(now_ms, signal));
    const external = await from(null, () => externalFindings(now_ms));
    const drift = models.flatMap(({ finding, quality }) => (quality === null ? [finding] : [finding, quality]));
    const findings = [...stragglers, ...drift, ...own, ...external];
    this.#lease.assertSure();
    await desk.judge(findings, now_ms, {
      also: async (tx, judgements) => {
        await retraining.expire(tx);
        for (const analysis of models) await retraining.consider(tx, analysis, episodeOf(analysis, judgements));
      },
    });
    for (const finding of findings) onFinding(finding);
    this.#lease.assertSure();
    if (models.length > 0)
      await saveModels(
        models.map(({ state }) => state),
        now_ms,
      );
    const memory = jobs.memory(now_ms);
    if (memory !== null) await saveJobs(memory, now_ms);
  }

  async #findings<Item>(
    engine: AnalysisEngine | null,
    work: () => Promise<Item[]>,
    signal: AbortSignal,
  ): Promise<Item[]> {
    const { clock, onAnalysed, onError } = this.#options;
    const started_ms = clock.elapsed_ms();
    try {
      const found = await work();
      if (engine !== null) onAnalysed(engine, started_ms);
      return found;
    } catch (error) {
      if (signal.aborted) this.#lease.assertSure();
      signal.throwIfAborted();
      onError(error); // one engine's failure must not blind the others
      return [];
    }
  }
}

/** The drift incident of a model that is open now, or null. */
function episodeOf({ finding }: ModelAnalysis, judgements: readonly Judgement[]): Episode | null {
  const incident = judgements.find((judgement) => judgement.incident.key === finding.key)?.incident;
  if (incident === undefined || incident.opened_at_ms === null || incident.state !== 'firing') return null;
  return { incident_id: incident.id, opened_at_ms: incident.opened_at_ms };
}
