import type { LeewayRecord } from '../core/records.ts';
import { topologyAt, viewOf } from './block.ts';
import { addGpu, addHost, addNic } from './cause.ts';
import { addActivity, addBeat, addPhase, checkHang, type HangContext, progressed } from './hang.ts';
import { type Changes, clearIncident } from './incident.ts';
import { addToInsights } from './insight.ts';
import { judgeJob } from './job-level.ts';
import { judgeNetwork } from './network.ts';
import { STRAGGLER_DEFAULTS, type StragglerOptions } from './options.ts';
import { judgePeers } from './peers.ts';
import { compareRows, type GpuRow, type JobRow, type StepRow, type StragglerRow, stragglerRow } from './records.ts';
import { changeOf, reportOf, type StragglerChange, type StragglerReport } from './report.ts';
import {
  type AttemptState,
  decodeState,
  type DetectorState,
  encodeState,
  type JobState,
  newAttempt,
  newJob,
  type OpenBlock,
} from './state.ts';

/** Watches training jobs for slow ranks, nodes and input, job-wide slowdown and hangs. */
export type StragglerDetector = {
  /** Takes one record of events.md, in any order; repeated ones change nothing. Records of other concerns are passed over. */
  observe(record: LeewayRecord): void;
  /**
   * Moves time on: everything older than `now_ms − lateness_ms` is judged, in order of time. `arrivals_stopped_ms` says
   * that since then nothing can have arrived (a collector is down): silence after it is no evidence of a hang.
   * Returns each incident that changed, once, ordered by key.
   */
  advance(now_ms: number, options?: { readonly arrivals_stopped_ms?: number }): StragglerChange[];
  /** End of the input: judges everything that is held. For files; a live detector is only advanced. */
  finish(): StragglerChange[];
  /** The contract's JSON: jobs, incidents, insights. */
  report(): StragglerReport;
  /** The whole state as JSON text, to continue elsewhere with `createStragglerDetector(options, text)`. */
  snapshot(): string;
  /**
   * The state in the same form, without what recent records give again (those that wait for their turn, all telemetry) and
   * without jobs that were silent for a day. To continue, `observe` recent records: those that are in it change nothing.
   */
  memory(): string;
  /** Time of the newest record that was judged, Unix ms; 0 before there is one. */
  readonly until_ms: number;
};

/** Ranks that lag behind may report a block this much later than the first rank that passed it, ms. */
const SKEW_MS_MAX = 2_000;
const OPEN_BLOCKS_MAX = 64;
const JOBS_MAX = 4_096;
const TOPOLOGIES_MAX = 64;
const DURATIONS_MAX = 2_048;
/** A job that was silent for longer has ended. */
const REMEMBERED_MS = 86_400_000;

type Held = { readonly rows: StragglerRow[] };

/**
 * Makes a detector. Deterministic: the same set of records in any order, however divided between calls of `observe`,
 * gives the same ids, kinds and subjects, provided none is more than `lateness_ms` late at an `advance`.
 * `snapshot` is the text of an earlier `snapshot()`; its options may differ, its block size must not.
 */
export function createStragglerDetector(options: Partial<StragglerOptions> = {}, snapshot?: string): StragglerDetector {
  const settings: StragglerOptions = { ...STRAGGLER_DEFAULTS, ...options };
  const restored = snapshot === undefined ? null : (decodeState(snapshot) as { state: DetectorState; held: Held }); // the parse door of our own text
  const state: DetectorState = restored?.state ?? newState();
  const held: { rows: StragglerRow[] } = restored?.held ?? { rows: [] };
  const changes: Changes = new Map();
  const engine: Engine = { state, options: settings, changes };
  return {
    observe: (record) => {
      const row = stragglerRow(record);
      if (row === null) return;
      if (row.type === 'job') addTopology(state, row);
      else held.rows.push(row);
      if (held.rows.length > settings.held_records_max) {
        state.forced_count++;
        release(engine, held, middleTime(held.rows));
      }
    },
    advance: (now_ms, { arrivals_stopped_ms = Infinity } = {}) => {
      const until_ms = now_ms - settings.lateness_ms;
      release(engine, held, until_ms);
      checkHangs(engine, Math.min(until_ms, arrivals_stopped_ms));
      return drain(engine);
    },
    finish: () => {
      release(engine, held, Infinity);
      for (const job of state.jobs.values()) if (job.attempt !== null) closeAll(engine, job, job.attempt);
      checkHangs(engine, state.released_ms);
      return drain(engine);
    },
    report: () => reportOf(state, settings),
    snapshot: () => encodeState({ state, held }),
    memory: () => encodeState({ state: lasting(state), held: { rows: [] } }),
    get until_ms() {
      return state.released_ms;
    },
  };
}

