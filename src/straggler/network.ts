import type { BlockView, Cell } from './block.ts';
import { networkTrouble } from './cause.ts';
import type { BlockContext } from './context.ts';
import { addBlock, clearIncident, note, openIncident } from './incident.ts';
import { median, quantile } from './robust.ts';
import { type Cause, newTrack, type RunBlock, type Subject, type Track } from './state.ts';
import { extendRun, flagCount, followRun, isReady, judge, mergeBlocks, type Rule } from './track.ts';

/** A group's transfer is slow from a quarter above that of like groups on (reference A3); transfers scatter by 3 %. */
const THETA = 0.25;
const SCALE_FLOOR = 0.03;
/** A node explains slow groups when this share of the groups that touch it is slow. */
const NODE_SHARE_MIN = 0.75;
/** Trouble counters of a node stand out when they rose this many times as much as the usual node's. */
const TROUBLE_FACTOR = 10;

/** One communication group in one block: its pure transfer time and where its ranks run. */
type Transfer = {
  readonly key: string;
  readonly group: string;
  readonly alike: string;
  readonly transfer_ms: number;
  readonly nodes: ReadonlySet<string>;
};

/**
 * Compares the pure transfer time of like groups (same operation, same size), and finds the node whose network they
 * share. The last rank to arrive waits for nobody: its time inside the collective is the transfer, whatever the clocks.
 * Returns the step time that slow transfers cost in this block, ms.
 */
export function judgeNetwork(context: BlockContext): number {
  const { attempt, view, options } = context;
  const rule: Rule = {
    theta: Math.max(THETA, options.theta_ratio),
    z_min: options.z_min,
    scale_floor: SCALE_FLOOR,
    early_scale: SCALE_FLOOR,
    flagged_min: options.flagged_min,
    history_blocks: options.history_blocks,
    lag_blocks: options.lag_blocks,
  };
  const transfers = transfersOf(context);
  const usual = usualOf(transfers);
  let lost_ms = 0;
  for (const transfer of transfers) {
    const usual_ms = usual.get(transfer.alike);
    if (usual_ms === undefined || usual_ms <= 0) continue;
    const track = attempt.network.get(transfer.key) ?? newTrack();
    attempt.network.set(transfer.key, track);
    const verdict = judge(track, transfer.transfer_ms / usual_ms, rule, options);
    followRun(track, verdict.flagged, rule, { ms: view.from_ms, step: view.from_step, of: options.flagged_of });
    if (track.run === null || verdict.usual === null) continue;
    const block = runBlock(view, transfer.transfer_ms, verdict.usual * usual_ms);
    extendRun(track, block);
    lost_ms = Math.max(lost_ms, block.loss_ms);
  }
  extendOpen(context, transfers);
  openReady(context, transfers, rule);
  return lost_ms;
}

function runBlock(view: BlockView, transfer_ms: number, without_ms: number): RunBlock {
  return {
    index: view.index,
    to_ms: view.to_ms,
    to_step: view.to_step,
    ratio: transfer_ms / without_ms,
    loss_ms: Math.max(0, transfer_ms - without_ms) * view.train_steps,
    step_losses: [],
    duration_ms: (view.step_ms ?? 0) * view.train_steps,
    seen_count: view.seen_count,
    expected_count: view.expected_count,
  };
}

/** Groups as the collectives name them; without collectives the data-parallel groups of the layout, by `transfer_ms`. */
function transfersOf(context: BlockContext): Transfer[] {
  const found = new Map<string, { group: string; alike: string; nodes: Set<string>; steps: Map<number, number> }>();
  const add = (
    cell: Cell,
    step: number,
    item: { group: string; op: string; bytes: number; spent_ms: number },
  ): void => {
    const key = `${item.group} ${item.op}`;
    const size = item.bytes > 0 ? Math.round(Math.log2(item.bytes)) : 0;
    const held = found.get(key) ?? {
      group: item.group,
      alike: `${item.op} ${size}`,
      nodes: new Set(),
      steps: new Map(),
    };
    found.set(key, held);
    if (cell.node !== '') held.nodes.add(cell.node);
    held.steps.set(step, Math.min(held.steps.get(step) ?? Infinity, item.spent_ms));
  };
  for (const cell of context.view.cells.values()) {
    const place = context.topology?.places.get(cell.rank);
    for (const row of cell.rows) {
      for (const item of row.groups ?? []) add(cell, row.step, item);
      if (row.groups !== null || row.transfer_ms === null || place === undefined) continue;
      add(cell, row.step, {
        group: `dp of stage ${place.pp} tp ${place.tp}`,
        op: 'transfer',
        bytes: 0,
        spent_ms: row.transfer_ms,
      });
    }
  }
  return [...found].map(([key, { group, alike, nodes, steps }]) => ({
    key,
    group,
    alike,
    nodes,
    transfer_ms: median([...steps.values()]) ?? 0,
  }));
}

