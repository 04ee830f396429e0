import { assert } from '../core/assert.ts';
import type { TraceGraph } from './trace-graph.ts';
import { DP_SYNC_TYPES, type Lanes, type Operation, sum } from './trace-operation.ts';

/** Length of each operation by lane, s: computing time, or pure transfer once all members of its group have started. */
export type Lengths = ReadonlyMap<string, Float64Array>;

/** One entry of the fixed order: operations whose starts are known by now and that end together. */
type Turn = { readonly members: readonly Operation[]; readonly synchronised: boolean };

/** A trace ready to be replayed with any lengths. */
export type Replay = {
  readonly lanes: Lanes;
  readonly graph: TraceGraph;
  readonly turns: readonly Turn[];
};

/** Orders the graph once. Returns a sentence instead when operations wait for each other in a circle. O(V + E). */
export function prepareReplay(lanes: Lanes, graph: TraceGraph): Replay | string {
  const turns = turnsOf(lanes, graph);
  const missing = new Map<number, number>();
  const turnOf = new Map<string, number>();
  for (const [index, turn] of turns.entries()) for (const member of turn.members) turnOf.set(member.name, index);
  const next = new Map<number, number[]>();
  for (const [index, turn] of turns.entries()) {
    const before = new Set(
      turn.members.flatMap((member) => (graph.waits.get(member.name) ?? []).flatMap((name) => turnOf.get(name) ?? [])),
    );
    missing.set(index, before.size);
    for (const other of before) next.set(other, [...(next.get(other) ?? []), index]);
  }
  const ready = turns.flatMap((_, index) => (missing.get(index) === 0 ? [index] : []));
  const order: Turn[] = [];
  for (let at = 0; at < ready.length; at++) {
    const index = ready[at] ?? 0;
    const turn = turns[index];
    if (turn !== undefined) order.push(turn);
    for (const follower of next.get(index) ?? []) {
      const left = (missing.get(follower) ?? 0) - 1;
      missing.set(follower, left);
      if (left === 0) ready.push(follower);
    }
  }
  if (order.length !== turns.length) return 'its operations wait for each other in a circle';
  return { lanes, graph, turns: order };
}

function turnsOf(lanes: Lanes, graph: TraceGraph): Turn[] {
  const grouped = new Set(graph.groups.flat());
  const operation = (name: string): Operation => {
    const found = lanes.operations.get(name);
    assert(found !== undefined, `operation ${name} of the graph must exist`);
    return found;
  };
  const groups = graph.groups.map((members) => ({
    members: members.map(operation),
    synchronised: members.some((name) => DP_SYNC_TYPES.has(operation(name).optype)),
  }));
  const alone = [...lanes.operations.values()].filter((item) => !grouped.has(item.name));
  return [...groups, ...alone.map((item) => ({ members: [item], synchronised: false }))];
}

/** The recorded lengths: durations of compute, and of communication end − latest start over its group, at least 0. */
export function recordedLengths(replay: Replay): Map<string, Float64Array> {
  const grouped = new Set(replay.graph.groups.flat());
  const lengths = new Map<string, Float64Array>();
  for (const turn of replay.turns) {
    const latest = latestStarts(
      replay.lanes,
      turn,
      new Map(turn.members.map((member) => [member.name, member.start_s])),
    );
    for (const member of turn.members) {
      const from = grouped.has(member.name) ? latest : member.start_s;
      const list = member.end_s.map((end_s, lane) => sum(end_s, -(from[lane] ?? 0)));
      // clocks of ranks differ a little: more than 10 ms below zero is no transfer but a wrong clock
      lengths.set(
        member.name,
        grouped.has(member.name) ? list.map((length) => (length <= -CLOCK_S_MAX ? 0 : length)) : list,
      );
    }
  }
  return lengths;
}

const CLOCK_S_MAX = 0.01;

function latestStarts(lanes: Lanes, turn: Turn, starts: ReadonlyMap<string, Float64Array>): Float64Array {
  const latest = new Float64Array(lanes.steps.length * lanes.dp_count).fill(-Infinity);
  for (const member of turn.members) {
    const list = starts.get(member.name);
    if (list === undefined) continue;
    for (let lane = 0; lane < latest.length; lane++) latest[lane] = Math.max(latest[lane] ?? 0, list[lane] ?? 0);
  }
  if (!turn.synchronised) return latest;
  for (let step = 0; step < lanes.steps.length; step++) {
    const from = step * lanes.dp_count;
    latest.fill(Math.max(...latest.subarray(from, from + lanes.dp_count)), from, from + lanes.dp_count);
  }
  return latest;
}

/** Replays the trace without launch delays. Returns the mean step time to the last optimizer, s. */
export function replayMean(replay: Replay, lengthOf: (operation: Operation) => Float64Array): number {
  const { lanes, turns, graph } = replay;
  const grouped = new Set(graph.groups.flat());
  const lanes_count = lanes.steps.length * lanes.dp_count;
  const ends = new Map<string, Float64Array>();
  const step_s = new Float64Array(lanes.steps.length);
  for (const turn of turns) {
    const starts = new Map<string, Float64Array>();
    for (const member of turn.members)
      starts.set(member.name, startsOf(graph.waits.get(member.name) ?? [], ends, lanes_count));
    const joint = grouped.has(turn.members[0]?.name ?? '') ? latestStarts(lanes, turn, starts) : null;
    for (const member of turn.members) {
      const from = joint ?? starts.get(member.name) ?? new Float64Array(lanes_count);
      const length = lengthOf(member);
      const end = from.map((start_s, lane) => start_s + (length[lane] ?? 0));
      ends.set(member.name, end);
      if (member.optype === 'optimizer')
        for (let lane = 0; lane < lanes_count; lane++) {
          const step = Math.floor(lane / lanes.dp_count);
          step_s[step] = Math.max(step_s[step] ?? 0, end[lane] ?? 0);
        }
    }
  }
  return step_s.reduce((sum, value) => sum + value, 0) / step_s.length;
}

function startsOf(
  waits: readonly string[],
  ends: ReadonlyMap<string, Float64Array>,
  lanes_count: number,
): Float64Array {
  const starts = new Float64Array(lanes_count);
  for (const name of waits) {
    const end = ends.get(name);
    if (end === undefined) continue;
    for (let lane = 0; lane < lanes_count; lane++) starts[lane] = Math.max(starts[lane] ?? 0, end[lane] ?? 0);
  }
  return starts;
}
