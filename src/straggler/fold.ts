import { mergeAway } from './incident.ts';
import { type BlockContext, type Family, ruleOf, tracksOf } from './context.ts';
import { median } from './robust.ts';
import type { Track } from './state.ts';
import { flagCount, isReady } from './track.ts';

/** One cause found among the ranks: a node, or a single rank with the peers that only wait inside its work. */
export type Group = {
  readonly node: string | null;
  readonly ranks: readonly number[];
  readonly victims: readonly number[];
};

/** A node is the cause when this share of its ranks is slow (reference A3, folding). */
const NODE_SHARE_MIN = 0.75;
/** Blocks that a single slow rank waits for the rest of its node to show. */
const HOLD_BLOCKS_MAX = 5;
/** Stretches that began at most this many blocks apart are one event. */
const TOGETHER_BLOCKS_MAX = 10;

/**
 * The groups to open in this block: ranks that meet the rule, folded into their node when at least 75 % of it is slow,
 * into the slowest of their tensor-parallel group otherwise. A rank whose node looks half slow waits a little.
 */
export function fold(context: BlockContext, family: Family): Group[] {
  const { attempt, options, view } = context;
  const rule = ruleOf(family, options);
  const tracks = tracksOf(attempt, family);
  const ready: number[] = [];
  for (const [rank, track] of tracks) {
    if (!isReady(track, rule, options) || track.run === null) continue;
    track.run.ready_index ??= view.index;
    ready.push(rank);
  }
  if (ready.length === 0) return [];
  ready.sort((a, b) => a - b);
  const groups: Group[] = [];
  for (const [node, ranks] of byNode(context, ready)) {
    const members = node === null ? null : membersOf(context, node);
    const verdict = members === null ? 'single' : nodeVerdict(context, family, members, ranks);
    if (verdict === 'hold') continue;
    if (verdict === 'node' && members !== null && node !== null) {
      absorb(context, family, members);
      groups.push({ node, ranks: members, victims: [] });
    } else groups.push(...singles(context, family, ranks));
  }
  return groups;
}

function byNode(context: BlockContext, ranks: readonly number[]): Map<string | null, number[]> {
  const nodes = new Map<string | null, number[]>();
  for (const rank of ranks) {
    const node = context.topology?.places.get(rank)?.node ?? null;
    nodes.set(node, [...(nodes.get(node) ?? []), rank]);
  }
  return nodes;
}

/** Ranks of a node, or null when folding says nothing: one rank only, or the whole job on this node. */
function membersOf(context: BlockContext, node: string): number[] | null {
  const places = [...(context.topology?.places.values() ?? [])];
  const members = places.filter((place) => place.node === node).map((place) => place.rank);
  return members.length < 2 || members.length === places.length ? null : members.sort((a, b) => a - b);
}

function nodeVerdict(
  context: BlockContext,
  family: Family,
  members: readonly number[],
  ready: readonly number[],
): 'node' | 'hold' | 'single' {
  const tracks = tracksOf(context.attempt, family);
  const { flagged_min } = ruleOf(family, context.options);
  const needed = Math.ceil(NODE_SHARE_MIN * members.length);
  const held = members.flatMap((rank) => tracks.get(rank) ?? []);
  const strong = held.filter((track) => track.incident !== null || flagCount(track) >= Math.max(2, flagged_min - 1));
  if (strong.length >= needed) return 'node';
  const warm = held.filter((track) => track.incident !== null || track.run !== null);
  if (warm.length < needed) return 'single';
  const since = Math.min(...ready.map((rank) => tracks.get(rank)?.run?.ready_index ?? Infinity));
  return context.view.index - since < HOLD_BLOCKS_MAX ? 'hold' : 'single';
}

/** Incidents of single ranks that the node explains disappear into it. */
function absorb(context: BlockContext, family: Family, members: readonly number[]): void {
  const tracks = tracksOf(context.attempt, family);
  for (const rank of members) {
    const track = tracks.get(rank);
    const incident =
      track?.incident === undefined || track.incident === null ? undefined : context.job.incidents.get(track.incident);
    if (track === undefined || incident === undefined) continue;
    if (track.run !== null) track.run.blocks.length = 0;
    mergeAway(context.job, incident, context.changes);
  }
}

function singles(context: BlockContext, family: Family, ranks: readonly number[]): Group[] {
  const groups = new Map<string, number[]>();
  for (const rank of ranks) {
    const team = family === 'compute' ? teamOf(context, rank) : null;
    const key = team ?? `rank ${rank}`;
    groups.set(key, [...(groups.get(key) ?? []), rank]);
  }
  return [...groups.values()].flatMap((team) => {
    const culprit = slowestOf(context, family, team);
    const victims = team.filter((rank) => rank !== culprit);
    const owner = ownerOf(context, family, culprit);
    if (owner === null) return [{ node: null, ranks: [culprit], victims }];
    for (const rank of team) attach(tracksOf(context.attempt, family).get(rank), owner);
    return [];
  });
}

/** Name of the tensor-parallel group of a rank, or null when the job has none. */
function teamOf(context: BlockContext, rank: number): string | null {
  const places = context.topology?.places;
  const place = places?.get(rank);
  if (places === undefined || place === undefined) return null;
  for (const other of places.values())
    if (other.tp !== place.tp && other.dp === place.dp && other.pp === place.pp) return `${place.dp}/${place.pp}`;
  return null;
}

function slowestOf(context: BlockContext, family: Family, team: readonly number[]): number {
  const tracks = tracksOf(context.attempt, family);
  const level = (rank: number): number => median(tracks.get(rank)?.run?.blocks.map((block) => block.ratio) ?? []) ?? 0;
  return team.reduce((best, rank) => (level(rank) > level(best) ? rank : best), team[0] ?? -1);
}

/** Key of an open incident in the same tensor-parallel group that began together with this rank's stretch. */
function ownerOf(context: BlockContext, family: Family, rank: number): string | null {
  const team = family === 'compute' ? teamOf(context, rank) : null;
  const tracks = tracksOf(context.attempt, family);
  const started = tracks.get(rank)?.run?.started_step ?? 0;
  if (team === null) return null;
  for (const [other, track] of tracks) {
    if (track.incident === null || other === rank || teamOf(context, other) !== team || track.run === null) continue;
    const apart = Math.abs(track.run.started_step - started);
    if (apart <= TOGETHER_BLOCKS_MAX * context.options.block_steps) return track.incident;
  }
  return null;
}

function attach(track: Track | undefined, key: string): void {
  if (track?.run === undefined || track.run === null) return;
  track.incident = key;
  track.run.blocks.length = 0;
}
