import type { Finding } from '../core/finding.ts';
import { type ChangeKind, costRatio, slowdownRatio } from './incident.ts';
import { type Insight, insightsOf } from './insight.ts';
import type { StragglerOptions } from './options.ts';
import { printedSeconds, usdLost } from './price.ts';
import { median } from './robust.ts';
import type { Cause, DetectorState, IncidentKind, IncidentState, JobState, Subject } from './state.ts';

/** One incident as contract `leeway stragglers` prints it. Times Unix ms; `usd_lost` decimal text, null without a price. */
export type StragglerIncident = {
  readonly id: string;
  readonly job: string;
  readonly kind: IncidentKind;
  readonly severity: 'page' | 'warn';
  readonly subjects: readonly Subject[];
  readonly cause: Cause;
  readonly started_at_ms: number;
  readonly started_step: number;
  readonly raised_at_ms: number;
  readonly raised_step: number;
  readonly cleared_at_ms: number | null;
  readonly cleared_step: number | null;
  readonly slowdown_ratio: number | null;
  readonly gpu_seconds_lost: number;
  readonly usd_lost: string | null;
  readonly coverage_ratio: number;
  readonly evidence: Readonly<Record<string, unknown>>;
};

/** One job: what it used, what it lost, and whether enough was seen to say so. */
export type StragglerJob = {
  readonly job: string;
  readonly attempts: number;
  readonly ranks: number;
  readonly steps: number;
  readonly median_step_ms: number | null;
  readonly gpu_seconds: number;
  readonly gpu_seconds_lost: number;
  readonly usd_lost: string | null;
  readonly coverage_ratio: number;
  readonly verdict: 'ok' | 'incidents' | 'insufficient';
  readonly reason: string | null;
};

export type StragglerReport = {
  readonly version: 1;
  readonly jobs: readonly StragglerJob[];
  readonly incidents: readonly StragglerIncident[];
  readonly insights: readonly Insight[];
};

/** What changed about one incident since the last call, for the incident desk. */
export type StragglerChange = {
  readonly change: ChangeKind;
  readonly incident: StragglerIncident;
  readonly finding: Finding;
};

/** Below this share of the expected records "no alarm" would not mean "healthy". */
const COVERAGE_MIN = 0.7;
/** Blocks that must have been judged before silence is a verdict: the history the rules need, and the lag. */
const BLOCKS_MIN = 15;

/** The whole report: jobs by name, incidents by start and id. */
export function reportOf(state: DetectorState, options: StragglerOptions): StragglerReport {
  const jobs = [...state.jobs.values()].sort((a, b) => (a.job < b.job ? -1 : 1));
  const incidents = jobs.flatMap((job) =>
    [...job.incidents.values()].map((incident) => incidentOf(job, incident, options)),
  );
  incidents.sort((a, b) => a.started_at_ms - b.started_at_ms || (a.id < b.id ? -1 : 1));
  return { version: 1, jobs: jobs.map((job) => jobOf(job, options)), incidents, insights: jobs.flatMap(insightsOf) };
}

function priceOf(job: JobState, options: StragglerOptions): string | null {
  return options.gpu_usd_per_hour ?? job.gpu_usd_per_hour;
}

/** A ratio as printed: six decimals, so that the last bits of a sum in another order cannot show. */
function printedRatio(value: number): number {
  return Number(value.toFixed(6));
}

function jobOf(job: JobState, options: StragglerOptions): StragglerJob {
  const { totals } = job;
  const incidents = [...job.incidents.values()];
  const gpu_seconds_lost = printedSeconds(incidents.reduce((sum, incident) => sum + incident.gpu_ms_lost, 0));
  const coverage_ratio = printedRatio(coverage(totals.seen_count, totals.expected_count));
  const reason = insufficiency(job, coverage_ratio);
  return {
    job: job.job,
    attempts: job.attempts.length,
    ranks: totals.world_size,
    steps: totals.steps_count,
    median_step_ms: median(totals.durations),
    gpu_seconds: printedSeconds(totals.gpu_ms),
    gpu_seconds_lost,
    usd_lost: usdLost(gpu_seconds_lost, priceOf(job, options)),
    coverage_ratio,
    verdict: incidents.length > 0 ? 'incidents' : reason === null ? 'ok' : 'insufficient',
    reason,
  };
}

