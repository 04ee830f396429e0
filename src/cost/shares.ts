import type { AssetBook } from './book.ts';
import type { Claim } from './capacity.ts';
import type { BusyRecord, Mode, Tenant } from './record.ts';

/**
 * `weight / scale` GPUs of an asset (of the asset itself where it has no GPUs) belong to a tenant, or are stranded or
 * unobserved, over [from, to), in µs after the span's base. What no piece covers is idle.
 */
export type Piece = {
  readonly from: number;
  readonly to: number;
  readonly category: 'tenant' | 'stranded' | 'unobserved';
  readonly tenant: Tenant | null;
  readonly mode: Mode;
  readonly weight: bigint;
  readonly scale: bigint;
};

/** The stretch of time under consideration: [low, high) in µs after `base_us`; below 2⁵³, so plain numbers are exact. */
export type Span = { readonly base_us: bigint; readonly low: number; readonly high: number };

export type Emit = (piece: Piece) => void;

type Timed<Item> = { readonly from: number; readonly to: number; readonly item: Item };
type Portion = { readonly tenant: Tenant; weight: bigint };

/** One slice of seven by eight as 56ths, one ratio as billionths. */
const MIG_UNIT = 56n;
const RATIO_UNIT = 1_000_000_000n;

/** The shares of an asset's admitted claims within `span`. Source: contracts/cost.md "Shares". O(n log n) a GPU. */
export function sharePieces(book: AssetBook, span: Span, emit: Emit): void {
  const claims = book.claims.flatMap((claim) => clip(claim, claim.record, span));
  if (book.asset.gpus === 0n) return equalShares(claims, emit);
  for (const claim of claims)
    if (claim.item.record.mode === 'whole' || claim.item.record.mode === 'time_slice') fixed(claim, emit);
  for (const [, lane] of lanes(claims, 'mig')) sweep(lane, (at, active) => migShares(at, active, emit));
  for (const [, lane] of lanes(claims, 'mps')) sweep(lane, (at, active) => mpsShares(at, active, emit));
  const measured = lanes(claims, 'measured');
  if (measured.size === 0) return;
  const busy = Map.groupBy(book.busy, (record) => record.gpu_index);
  for (const [index, lane] of measured) {
    const records = (busy.get(index) ?? []).flatMap((record) => clip(record, record, span));
    sweep<Claim | BusyRecord>([...lane, ...records], (at, active) => measuredShares(at, active, emit));
  }
}

function clip<Item>(item: Item, interval: { from_us: bigint; to_us: bigint }, span: Span): Timed<Item>[] {
  const from = Math.max(span.low, Number(interval.from_us - span.base_us));
  const to = Math.min(span.high, Number(interval.to_us - span.base_us));
  return from < to ? [{ from, to, item }] : [];
}

/** The claims of one mode by the GPUs that they list. */
function lanes(claims: readonly Timed<Claim>[], mode: Mode): Map<bigint, Timed<Claim>[]> {
  const lane = new Map<bigint, Timed<Claim>[]>();
  for (const claim of claims) {
    if (claim.item.record.mode !== mode) continue;
    for (const index of claim.item.record.gpu_indexes ?? []) {
      const held = lane.get(index);
      if (held === undefined) lane.set(index, [claim]);
      else held.push(claim);
    }
  }
  return lane;
}

type Stretch = { readonly from: number; readonly to: number };

/** Calls `onStretch` for each stretch between changes in which anything is active. */
function sweep<Item>(items: readonly Timed<Item>[], onStretch: (at: Stretch, active: ReadonlySet<Item>) => void): void {
  const events = items.flatMap(({ from, to, item }) => [
    { at: from, starts: true, item },
    { at: to, starts: false, item },
  ]);
  events.sort((a, b) => a.at - b.at);
  const active = new Set<Item>();
  let since = 0;
  for (const event of events) {
    if (event.at > since && active.size > 0) onStretch({ from: since, to: event.at }, active);
    since = event.at;
    if (event.starts) active.add(event.item);
    else active.delete(event.item);
  }
}

function fixed(claim: Timed<Claim>, emit: Emit): void {
  const { tenant, gpus, mode, replicas } = claim.item.record;
  const scale = mode === 'time_slice' ? replicas : 1n;
  emit({ from: claim.from, to: claim.to, category: 'tenant', tenant, mode, weight: gpus, scale });
}

function equalShares(claims: readonly Timed<Claim>[], emit: Emit): void {
  sweep(claims, (at, active) => {
    const portions = byTenant(active, () => 1n);
    portion(at, { portions, mode: 'whole', scale: BigInt(active.size) }, emit);
  });
}

function migShares(at: Stretch, active: ReadonlySet<Claim>, emit: Emit): void {
  const portions = byTenant(active, ({ slice }) => larger(8n * (slice?.compute ?? 0n), 7n * (slice?.memory ?? 0n)));
  const sum = total(portions);
  const scale = larger(MIG_UNIT, sum);
  portion(at, { portions, mode: 'mig', scale }, emit);
  rest(at, { category: 'stranded', mode: 'mig', weight: scale - sum, scale }, emit);
}

function mpsShares(at: Stretch, active: ReadonlySet<Claim>, emit: Emit): void {
  const portions = byTenant(active, (claim) => claim.record.mps_billionths);
  portion(at, { portions, mode: 'mps', scale: larger(RATIO_UNIT, total(portions)) }, emit);
}

/** The rest of a measured GPU is idle only where every measured tenant on it was seen. */
function measuredShares(at: Stretch, active: ReadonlySet<Claim | BusyRecord>, emit: Emit): void {
  const seen = new Map<string, bigint>();
  const portions = new Map<string, Portion>();
  for (const item of active) {
    if ('record' in item) portions.set(item.record.tenant.key, { tenant: item.record.tenant, weight: 0n });
    else seen.set(item.tenant.key, larger(seen.get(item.tenant.key) ?? 0n, item.sm_active_billionths));
  }
  if (portions.size === 0) return;
  for (const [key, held] of portions) held.weight = seen.get(key) ?? 0n;
  const sum = total(portions);
  const scale = larger(RATIO_UNIT, sum);
  portion(at, { portions, mode: 'measured', scale }, emit);
  const everySeen = [...portions.keys()].every((key) => seen.has(key));
  if (!everySeen) rest(at, { category: 'unobserved', mode: 'measured', weight: scale - sum, scale }, emit);
}

function byTenant(claims: ReadonlySet<Claim>, weigh: (claim: Claim) => bigint): Map<string, Portion> {
  const portions = new Map<string, Portion>();
  for (const claim of claims) {
    const { tenant } = claim.record;
    const held = portions.get(tenant.key);
    if (held === undefined) portions.set(tenant.key, { tenant, weight: weigh(claim) });
    else held.weight += weigh(claim);
  }
  return portions;
}

function total(portions: ReadonlyMap<string, Portion>): bigint {
  let sum = 0n;
  for (const { weight } of portions.values()) sum += weight;
  return sum;
}

type Split = { readonly portions: ReadonlyMap<string, Portion>; readonly mode: Mode; readonly scale: bigint };

function portion(at: Stretch, { portions, mode, scale }: Split, emit: Emit): void {
  for (const { tenant, weight } of portions.values())
    emit({ from: at.from, to: at.to, category: 'tenant', tenant, mode, weight, scale });
}

function rest(at: Stretch, of: Pick<Piece, 'category' | 'mode' | 'weight' | 'scale'>, emit: Emit): void {
  if (of.weight > 0n) emit({ from: at.from, to: at.to, tenant: null, ...of });
}

function larger(a: bigint, b: bigint): bigint {
  return a > b ? a : b;
}
