import { clearIncident, type Changes, mergeAway, note, openIncident } from './incident.ts';
import type { StragglerOptions } from './options.ts';
import type { BeatRow, GpuRow, PhaseRow } from './records.ts';
import type { Beat, Cause, JobState, Progress, Subject, Topology } from './state.ts';

/** Silence is believed only when other records of the job kept coming: counted in buckets of 5 s. */
const EVIDENCE_BUCKET_MS = 5_000;
const EVIDENCE_SHARE_MIN = 0.5;
const FRESH_MS = 15_000;
/** A GPU that spins in a collective is busy; an idle one belongs to no running job. */
const BUSY_RATIO = 0.5;
/** Phases in which no step is expected wait this much longer; a checkpoint waits for the longest one seen. */
const QUIET_PHASE_FACTOR = 10;
const CHECKPOINT_FACTOR = 3;
const NODE_SHARE_MIN = 0.75;

/** What the hang rule needs beside the job's own state. */
export type HangContext = {
  readonly job: JobState;
  readonly topology: Topology | null;
  readonly options: StragglerOptions;
  readonly changes: Changes;
};

/** The job moved on: a step beyond the last one ended, or a phase changed. Ends a hang. */
export function progressed(context: HangContext, step: number | null, at_ms: number): void {
  const { progress } = context.job;
  if (step !== null) {
    if (step <= progress.step) return;
    progress.step = step;
  }
  endHang(context, at_ms);
  progress.at_ms = Math.max(progress.at_ms ?? at_ms, at_ms);
  progress.evidence_count = 0;
  progress.evidence_bucket = -1;
}

/** A heartbeat: its rank's state, proof of life, and progress when its step grew. */
export function addBeat(context: HangContext, row: BeatRow): void {
  const { progress } = context.job;
  const known = progress.beats.get(row.rank);
  if (known !== undefined && known.at_ms > row.at_ms) return;
  const beat: Beat = { at_ms: row.at_ms, step: row.step, state: row.state, group: row.group, op: row.op, seq: row.seq };
  progress.beats.set(row.rank, beat);
  if (known !== undefined && row.step > known.step && row.step > progress.step + 1)
    progressed(context, row.step - 1, row.at_ms);
  if (row.state !== 'exited') addEvidence(progress, row.at_ms);
}

/** GPU activity stands in for heartbeats in a job that sends none. */
export function addActivity(context: HangContext, row: GpuRow): void {
  const { progress } = context.job;
  if (progress.beats.size === 0 && (row.utilization_ratio ?? 0) >= BUSY_RATIO) addEvidence(progress, row.at_ms);
}

/** Phase changes are progress; the longest checkpoint so far says how long the next may take. */
export function addPhase(context: HangContext, row: PhaseRow): void {
  const { progress } = context.job;
  if (row.at_ms < (progress.at_ms ?? -Infinity)) return; // known, or passed by what came after it
  if (row.state === 'begin') {
    progress.phase = row.phase;
    progress.phase_since_ms = row.at_ms;
  } else if (row.state === 'end' && progress.phase === row.phase) {
    const spent_ms = row.at_ms - progress.phase_since_ms;
    if (row.phase === 'checkpoint') progress.checkpoint_longest_ms = Math.max(progress.checkpoint_longest_ms, spent_ms);
    progress.phase = null;
  }
  if (progress.at_ms !== null) progressed(context, null, row.at_ms);
}

function addEvidence(progress: Progress, at_ms: number): void {
  progress.evidence_ms = Math.max(progress.evidence_ms, at_ms);
  const bucket = Math.floor(at_ms / EVIDENCE_BUCKET_MS);
  if (bucket <= progress.evidence_bucket || progress.at_ms === null || at_ms <= progress.at_ms) return;
  progress.evidence_bucket = bucket;
  progress.evidence_count++;
}

/** How long without progress is a hang now, ms: the stated limit less what late records take. */
export function silenceLimit(progress: Progress, options: StragglerOptions): number {
  const limit_ms = Math.max(options.hang_silence_ms, options.hang_steps * progress.step_ms) - options.lateness_ms;
  if (progress.phase === 'checkpoint') return Math.max(limit_ms, CHECKPOINT_FACTOR * progress.checkpoint_longest_ms);
  const quiet = progress.phase !== null && progress.phase !== 'train' && progress.phase !== 'warmup';
  return quiet ? limit_ms * QUIET_PHASE_FACTOR : limit_ms;
}