type Engine = { readonly state: DetectorState; readonly options: StragglerOptions; readonly changes: Changes };

function newState(): DetectorState {
  return { jobs: new Map(), gpus: new Map(), hosts: new Map(), nics: new Map(), released_ms: 0, forced_count: 0 };
}

function lasting(state: DetectorState): DetectorState {
  const since_ms = state.released_ms - REMEMBERED_MS;
  const isRecent = ({ progress, topologies }: JobState): boolean =>
    Math.max(progress.at_ms ?? 0, progress.evidence_ms, topologies.at(-1)?.at_ms ?? 0) >= since_ms;
  const jobs = new Map([...state.jobs].filter(([, job]) => isRecent(job)));
  return { ...state, jobs, gpus: new Map(), hosts: new Map(), nics: new Map() };
}

function middleTime(rows: readonly StragglerRow[]): number {
  const times = Float64Array.from(rows, (row) => row.at_ms).sort();
  return times[times.length >> 1] ?? 0;
}

function drain(engine: Engine): StragglerChange[] {
  const list = [...engine.changes].sort(([a], [b]) => (a < b ? -1 : 1));
  engine.changes.clear();
  return list.flatMap(([, { change, job, incident }]) => {
    const known = engine.state.jobs.get(job);
    return known === undefined ? [] : [changeOf(known, incident, change, engine.options)];
  });
}

function release(engine: Engine, held: { rows: StragglerRow[] }, until_ms: number): void {
  const due = held.rows.filter((row) => row.at_ms <= until_ms);
  if (due.length === 0) return;
  held.rows = held.rows.length === due.length ? [] : held.rows.filter((row) => row.at_ms > until_ms);
  due.sort(compareRows);
  for (const row of due) {
    engine.state.released_ms = Math.max(engine.state.released_ms, row.at_ms);
    take(engine, row);
  }
}

function take(engine: Engine, row: StragglerRow): void {
  switch (row.type) {
    case 'step':
      return takeStep(engine, row);
    case 'gpu':
      addGpu(engine.state, row);
      return takeActivity(engine, row);
    case 'nic':
      return addNic(engine.state, row);
    case 'host':
      return addHost(engine.state, row);
    case 'heartbeat': {
      const job = jobOf(engine.state, row.job);
      if (job === null || (job.attempt !== null && row.attempt < job.attempt.attempt)) return;
      addBeat(hangContext(engine, job, row.at_ms), row);
      return checkHang(hangContext(engine, job, row.at_ms), row.at_ms);
    }
    case 'phase': {
      const job = jobOf(engine.state, row.job);
      return job === null ? undefined : addPhase(hangContext(engine, job, row.at_ms), row);
    }
    case 'job':
      return addTopology(engine.state, row);
  }
}

function jobOf(state: DetectorState, name: string): JobState | null {
  const known = state.jobs.get(name);
  if (known !== undefined) return known;
  if (state.jobs.size >= JOBS_MAX) return null;
  const job = newJob(name);
  state.jobs.set(name, job);
  return job;
}

