import { splitByWeight } from '../core/money.ts';
import { sumFractions } from '../core/rational.ts';
import type { HourRange, Observer } from './asset-bill.ts';
import type { AssetBook } from './book.ts';
import { byBytes, type HourRow } from './hour-row.ts';
import { type Bucket, BUCKETS, HOUR_US, HOUR_US_BIG } from './record.ts';

/** What a run spent in one bucket: money, and seconds of asset time in which it held a claim. */
export type Badput = {
  readonly run: string;
  readonly bucket: Bucket;
  readonly nano_usd: bigint;
  readonly seconds: number;
};

type Segment = { readonly from: number; readonly to: number; readonly bucket: Bucket };
type Spent = { costs: Map<bigint, bigint>; time_us: bigint };

/** Collects, asset by asset, the exact cost and time of every run by bucket. */
export class BadputLedger {
  readonly #window: HourRange;
  readonly #runs = new Map<string, Map<Bucket, Spent>>();

  constructor(window: HourRange) {
    this.#window = window;
  }

  /** Counts the claimed time of the asset's runs and returns the observer of their costs; null without runs. */
  watch(book: AssetBook, base_us: bigint): Observer | null {
    const claims = Map.groupBy(book.claims, (claim) => claim.record.tenant.fields['run']);
    const timelines = new Map<string, Segment[]>();
    for (const [run, held] of claims) {
      if (run === undefined) continue;
      const records = book.buckets.filter((record) => record.run === run);
      const timeline = bucketTimeline(
        records.map((record) => ({ ...relative(record, base_us), bucket: record.bucket })),
      );
      timelines.set(run, timeline);
      const life = relative({ from_us: book.asset.from_us, to_us: book.to_us }, base_us);
      const claimed = union(
        held.map(({ record }) => clipped(clipped(relative(record, base_us), life), this.#seen(base_us))),
      );
      for (const stretch of claimed)
        for (const part of within(timeline, stretch))
          this.#spent(run, part.bucket).time_us += BigInt(part.to - part.from);
    }
    if (timelines.size === 0) return null;
    const divisor = book.asset.gpus === 0n ? 1n : book.asset.gpus;
    return ({ cell, from, to, piece }) => {
      const run = piece.tenant?.fields['run'];
      if (run === undefined || cell.hour < this.#window.from || cell.hour >= this.#window.to) return;
      for (const part of within(timelines.get(run) ?? [], { from, to })) {
        const { costs } = this.#spent(run, part.bucket);
        const scale = piece.scale * divisor;
        const cost = cell.nano_usd_per_hour * BigInt(part.to - part.from) * piece.weight;
        costs.set(scale, (costs.get(scale) ?? 0n) + cost);
      }
    };
  }

  #seen(base_us: bigint): { from: number; to: number } {
    const base = Number(base_us / HOUR_US_BIG);
    return { from: (this.#window.from - base) * HOUR_US, to: (this.#window.to - base) * HOUR_US };
  }

  #spent(run: string, bucket: Bucket): Spent {
    let buckets = this.#runs.get(run);
    if (buckets === undefined) this.#runs.set(run, (buckets = new Map()));
    let spent = buckets.get(bucket);
    if (spent === undefined) buckets.set(bucket, (spent = { costs: new Map(), time_us: 0n }));
    return spent;
  }

  /** Splits what each run's asset rows add up to by exact cost, so that the buckets of a run sum to its bill. */
  settle(rows: readonly HourRow[]): Badput[] {
    const billed = new Map<string, bigint>();
    for (const row of rows) {
      const run = row.tenant?.fields['run'];
      if (run !== undefined && row.source === 'asset' && row.category === 'tenant' && !row.correction)
        billed.set(run, (billed.get(run) ?? 0n) + row.nano_usd);
    }
    return [...this.#runs]
      .sort(([a], [b]) => byBytes(a, b))
      .flatMap(([run, buckets]) => shareOut(run, buckets, billed.get(run) ?? 0n));
  }
}

function shareOut(run: string, buckets: ReadonlyMap<Bucket, Spent>, billed: bigint): Badput[] {
  const entries = [...buckets].sort(([a], [b]) => byBytes(a, b));
  const exact = entries.map(([, spent]) =>
    sumFractions([...spent.costs].map(([denominator, numerator]) => ({ numerator, denominator }))),
  );
  const common = exact.reduce((product, { denominator }) => product * denominator, 1n);
  const parts = entries.map(([key], index) => {
    const cost = exact[index];
    return { key, weight: cost === undefined ? 0n : (cost.numerator * common) / cost.denominator };
  });
  const costsAnything = parts.some((part) => part.weight > 0n);
  const amounts = costsAnything ? splitByWeight(billed, parts, byBytes) : [];
  return entries
    .map(([bucket, spent], index) => ({
      run,
      bucket,
      nano_usd: amounts[index] ?? 0n,
      seconds: Number(spent.time_us) / 1e6,
    }))
    .filter((row) => row.nano_usd !== 0n || row.seconds !== 0);
}

type Stretch = { readonly from: number; readonly to: number };

function relative(interval: { from_us: bigint; to_us: bigint }, base_us: bigint): Stretch {
  return { from: Number(interval.from_us - base_us), to: Number(interval.to_us - base_us) };
}

function clipped(stretch: Stretch, limits: Stretch): Stretch {
  return { from: Math.max(stretch.from, limits.from), to: Math.min(stretch.to, limits.to) };
}

/** The union of stretches as disjoint ascending ones; empty ones are dropped. */
function union(stretches: readonly Stretch[]): Stretch[] {
  const merged: { from: number; to: number }[] = [];
  for (const stretch of stretches.filter(({ from, to }) => from < to).sort((a, b) => a.from - b.from)) {
    const last = merged.at(-1);
    if (last !== undefined && stretch.from <= last.to) last.to = Math.max(last.to, stretch.to);
    else merged.push({ ...stretch });
  }
  return merged;
}

/** Disjoint ascending segments: where buckets overlap, the first in the order of BUCKETS. */
function bucketTimeline(buckets: readonly Segment[]): Segment[] {
  const events = buckets
    .filter(({ from, to }) => from < to)
    .flatMap(({ from, to, bucket }) => [
      { at: from, bucket, change: 1 },
      { at: to, bucket, change: -1 },
    ])
    .sort((a, b) => a.at - b.at);
  const active = new Map<Bucket, number>();
  const timeline: Segment[] = [];
  let since = 0;
  for (const { at, bucket, change } of events) {
    const first = BUCKETS.find((name) => (active.get(name) ?? 0) > 0);
    if (at > since && first !== undefined) timeline.push({ from: since, to: at, bucket: first });
    since = at;
    active.set(bucket, (active.get(bucket) ?? 0) + change);
  }
  return timeline;
}

/** A stretch cut along a timeline; what the timeline leaves open is productive. */
function within(timeline: readonly Segment[], stretch: Stretch): Segment[] {
  const parts: Segment[] = [];
  let from = stretch.from;
  for (let index = firstAfter(timeline, stretch.from); index < timeline.length; index++) {
    const segment = timeline[index];
    if (segment === undefined || segment.from >= stretch.to) break;
    if (segment.from > from) parts.push({ from, to: segment.from, bucket: 'productive' });
    const begin = Math.max(from, segment.from);
    const end = Math.min(stretch.to, segment.to);
    parts.push({ from: begin, to: end, bucket: segment.bucket });
    from = end;
  }
  if (from < stretch.to) parts.push({ from, to: stretch.to, bucket: 'productive' });
  return parts;
}

function firstAfter(timeline: readonly Segment[], at: number): number {
  let low = 0;
  let high = timeline.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((timeline[middle]?.to ?? 0) > at) high = middle;
    else low = middle + 1;
  }
  return low;
}
