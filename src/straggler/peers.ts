import { type BlockView, type Cell, lossesOf, slowestOther } from './block.ts';
import { causeOf } from './cause.ts';
import { addBlock, clearIncident, note, openIncident } from './incident.ts';
import { fold, type Group } from './fold.ts';
import { type BlockContext, type Family, ruleOf, tracksOf } from './context.ts';
import { type AttemptState, type IncidentState, newTrack, type RunBlock, type Track } from './state.ts';
import { sum } from './robust.ts';
import { extendRun, followRun, judge, mergeBlocks, type Verdict } from './track.ts';

/**
 * Compares every rank with its peers in one block: flags, stretches, incidents. Order of ranks does not matter.
 * Returns the step time that suspected ranks cost in this block, ms.
 */
export function judgePeers(context: BlockContext): number {
  const verdicts = { compute: judgeFamily(context, 'compute'), input: judgeFamily(context, 'input') };
  const suspects = suspectsOf(context.attempt);
  const slowest = slowestOther(context.view, suspects);
  let lost_ms = 0;
  for (const family of ['compute', 'input'] as const) {
    lost_ms = Math.max(lost_ms, extendRuns(context, family, verdicts[family], slowest));
    extendIncidents(context, family);
    for (const group of fold(context, family)) openGroup(context, family, group);
  }
  return lost_ms;
}

function judgeFamily(context: BlockContext, family: Family): Map<number, Verdict> {
  const { attempt, view, options } = context;
  const rule = ruleOf(family, options);
  const tracks = tracksOf(attempt, family);
  const verdicts = new Map<number, Verdict>();
  for (const cell of view.cells.values()) {
    const value = family === 'compute' ? cell.ratio : cell.data_excess;
    if (value === null) continue;
    const track = tracks.get(cell.rank) ?? newTrack();
    tracks.set(cell.rank, track);
    const verdict = judge(track, value, rule, options);
    followRun(track, verdict.flagged, rule, { ms: view.from_ms, step: view.from_step, of: options.flagged_of });
    verdicts.set(cell.rank, verdict);
  }
  return verdicts;
}

function suspectsOf(attempt: AttemptState): Set<number> {
  const suspects = new Set<number>();
  for (const tracks of [attempt.compute, attempt.input])
    for (const [rank, track] of tracks) if (track.run !== null || track.incident !== null) suspects.add(rank);
  return suspects;
}

function extendRuns(
  context: BlockContext,
  family: Family,
  verdicts: ReadonlyMap<number, Verdict>,
  slowest: ReadonlyMap<number, number>,
): number {
  const { view } = context;
  let lost_ms = 0;
  for (const [rank, track] of tracksOf(context.attempt, family)) {
    const cell = view.cells.get(rank);
    const usual = verdicts.get(rank)?.usual ?? null;
    if (track.run === null || cell === undefined || usual === null) continue;
    const block = runBlock(view, cell, { family, usual, slowest });
    extendRun(track, block);
    lost_ms = Math.max(lost_ms, block.loss_ms);
  }
  return lost_ms;
}

function runBlock(
  view: BlockView,
  cell: Cell,
  basis: { family: Family; usual: number; slowest: ReadonlyMap<number, number> },
): RunBlock {
  const step_ms = view.step_ms ?? 0;
  const usual_work_ms = basis.usual * cell.peer_work_ms;
  const usual_ms =
    basis.family === 'compute'
      ? usual_work_ms + cell.data_ms
      : cell.compute_ms + cell.peer_data_ms + basis.usual * step_ms;
  const ratio =
    basis.family === 'compute'
      ? cell.work_ms / Math.max(usual_work_ms, Number.MIN_VALUE)
      : 1 + (cell.data_excess ?? 0) - basis.usual;
  const step_losses = lossesOf(view, cell, basis.slowest, usual_ms);
  return {
    index: view.index,
    to_ms: view.to_ms,
    to_step: view.to_step,
    ratio,
    loss_ms: sum(step_losses),
    step_losses,
    duration_ms: step_ms * view.train_steps,
    seen_count: cell.rows.length,
    expected_count: view.durations.length,
  };
}

