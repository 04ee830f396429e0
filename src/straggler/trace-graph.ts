import { assert } from '../core/assert.ts';
import { DP_SYNC_TYPES, type Lanes, type Operation, operationName, P2P_TYPES } from './trace-operation.ts';

/** What waits for what within one data-parallel rank and step, and which operations only run together. */
export type TraceGraph = {
  readonly waits: ReadonlyMap<string, readonly string[]>;
  readonly groups: readonly (readonly string[])[];
};

/** Clocks of stages agree to this much, s. */
const CLOCK_S = 5e-5;
const COMPUTE = new Set(['forward-compute', 'backward-compute']);

/** A graph under construction, seen from lane 0 (first step, dp_rank 0), whose order every other lane shares. */
type Draft = {
  readonly lanes: Lanes;
  readonly waits: Map<string, string[]>;
  readonly groups: string[][];
  readonly pairs: Map<string, string[]>;
};

/**
 * The dependency model of a pipeline-parallel step (reference A5; Lin et al., OSDI 2025): one stream of compute, one of
 * data-parallel communication and four of pipeline communication a stage; receive → compute → send; gather → first
 * forward of its chunk; last backward → reduce-scatter → clip over all stages → optimizer.
 */
export function graphOf(lanes: Lanes): TraceGraph {
  const draft: Draft = { lanes, waits: new Map(), groups: [], pairs: new Map() };
  for (const name of lanes.operations.keys()) draft.waits.set(name, []);
  for (let stage = 0; stage < lanes.stage_count; stage++) {
    const compute = ordered(draft, stage, (optype) => COMPUTE.has(optype));
    chain(draft, names(compute), []);
    linkPipeline(draft, stage, compute);
    chain(
      draft,
      names(ordered(draft, stage, (optype) => optype === 'params-all-gather' || optype === 'grads-reduce-scatter')),
      [],
    );
    linkChunks(draft, stage, compute);
    linkEnd(draft, stage, compute);
  }
  groupUp(draft);
  return { waits: draft.waits, groups: draft.groups };
}

function ordered(draft: Draft, stage: number, wanted: (optype: string) => boolean): Operation[] {
  const list = [...draft.lanes.operations.values()].filter((item) => item.stage === stage && wanted(item.optype));
  return list.sort((a, b) => startOf(a) - startOf(b) || a.seq_id - b.seq_id || (a.optype < b.optype ? -1 : 1));
}

function names(list: readonly Operation[]): string[] {
  return list.map((item) => item.name);
}

function startOf(operation: Operation): number {
  return operation.start_s[0] ?? 0;
}

function endOf(operation: Operation): number {
  return operation.end_s[0] ?? 0;
}

function wait(draft: Draft, who: string, on: string): void {
  if (!draft.waits.has(on)) return;
  draft.waits.get(who)?.push(on);
}

/** Each existing operation of the list waits for the one before it, the first for all of `first`. */
function chain(draft: Draft, list: readonly string[], first: readonly string[]): void {
  let before = first.filter((name) => draft.waits.has(name));
  for (const name of list) {
    if (!draft.waits.has(name)) continue;
    for (const other of before) wait(draft, name, other);
    before = [name];
  }
}

/** Pipeline sends and receives of a stage: their streams, their compute operations and their peers. */
function linkPipeline(draft: Draft, stage: number, compute: readonly Operation[]): void {
  for (const direction of ['forward', 'backward'] as const) {
    const work = compute.filter((item) => item.optype === `${direction}-compute`);
    for (const side of ['send', 'recv'] as const) {
      const list = ordered(draft, stage, (optype) => optype === `${direction}-${side}`);
      chain(draft, names(list), []);
      const real = list.filter((item) => isLaunched(item, side, work));
      let id = side === 'recv' && real.length + 1 === work.length ? 1 : 0;
      let valid = 0;
      for (const item of real) {
        const match = draft.lanes.operations.get(operationName(`${direction}-compute`, id, stage));
        if (match === undefined) continue;
        if (hasPeer(draft, direction, side, match.global_chunk)) pair(draft, item, { direction, side, id: valid++ });
        if (side === 'send') wait(draft, item.name, match.name);
        else {
          wait(draft, match.name, item.name);
          if (id > 0) wait(draft, item.name, operationName(`${direction}-compute`, id - 1, stage));
        }
        id++;
      }
    }
  }
  const first = compute.findIndex((item) => item.optype === 'backward-compute');
  const before = compute[first - 2];
  if (first < 2 || before === undefined) return;
  for (const optype of ['backward-recv', 'backward-send']) {
    const name = operationName(optype, 0, stage);
    if (draft.waits.has(name)) wait(draft, name, before.name);
  }
}

