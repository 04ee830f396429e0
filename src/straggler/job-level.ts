import type { BlockContext } from './context.ts';
import { addBlock, clearIncident, note, openIncident } from './incident.ts';
import type { StragglerOptions } from './options.ts';
import { median } from './robust.ts';
import type { AttemptState, Cause, IncidentKind, RunBlock, StepParts } from './state.ts';
import { extendRun, flagCount, followRun, isReady, judge, remember, type Rule } from './track.ts';

/** A part of the step explains the slowdown when it holds at least this share of the growth. */
const EXPLAINS_SHARE_MIN = 0.5;
const RECENT_BLOCKS = 5;
/**
 * A job's step time drifts as a whole, so its baseline follows closely: 8 blocks ending 2 ago. On simulated drift
 * (AR(1) ρ 0.995 σ 0.002, 300 runs of 1,500 steps) with θ 0.045, z 4: 1.3 % false alarms, 86 % of +6 % and 99 % of
 * +15 % found; with 40 blocks, lag 5, θ 0.03, z 6: 7.7 %, 41 %, 94 %.
 */
const HISTORY_BLOCKS = 8;
const LAG_BLOCKS = 2;
const SCALE_FLOOR = 0.01;

/**
 * Judges the job's step time against its own history, in log so that the excess is relative. Blocks in which a rank or
 * node is already suspected say nothing here: a located cause raises no extra job incident; less what the suspect cost
 * (`located_ms` of the block) they still count as history, so that the job's drift during a long fault is followed.
 */
export function judgeJob(context: BlockContext, located_ms: number): void {
  const { attempt, view, options } = context;
  const { step_ms } = view;
  if (options.job_theta_ratio === null || step_ms === null || step_ms <= 0) return;
  const track = attempt.job;
  const rule = jobRule(options, options.job_theta_ratio);
  if (isLocated(attempt)) {
    const without_ms = step_ms - located_ms / Math.max(1, view.train_steps);
    if (track.incident === null && without_ms > 0) remember(track, Math.log(without_ms / view.work), rule);
    track.run = track.incident === null ? null : track.run;
    track.flags.push(0);
    if (track.flags.length > options.flagged_of) track.flags.shift();
    closeIfCalm(context);
    return;
  }
  const value = Math.log(step_ms / view.work);
  const verdict = judge(track, value, rule, options);
  followRun(track, verdict.flagged, rule, { ms: view.from_ms, step: view.from_step, of: options.flagged_of });
  rememberParts(context, verdict.flagged || track.incident !== null);
  if (verdict.usual === null || track.run === null) return;
  const ratio = Math.exp(value - verdict.usual);
  const block: RunBlock = {
    index: view.index,
    to_ms: view.to_ms,
    to_step: view.to_step,
    ratio,
    loss_ms: Math.max(0, step_ms - step_ms / ratio) * view.train_steps,
    step_losses: [],
    duration_ms: step_ms * view.train_steps,
    seen_count: view.seen_count,
    expected_count: view.expected_count,
  };
  if (track.incident === null) {
    extendRun(track, block);
    if (isReady(track, rule, options)) open(context);
    return;
  }
  const incident = context.job.incidents.get(track.incident);
  if (incident === undefined) return;
  addBlock(context.job, incident, block);
  note(context.changes, context.job, incident, 'updated');
  closeIfCalm(context);
}

function jobRule(options: StragglerOptions, theta_ratio: number): Rule {
  return {
    theta: Math.log1p(theta_ratio),
    z_min: options.job_z_min,
    scale_floor: SCALE_FLOOR,
    early_scale: SCALE_FLOOR,
    flagged_min: options.flagged_min,
    history_blocks: HISTORY_BLOCKS,
    lag_blocks: LAG_BLOCKS,
  };
}

function isLocated(attempt: AttemptState): boolean {
  for (const tracks of [attempt.compute, attempt.input, attempt.network])
    for (const track of tracks.values())
      if (track.incident !== null || (track.run !== null && flagCount(track) >= 2)) return true;
  return false;
}

function closeIfCalm(context: BlockContext): void {
  const { job, attempt, view, options, changes } = context;
  const { job: track } = attempt;
  const incident = track.incident === null ? undefined : job.incidents.get(track.incident);
  if (incident === undefined || track.flags.length < options.flagged_of || track.flags.includes(1)) return;
  clearIncident(job, incident, { ms: view.to_ms, step: view.to_step }, changes);
  track.incident = null;
  track.run = null;
}

function rememberParts(context: BlockContext, flagged: boolean): void {
  const { attempt, view, options } = context;
  const parts: StepParts = {
    step_ms: view.step_ms ?? 0,
    compute_ms: view.compute_ms,
    data_ms: view.data_ms,
    transfer_ms: view.transfer_ms,
  };
  attempt.recent_parts.push(parts);
  if (attempt.recent_parts.length > RECENT_BLOCKS) attempt.recent_parts.shift();
  if (flagged) return;
  attempt.usual_parts.push(parts);
  if (attempt.usual_parts.length > options.history_blocks) attempt.usual_parts.shift();
}

function open(context: BlockContext): void {
  const { job, attempt, options, changes } = context;
  const { run } = attempt.job;
  if (run === null) return;
  const { kind, cause } = explain(attempt);
  const incident = openIncident(
    job,
    {
      kind,
      attempt: attempt.attempt,
      ranks: [],
      subjects: [{ type: 'job', id: job.job }],
      cause,
      started_at_ms: run.started_at_ms,
      started_step: run.started_step,
      blocks: run.blocks,
      peer_count: 0,
    },
    changes,
  );
  incident.flags.push(...Array.from({ length: options.flagged_of }, () => 1));
  run.blocks.length = 0;
  attempt.job.incident = incident.key;
}

/** Which part of the step grew: input for all ranks is `slow_input` of the job; network without a place stays job-wide. */
function explain(attempt: AttemptState): { kind: IncidentKind; cause: Cause } {
  const growth = (read: (parts: StepParts) => number | null): number => {
    const level = (list: readonly StepParts[]): number | null => median(list.flatMap((parts) => read(parts) ?? []));
    return (level(attempt.recent_parts) ?? 0) - (level(attempt.usual_parts) ?? 0);
  };
  const step_ms = growth((parts) => parts.step_ms);
  if (step_ms <= 0) return { kind: 'slow_job', cause: 'unknown' };
  if (growth((parts) => parts.data_ms) / step_ms >= EXPLAINS_SHARE_MIN) return { kind: 'slow_input', cause: 'input' };
  if (growth((parts) => parts.transfer_ms) / step_ms >= EXPLAINS_SHARE_MIN)
    return { kind: 'slow_job', cause: 'network' };
  return { kind: 'slow_job', cause: 'unknown' };
}
