import { type Clock, every } from '../core/clock.ts';
import type { Finding } from '../core/finding.ts';
import type { Control } from '../core/ports.ts';
import type { Desk, Judgement } from './decide.ts';
import type { JobWatch } from './job-watch.ts';
import type { ModelState } from './model-state.ts';
import type { ModelAnalysis, ModelWatch } from './model-watch.ts';
import type { Retraining } from './retrain.ts';
import type { Episode } from './retrain-episode.ts';

export type AnalysisEngine = 'straggler' | 'drift' | 'delivery';

export type AnalysisOptions = {
  readonly clock: Clock;
  readonly control: Control;
  readonly desk: Desk;
  readonly jobs: JobWatch;
  readonly models: ModelWatch;
  readonly retraining: Retraining;
  /** Findings about Leeway itself: an account that does not add up, a source that fell silent. */
  readonly ownFindings: (now_ms: number, signal: AbortSignal) => Promise<Finding[]>;
  /** What other systems' alerts come to; they are read from the control store and do not wait for the telemetry store. */
  readonly externalFindings: (now_ms: number) => Promise<Finding[]>;
  readonly saveModels: (states: readonly ModelState[], now_ms: number) => Promise<void>;
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
/** A worker that stops answering loses its shard after this. */
const LEASE_MS = 15_000;

/** The analysis loop: reads windows from the store, judges them, hands findings to the desk and to retraining. */
export async function analyse(options: AnalysisOptions, signal: AbortSignal): Promise<void> {
  const { control, clock, holder, onError } = options;
  await every(clock, INTERVAL_MS, () => analyseOnce(options, signal), { signal, onError });
  await control.release(LEASE, holder); // its successor goes on at once
}

/** One look at everything. Does nothing while another worker holds the lease. */
export async function analyseOnce(options: AnalysisOptions, signal: AbortSignal): Promise<void> {
  if (!(await options.control.lease(LEASE, options.holder, LEASE_MS))) return;
  const now_ms = options.clock.now_ms();
  const stragglers = await look(options, 'straggler', () => options.jobs.analyse(now_ms, signal));
  const models = await look(options, 'drift', () => options.models.analyse(now_ms, signal));
  const own = await look(options, 'delivery', () => options.ownFindings(now_ms, signal));
  const external = await look(options, null, () => options.externalFindings(now_ms));
  const drift = models.flatMap(({ finding, quality }) => (quality === null ? [finding] : [finding, quality]));
  const findings = [...stragglers, ...drift, ...own, ...external];
  await options.desk.judge(findings, now_ms, {
    also: async (tx, judgements) => {
      await options.retraining.expire(tx);
      for (const analysis of models) await options.retraining.consider(tx, analysis, episodeOf(analysis, judgements));
    },
  });
  for (const finding of findings) options.onFinding(finding);
  if (models.length > 0)
    await options.saveModels(
      models.map(({ state }) => state),
      now_ms,
    );
}

/** The drift incident of a model that is open now, or null. */
function episodeOf({ finding }: ModelAnalysis, judgements: readonly Judgement[]): Episode | null {
  const incident = judgements.find((judgement) => judgement.incident.key === finding.key)?.incident;
  if (incident === undefined || incident.opened_at_ms === null || incident.state !== 'firing') return null;
  return { incident_id: incident.id, opened_at_ms: incident.opened_at_ms };
}

async function look<Item>(
  { clock, onAnalysed, onError }: AnalysisOptions,
  engine: AnalysisEngine | null,
  work: () => Promise<Item[]>,
): Promise<Item[]> {
  const started_ms = clock.elapsed_ms();
  try {
    const found = await work();
    if (engine !== null) onAnalysed(engine, started_ms);
    return found;
  } catch (error) {
    onError(error); // one engine's failure must not blind the others
    return [];
  }
}