function addTopology(state: DetectorState, row: JobRow): void {
  const job = jobOf(state, row.job);
  if (job === null) return;
  job.gpu_usd_per_hour = row.gpu_usd_per_hour ?? job.gpu_usd_per_hour;
  job.totals.world_size = Math.max(job.totals.world_size, row.world_size);
  if (job.topologies.some((held) => held.attempt === row.attempt && held.at_ms === row.at_ms)) return;
  job.topologies.push({
    attempt: row.attempt,
    at_ms: row.at_ms,
    world_size: row.world_size,
    places: new Map(row.places.map((place) => [place.rank, place])),
  });
  job.topologies.sort((a, b) => a.at_ms - b.at_ms);
  if (job.topologies.length > TOPOLOGIES_MAX) job.topologies.shift();
}

function takeActivity(engine: Engine, row: GpuRow): void {
  for (const job of engine.state.jobs.values()) {
    if (job.progress.beats.size > 0 || job.attempt === null) continue;
    const context = hangContext(engine, job, row.at_ms);
    if (context.topology === null || !hasGpu(context.topology.places.values(), row)) continue;
    addActivity(context, row);
    checkHang(context, row.at_ms);
  }
}

function hasGpu(places: Iterable<{ readonly node: string; readonly gpu: string }>, row: GpuRow): boolean {
  for (const place of places) if (place.node === row.node && place.gpu === row.gpu) return true;
  return false;
}

function hangContext(engine: Engine, job: JobState, at_ms: number): HangContext {
  const topology = topologyAt(job.topologies, job.attempt?.attempt ?? 0, at_ms);
  return { job, topology, options: engine.options, changes: engine.changes };
}

function checkHangs(engine: Engine, now_ms: number): void {
  if (!Number.isFinite(now_ms)) return;
  for (const job of engine.state.jobs.values()) checkHang(hangContext(engine, job, now_ms), now_ms);
}

function takeStep(engine: Engine, row: StepRow): void {
  const job = jobOf(engine.state, row.job);
  if (job === null) return;
  const attempt = attemptOf(engine, job, row);
  const index = Math.floor(row.step / engine.options.block_steps);
  if (attempt === null || index <= attempt.closed_through) {
    job.totals.late_count++;
    return;
  }
  const block: OpenBlock = attempt.open.get(index) ?? { index, ranks: new Map() };
  attempt.open.set(index, block);
  const rows = block.ranks.get(row.rank);
  if (rows === undefined) block.ranks.set(row.rank, [row]);
  else if (!rows.some((held) => held.step === row.step)) rows.push(row);
  if (row.step > (attempt.reached.get(row.rank) ?? -1)) attempt.reached.set(row.rank, row.step);
  if (job.totals.blocks_count === 0) job.progress.step_ms = Math.max(job.progress.step_ms, row.duration_ms);
  progressed(hangContext(engine, job, row.at_ms), row.step, row.at_ms);
  closePassed(engine, job, attempt, row);
}

function attemptOf(engine: Engine, job: JobState, row: StepRow): AttemptState | null {
  const current = job.attempt;
  if (current !== null && row.attempt === current.attempt) return current;
  if (current !== null && row.attempt < current.attempt) return null;
  const next = newAttempt(row.attempt, row.step);
  next.closed_through = Math.floor(row.step / engine.options.block_steps) - 1;
  if (current !== null) restart(engine, job, { from: current, to: next }, row);
  job.attempt = next;
  job.attempts.push(row.attempt);
  return next;
}

/**
 * A job starts again. What was learned of a rank goes on where it runs on the same GPU as before, open incidents with
 * it; the others are cleared, as are those of the job as a whole.
 */