/**
 * Raises a hang when nothing progressed for the limit while the job gave signs of life; extends one that is open.
 * Not a hang: silence of everything (a collector's gap, a job that ended), ranks that said they exited.
 */
export function checkHang(context: HangContext, now_ms: number): void {
  const { job, options, changes } = context;
  const { progress } = job;
  if (progress.at_ms === null || progress.step < 0) return;
  const open = progress.hang === null ? undefined : job.incidents.get(progress.hang);
  const silence_ms = Math.min(now_ms, progress.evidence_ms) - progress.at_ms;
  if (open !== undefined) {
    const lost_ms = silence_ms - open.step_ms;
    if (lost_ms <= 0) return;
    open.step_ms = open.step_ms_lost = silence_ms;
    open.gpu_ms_lost += lost_ms * job.totals.world_size;
    note(changes, job, open, 'updated');
    return;
  }
  const limit_ms = silenceLimit(progress, options);
  if (now_ms - progress.at_ms < limit_ms) return;
  if (silence_ms < limit_ms - 2 * EVIDENCE_BUCKET_MS) return;
  if (progress.evidence_count * EVIDENCE_BUCKET_MS < EVIDENCE_SHARE_MIN * limit_ms) return;
  raiseHang(context, progress.at_ms, limit_ms);
}

function raiseHang(context: HangContext, since_ms: number, limit_ms: number): void {
  const { job, topology, changes } = context;
  const { progress } = job;
  const found = culpritsOf(progress, topology, since_ms + limit_ms);
  const incident = openIncident(
    job,
    {
      kind: 'hang',
      attempt: job.attempts.at(-1) ?? 0,
      ranks: found.ranks,
      subjects: subjectsOf(job, topology, found.ranks),
      cause: found.cause,
      started_at_ms: since_ms,
      started_step: progress.step,
      blocks: [],
      peer_count: Math.max(0, job.totals.world_size - found.ranks.length),
    },
    changes,
  );
  incident.severity = 'page';
  if (incident.reopened_count === 0) {
    incident.raised_at_ms = since_ms + limit_ms;
    incident.raised_step = progress.step;
  }
  incident.evidence = { silence_limit_ms: limit_ms, waiting_ranks_count: found.waiting_count, rule: found.rule };
  incident.step_ms = incident.step_ms_lost = limit_ms;
  incident.gpu_ms_lost += limit_ms * job.totals.world_size;
  incident.seen_count = progress.beats.size;
  incident.expected_count = Math.max(job.totals.world_size, progress.beats.size);
  progress.hang = incident.key;
  for (const other of job.incidents.values())
    if (other.kind === 'slow_job' && other.cleared_at_ms === null && other.started_at_ms >= since_ms)
      mergeAway(job, other, changes);
}

function endHang(context: HangContext, at_ms: number): void {
  const { job, changes } = context;
  const { progress } = job;
  const incident = progress.hang === null ? undefined : job.incidents.get(progress.hang);
  if (incident === undefined || progress.at_ms === null) return;
  const silence_ms = at_ms - progress.at_ms;
  incident.gpu_ms_lost += (silence_ms - incident.step_ms) * job.totals.world_size;
  incident.step_ms = incident.step_ms_lost = silence_ms;
  clearIncident(job, incident, { ms: at_ms, step: progress.step }, changes);
  progress.hang = null;
}

type Culprits = {
  readonly ranks: readonly number[];
  readonly cause: Cause;
  readonly waiting_count: number;
  readonly rule: string;
};

/**
 * Who the others wait for: silent ranks, else those that are not in the collective, else those in an earlier or
 * different one. Nobody when all stand in a checkpoint, or when no minority stands out.
 */