function extendIncidents(context: BlockContext, family: Family): void {
  const { job, attempt, view, options, changes } = context;
  const tracks = tracksOf(attempt, family);
  const members = new Map<string, Track[]>();
  for (const rank of view.cells.keys()) {
    const track = tracks.get(rank);
    if (track === undefined || track.incident === null) continue;
    members.set(track.incident, [...(members.get(track.incident) ?? []), track]);
  }
  for (const [key, list] of members) {
    const incident = job.incidents.get(key);
    if (incident === undefined) continue;
    for (const block of mergeBlocks(list.map((track) => track.run?.blocks ?? []))) addBlock(job, incident, block);
    for (const track of list) if (track.run !== null) track.run.blocks.length = 0;
    const flagged = list.filter((track) => track.flags.at(-1) === 1).length;
    incident.flags.push(2 * flagged >= list.length ? 1 : 0);
    if (incident.flags.length > options.flagged_of) incident.flags.shift();
    if (incident.cause === 'unknown') incident.cause = causeNow(context, family, incident);
    note(changes, job, incident, 'updated');
    if (incident.flags.length === options.flagged_of && !incident.flags.includes(1)) release(context, family, incident);
  }
}

function release(context: BlockContext, family: Family, incident: IncidentState): void {
  const { job, attempt, view, changes } = context;
  clearIncident(job, incident, { ms: view.to_ms, step: view.to_step }, changes);
  for (const track of tracksOf(attempt, family).values()) {
    if (track.incident !== incident.key) continue;
    track.incident = null;
    track.run = null;
    track.flags.length = 0;
  }
}

function causeNow(context: BlockContext, family: Family, incident: IncidentState): IncidentState['cause'] {
  if (family === 'input') return 'input';
  const window = { from_ms: incident.started_at_ms, to_ms: context.view.to_ms };
  return causeOf(context.state, context.topology, incident.ranks, window);
}

function openGroup(context: BlockContext, family: Family, group: Group): void {
  const { job, attempt, view, options } = context;
  const tracks = tracksOf(attempt, family);
  const lists = group.ranks.map((rank) => tracks.get(rank)?.run?.blocks ?? []);
  const runs = group.ranks.flatMap((rank) => tracks.get(rank)?.run ?? []);
  const first = runs.sort((a, b) => a.started_step - b.started_step)[0];
  if (first === undefined) return;
  const window = { from_ms: first.started_at_ms, to_ms: view.to_ms };
  const incident = openIncident(
    job,
    {
      kind: family === 'input' ? 'slow_input' : group.node === null ? 'slow_rank' : 'slow_node',
      attempt: attempt.attempt,
      ranks: group.ranks,
      subjects:
        group.node === null
          ? group.ranks.map((rank) => ({ type: 'rank', id: String(rank) }))
          : [{ type: 'node', id: group.node }],
      cause: family === 'input' ? 'input' : causeOf(context.state, context.topology, group.ranks, window),
      started_at_ms: first.started_at_ms,
      started_step: first.started_step,
      blocks: mergeBlocks(lists),
      peer_count: view.cells.get(group.ranks[0] ?? -1)?.peer_count ?? 0,
    },
    context.changes,
  );
  incident.flags.push(...Array.from({ length: options.flagged_of }, () => 1));
  for (const rank of [...group.ranks, ...group.victims]) {
    const track = tracks.get(rank) ?? newTrack();
    tracks.set(rank, track);
    track.incident = incident.key;
    if (track.run === null)
      track.run = {
        started_at_ms: first.started_at_ms,
        started_step: first.started_step,
        ready_index: null,
        blocks: [],
      };
    track.run.blocks.length = 0;
  }
}