function usualOf(transfers: readonly Transfer[]): Map<string, number> {
  const alike = new Map<string, number[]>();
  for (const transfer of transfers)
    alike.set(transfer.alike, [...(alike.get(transfer.alike) ?? []), transfer.transfer_ms]);
  const usual = new Map<string, number>();
  for (const [name, list] of alike)
    if (list.length >= 2) usual.set(name, (list.length === 2 ? Math.min(...list) : quantile(list, 0.25)) ?? 0);
  return usual;
}

function extendOpen(context: BlockContext, transfers: readonly Transfer[]): void {
  const { job, attempt, view, options, changes } = context;
  const members = new Map<string, Track[]>();
  for (const transfer of transfers) {
    const track = attempt.network.get(transfer.key);
    if (track?.incident === undefined || track.incident === null) continue;
    members.set(track.incident, [...(members.get(track.incident) ?? []), track]);
  }
  for (const [key, tracks] of members) {
    const incident = job.incidents.get(key);
    if (incident === undefined) continue;
    for (const block of mergeBlocks(tracks.map((track) => track.run?.blocks ?? []))) addBlock(job, incident, block);
    for (const track of tracks) if (track.run !== null) track.run.blocks.length = 0;
    incident.flags.push(tracks.some((track) => track.flags.at(-1) === 1) ? 1 : 0);
    if (incident.flags.length > options.flagged_of) incident.flags.shift();
    note(changes, job, incident, 'updated');
    if (incident.flags.includes(1)) continue;
    clearIncident(job, incident, { ms: view.to_ms, step: view.to_step }, changes);
    for (const track of attempt.network.values()) {
      if (track.incident !== key) continue;
      track.incident = null;
      track.run = null;
      track.flags.length = 0;
    }
  }
}

function openReady(context: BlockContext, transfers: readonly Transfer[], rule: Rule): void {
  const { job, attempt, options, changes } = context;
  const ready = transfers.filter((transfer) => {
    const track = attempt.network.get(transfer.key);
    return track !== undefined && isReady(track, rule, options);
  });
  if (ready.length === 0) return;
  const slow = transfers.filter((transfer) => {
    const track = attempt.network.get(transfer.key);
    return (
      track !== undefined && track.incident === null && track.run !== null && flagCount(track) >= rule.flagged_min - 1
    );
  });
  const runs = slow.flatMap((transfer) => attempt.network.get(transfer.key)?.run ?? []);
  const first = runs.sort((a, b) => a.started_step - b.started_step)[0];
  if (first === undefined) return;
  const place = locate(context, { slow, transfers, since_ms: first.started_at_ms });
  const incident = openIncident(
    job,
    {
      kind: 'slow_network',
      attempt: attempt.attempt,
      ranks: [],
      subjects: place.subjects,
      cause: place.cause,
      started_at_ms: first.started_at_ms,
      started_step: first.started_step,
      blocks: mergeBlocks(runs.map((run) => run.blocks)),
      peer_count: transfers.length - slow.length,
    },
    changes,
  );
  incident.evidence = { groups: [...new Set(slow.map((transfer) => transfer.group))].sort(), rule: place.rule };
  incident.flags.push(...Array.from({ length: options.flagged_of }, () => 1));
  for (const transfer of slow) {
    const track = attempt.network.get(transfer.key);
    if (track === undefined) continue;
    track.incident = incident.key;
    if (track.run !== null) track.run.blocks.length = 0;
  }
}

type Found = { readonly subjects: Subject[]; readonly cause: Cause; readonly rule: string };

/** The one node that the slow groups share and that no healthy group clears; its trouble counters break ties. */
function locate(
  context: BlockContext,
  seen: { slow: readonly Transfer[]; transfers: readonly Transfer[]; since_ms: number },
): Found {
  const { slow, transfers } = seen;
  const inside = slow.every((transfer) => transfer.nodes.size === 1);
  const cause: Cause = inside ? 'interconnect' : 'network';
  const share = (node: string, list: readonly Transfer[]): number =>
    list.filter((transfer) => transfer.nodes.has(node)).length;
  const nodes = [...new Set(slow.flatMap((transfer) => [...transfer.nodes]))].sort();
  const common = nodes.filter(
    (node) =>
      share(node, slow) >= NODE_SHARE_MIN * share(node, transfers) && share(node, slow) >= NODE_SHARE_MIN * slow.length,
  );
  const rises = networkTrouble(context.state, { from_ms: seen.since_ms, to_ms: context.view.to_ms });
  const typical = median([...rises.values()]) ?? 0;
  const troubled = common.filter((node) => (rises.get(node) ?? 0) > TROUBLE_FACTOR * (typical + 1));
  const only = common.length === 1 ? common : troubled;
  const [node] = only;
  if (node !== undefined && only.length === 1)
    return {
      subjects: [{ type: 'node', id: node }],
      cause,
      rule: common.length === 1 ? 'the only node shared' : 'counters of its network cards',
    };
  const groups = [...new Set(slow.map((transfer) => transfer.group))].sort();
  return { subjects: groups.map((id) => ({ type: 'group', id })), cause, rule: 'groups without a common node' };
}