/** Profilers record sends and receives before the first or after the last compute that were never launched. */
function isLaunched(item: Operation, side: 'send' | 'recv', work: readonly Operation[]): boolean {
  if (side === 'recv') return startOf(item) <= Math.max(...work.map(startOf)) + CLOCK_S;
  return endOf(item) >= Math.min(...work.map(endOf)) - CLOCK_S;
}

/** The very first receive and the very last send of the model have nobody on the other side. */
function hasPeer(draft: Draft, direction: 'forward' | 'backward', side: 'send' | 'recv', chunk: number): boolean {
  const chunks_per_stage = Math.max(...[...draft.lanes.operations.values()].map((item) => item.model_chunk)) + 1;
  const peer = chunk + ((direction === 'forward') === (side === 'send') ? 1 : -1);
  return peer >= 0 && peer < chunks_per_stage * draft.lanes.stage_count;
}

function pair(
  draft: Draft,
  item: Operation,
  at: { direction: 'forward' | 'backward'; side: 'send' | 'recv'; id: number },
): void {
  const { stage_count } = draft.lanes;
  const step = (at.direction === 'forward') === (at.side === 'send') ? 1 : -1;
  const peer = (item.stage + step + stage_count) % stage_count;
  const sender = at.side === 'send' ? item.stage : peer;
  const receiver = at.side === 'send' ? peer : item.stage;
  const key = `${at.direction} ${sender}>${receiver} ${at.id}`;
  draft.pairs.set(key, [...(draft.pairs.get(key) ?? []), item.name]);
}

/** Gathered parameters come before the first forward of their chunk; overlapped gradients after its last backward. */
function linkChunks(draft: Draft, stage: number, compute: readonly Operation[]): void {
  const overlapped = [...draft.lanes.operations.values()].some((item) => item.optype === 'separate-grads-all-reduce');
  const bySequence = (optype: string): Operation[] =>
    ordered(draft, stage, (other) => other === optype).sort((a, b) => a.seq_id - b.seq_id);
  const lastGather = new Map(bySequence('params-all-gather').map((item) => [item.model_chunk, item]));
  for (const [chunk, gather] of lastGather) {
    const forward = compute.find((item) => item.optype === 'forward-compute' && item.model_chunk === chunk);
    if (forward !== undefined) wait(draft, forward.name, gather.name);
  }
  if (!overlapped) return;
  const firstScatter = new Map(
    bySequence('grads-reduce-scatter')
      .reverse()
      .map((item) => [item.model_chunk, item]),
  );
  for (const [chunk, scatter] of firstScatter) {
    const last = latest(compute.filter((item) => item.optype === 'backward-compute' && item.model_chunk === chunk));
    if (last !== undefined) wait(draft, scatter.name, last.name);
  }
}

function latest(list: readonly Operation[]): Operation | undefined {
  return list.reduce<Operation | undefined>(
    (best, item) => (best === undefined || endOf(item) > endOf(best) ? item : best),
    undefined,
  );
}

/** From the stage's last compute to its optimizer. */
function linkEnd(draft: Draft, stage: number, compute: readonly Operation[]): void {
  const at = (optype: string, seq_id = 0): string => operationName(optype, seq_id, stage);
  const last = latest(compute);
  const pause = at('gc');
  if (last !== undefined && draft.waits.has(pause)) wait(draft, pause, last.name);
  const from = draft.waits.has(pause) ? [pause] : last === undefined ? [] : [last.name];
  const scatters = names(
    ordered(draft, stage, (optype) => optype === 'grads-reduce-scatter').sort((a, b) => a.seq_id - b.seq_id),
  );
  const overlapped = [...draft.lanes.operations.values()].some((item) => item.optype === 'separate-grads-all-reduce');
  const sums = [at('layernorm-grads-all-reduce'), at('embedding-grads-all-reduce')];
  const end = [at('optimizer-clip-main-grad'), at('optimizer')];
  if (overlapped) chain(draft, [...sums, at('separate-grads-all-reduce'), ...end], [...scatters.slice(-1), ...from]);
  else chain(draft, [...sums, ...scatters, ...end], from);
}

function groupUp(draft: Draft): void {
  const grouped = new Set<string>();
  for (const members of draft.pairs.values()) {
    assert(members.length <= 2, 'a send has one receive');
    draft.groups.push(members);
    for (const name of members) grouped.add(name);
  }
  for (const optype of ['embedding-grads-all-reduce', 'optimizer-clip-main-grad']) {
    const members = [...draft.lanes.operations.values()].filter((item) => item.optype === optype);
    if (members.length > 0) draft.groups.push(names(members));
  }
  for (const item of draft.lanes.operations.values())
    if (
      !grouped.has(item.name) &&
      (P2P_TYPES.has(item.optype) || (DP_SYNC_TYPES.has(item.optype) && item.optype !== 'optimizer-clip-main-grad'))
    )
      draft.groups.push([item.name]);
}