function insufficiency(job: JobState, coverage_ratio: number): string | null {
  const { totals } = job;
  if (coverage_ratio < COVERAGE_MIN)
    return `only ${Math.round(100 * coverage_ratio)} % of the expected records were seen`;
  if (totals.blocks_count < BLOCKS_MIN) return 'too few steps after warm-up to know what is usual';
  if (2 * totals.peerless_blocks_count > totals.blocks_count)
    return 'ranks without comparable peers: only the job as a whole was judged';
  return null;
}

function coverage(seen_count: number, expected_count: number): number {
  return expected_count > 0 ? Math.min(1, seen_count / expected_count) : 0;
}

/** An incident in the contract's shape. */
export function incidentOf(job: JobState, incident: IncidentState, options: StragglerOptions): StragglerIncident {
  const gpu_seconds_lost = printedSeconds(incident.gpu_ms_lost);
  const slowdown = slowdownRatio(incident);
  return {
    id: incident.id,
    job: job.job,
    kind: incident.kind,
    severity: incident.severity,
    subjects: incident.subjects,
    cause: incident.cause,
    started_at_ms: incident.started_at_ms,
    started_step: incident.started_step,
    raised_at_ms: incident.raised_at_ms,
    raised_step: incident.raised_step,
    cleared_at_ms: incident.cleared_at_ms,
    cleared_step: incident.cleared_step,
    slowdown_ratio: slowdown === null ? null : printedRatio(slowdown),
    gpu_seconds_lost,
    usd_lost: usdLost(gpu_seconds_lost, priceOf(job, options)),
    coverage_ratio: printedRatio(coverage(incident.seen_count, incident.expected_count)),
    evidence: {
      ...incident.evidence,
      cost_ratio: printedRatio(costRatio(incident)),
      peers_count: incident.peer_count,
      reopened_count: incident.reopened_count,
      attempt: incident.attempt,
      ...(incident.kind === 'hang' ? { slowdown_reason: 'no step ended' } : {}),
      ...(incident.ranks.length > 0 ? { ranks: incident.ranks } : {}),
    },
  };
}

/** A change as the incident desk reads it. `value` = share of step time lost (1 for a hang), 0 once cleared or merged. */
export function changeOf(
  job: JobState,
  incident: IncidentState,
  change: ChangeKind,
  options: StragglerOptions,
): StragglerChange {
  const shown = incidentOf(job, incident, options);
  const over = change === 'cleared' || change === 'merged';
  const price = priceOf(job, options);
  return {
    change,
    incident: shown,
    finding: {
      name: `straggler.${incident.kind}`,
      key: incident.key,
      scope: { job: job.job },
      subjects: incident.subjects,
      cause: incident.cause,
      value: over ? 0 : incident.kind === 'hang' ? 1 : printedRatio(costRatio(incident)),
      reason: null,
      data_count: incident.seen_count,
      coverage_ratio: shown.coverage_ratio,
      window: {
        from_ms: incident.started_at_ms,
        to_ms: incident.cleared_at_ms ?? Math.max(incident.raised_at_ms, incident.started_at_ms),
      },
      started_at_ms: incident.started_at_ms,
      gpu_seconds_lost: shown.gpu_seconds_lost,
      usd_lost: shown.usd_lost,
      usd_per_hour:
        price === null ? null : usdLost(printedSeconds(3_600_000 * job.totals.world_size * costRatio(incident)), price),
      title: titleOf(shown),
      evidence: { ...shown.evidence, kind: shown.kind, severity: shown.severity, slowdown_ratio: shown.slowdown_ratio },
    },
  };
}

function titleOf(incident: StragglerIncident): string {
  const who = incident.subjects.map((subject) => `${subject.type} ${subject.id}`).join(', ');
  const why = incident.cause === 'unknown' ? '' : ` (${incident.cause})`;
  if (incident.kind === 'hang')
    return `Job ${incident.job} makes no progress; ${who === `job ${incident.job}` ? 'no rank stands out' : `the others wait for ${who}`}${why}`;
  const slower = incident.slowdown_ratio === null ? '' : ` ${Math.round(100 * (incident.slowdown_ratio - 1))} %`;
  return `${who.charAt(0).toUpperCase()}${who.slice(1)} is${slower} slower than usual${why}`;
}