function culpritsOf(progress: Progress, topology: Topology | null, now_ms: number): Culprits {
  const all = [...new Set([...(topology?.places.keys() ?? []), ...progress.beats.keys()])].sort((a, b) => a - b);
  const beats = new Map(
    [...progress.beats].filter(([, beat]) => beat.at_ms >= now_ms - FRESH_MS && beat.state !== 'exited'),
  );
  const waiting_count = [...beats.values()].filter((beat) => beat.state === 'in_collective').length;
  const named = (ranks: readonly number[], cause: Cause, rule: string): Culprits | null =>
    ranks.length > 0 && 2 * ranks.length <= all.length ? { ranks, cause, waiting_count, rule } : null;
  const nobody: Culprits = { ranks: [], cause: 'unknown', waiting_count, rule: 'no rank stands out' };
  if (progress.beats.size === 0) return { ...nobody, rule: 'no heartbeats' };
  const saving = [...beats.values()].filter((beat) => beat.state === 'checkpoint').length;
  if (beats.size > 0 && 2 * saving > beats.size)
    return { ...nobody, cause: 'storage', rule: 'all ranks in a checkpoint' };
  const silent = named(
    all.filter((rank) => !beats.has(rank)),
    'unknown',
    'silent',
  );
  if (silent !== null) return silent;
  const outside = [...beats].filter(([, beat]) => beat.state !== 'in_collective');
  const input = outside.length > 0 && outside.every(([, beat]) => beat.state === 'waiting_data');
  if (2 * outside.length <= beats.size) {
    const missing = named(ranksOf(outside), input ? 'input' : 'unknown', 'not in the collective');
    if (missing !== null) return missing;
  } else if (input) return { ...nobody, cause: 'input', rule: 'all ranks wait for data' };
  const inside = [...beats].filter(([, beat]) => beat.state === 'in_collective');
  return (
    named(behind(inside), 'unknown', 'behind in the sequence') ??
    named(odd(inside), 'mismatch', 'another operation') ??
    nobody
  );
}

function ranksOf(beats: readonly (readonly [number, Beat])[]): number[] {
  return beats.map(([rank]) => rank).sort((a, b) => a - b);
}

/** Ranks whose last collective of a group is older than that of others in the group. */
function behind(beats: readonly (readonly [number, Beat])[]): number[] {
  const latest = new Map<string, number>();
  for (const [, beat] of beats)
    if (beat.seq !== null) latest.set(beat.group ?? '', Math.max(latest.get(beat.group ?? '') ?? 0, beat.seq));
  return ranksOf(beats.filter(([, beat]) => beat.seq !== null && beat.seq < (latest.get(beat.group ?? '') ?? 0)));
}

/** Ranks that issued another operation than most at the same place of the sequence. */
function odd(beats: readonly (readonly [number, Beat])[]): number[] {
  const votes = new Map<string, Map<string, number[]>>();
  for (const [rank, beat] of beats) {
    if (beat.op === null) continue;
    const place = votes.get(`${beat.group ?? ''}/${beat.seq ?? ''}`) ?? new Map<string, number[]>();
    votes.set(`${beat.group ?? ''}/${beat.seq ?? ''}`, place);
    place.set(beat.op, [...(place.get(beat.op) ?? []), rank]);
  }
  const minority = [...votes.values()].flatMap((place) => {
    const camps = [...place.values()].sort((a, b) => b.length - a.length);
    return (camps[0]?.length ?? 0) > (camps[1]?.length ?? 0) ? camps.slice(1).flat() : [];
  });
  return minority.sort((a, b) => a - b);
}

function subjectsOf(job: JobState, topology: Topology | null, ranks: readonly number[]): Subject[] {
  if (ranks.length === 0) return [{ type: 'job', id: job.job }];
  const places = [...(topology?.places.values() ?? [])];
  const nodes = new Set(places.filter((place) => ranks.includes(place.rank)).map((place) => place.node));
  const [node] = nodes;
  const members = places.filter((place) => place.node === node);
  const whole =
    members.length >= 2 && members.length < places.length && ranks.length >= NODE_SHARE_MIN * members.length;
  if (node !== undefined && nodes.size === 1 && whole) return [{ type: 'node', id: node }];
  return ranks.map((rank) => ({ type: 'rank', id: String(rank) }));
}