function restart(
  engine: Engine,
  job: JobState,
  attempts: { from: AttemptState; to: AttemptState },
  row: StepRow,
): void {
  const { from, to } = attempts;
  closeAll(engine, job, from);
  const before = topologyAt(job.topologies, from.attempt, row.at_ms);
  const after = topologyAt(job.topologies, to.attempt, row.at_ms);
  const stays = (rank: number): boolean => {
    const old = before?.places.get(rank);
    const now = after?.places.get(rank);
    return old !== undefined && now !== undefined && old.node === now.node && old.gpu === now.gpu && old.pp === now.pp;
  };
  const kept = new Set<string>();
  for (const incident of job.incidents.values()) {
    if (incident.cleared_at_ms !== null || incident.kind === 'hang') continue;
    if (incident.ranks.length > 0 && incident.ranks.every(stays)) kept.add(incident.key);
    else clearIncident(job, incident, { ms: row.at_ms, step: row.step }, engine.changes);
  }
  for (const family of ['compute', 'input'] as const)
    for (const [rank, track] of from[family])
      if (stays(rank) && (track.incident === null || kept.has(track.incident))) to[family].set(rank, track);
  progressed(hangContext(engine, job, row.at_ms), job.progress.step + 1, row.at_ms);
  job.progress.step = -1;
  job.progress.beats.clear();
}

/** Closes the oldest block when every rank is past it, or the first rank has been past it for SKEW_MS_MAX. */
function closePassed(engine: Engine, job: JobState, attempt: AttemptState, row: StepRow): void {
  const { block_steps } = engine.options;
  for (let rounds = 0; rounds <= OPEN_BLOCKS_MAX; rounds++) {
    const end = (attempt.closed_through + 2) * block_steps;
    if (row.step >= end - 1) attempt.passed.add(row.rank);
    if (row.step >= end) attempt.over_since_ms ??= row.at_ms;
    const ranks = topologyAt(job.topologies, attempt.attempt, row.at_ms)?.world_size ?? attempt.reached.size;
    const all = attempt.passed.size >= ranks;
    const late = attempt.over_since_ms !== null && row.at_ms - attempt.over_since_ms > SKEW_MS_MAX && row.step > end;
    if (!all && !late && attempt.open.size <= OPEN_BLOCKS_MAX) return;
    closeBlock(engine, job, attempt, attempt.closed_through + 1);
    attempt.passed.clear();
    attempt.over_since_ms = null;
    const next_end = (attempt.closed_through + 2) * block_steps;
    for (const [rank, step] of attempt.reached) if (step >= next_end - 1) attempt.passed.add(rank);
    if (attempt.open.size === 0) return;
  }
}

function closeAll(engine: Engine, job: JobState, attempt: AttemptState): void {
  for (const index of [...attempt.open.keys()].sort((a, b) => a - b)) closeBlock(engine, job, attempt, index);
}

function closeBlock(engine: Engine, job: JobState, attempt: AttemptState, index: number): void {
  const { options, state, changes } = engine;
  const block = attempt.open.get(index);
  attempt.open.delete(index);
  attempt.closed_through = Math.max(attempt.closed_through, index);
  if (block === undefined) return;
  const at_ms = block.ranks.values().next().value?.[0]?.at_ms ?? 0;
  const topology = topologyAt(job.topologies, attempt.attempt, at_ms);
  job.totals.world_size = Math.max(job.totals.world_size, attempt.reached.size);
  const view = viewOf(block, topology, options);
  if (view === null) return;
  addTotals(job, topology?.world_size ?? job.totals.world_size, view);
  if (view.step_ms === null || view.from_step < attempt.first_step + options.warmup_steps) return;
  job.progress.step_ms = view.step_ms;
  job.totals.blocks_count++;
  if ([...view.cells.values()].every((cell) => cell.ratio === null)) job.totals.peerless_blocks_count++;
  addToInsights(job.insight, view);
  const context = { state, job, attempt, topology, view, options, changes };
  judgeJob(context, Math.max(judgePeers(context), judgeNetwork(context)));
}

function addTotals(job: JobState, world_size: number, view: NonNullable<ReturnType<typeof viewOf>>): void {
  const { totals } = job;
  totals.seen_count += view.seen_count;
  totals.expected_count += view.expected_count;
  for (const duration_ms of view.durations) {
    totals.gpu_ms += duration_ms * world_size;
    if (totals.steps_count++ % totals.stride === 0) totals.durations.push(duration_ms);
  }
  if (totals.durations.length <= DURATIONS_MAX) return;
  totals.durations = totals.durations.filter((_, index) => index % 2 === 0);
  totals.stride *= 2;
}
