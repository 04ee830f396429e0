import type { GpuRow, HostRow, NicRow } from './records.ts';
import { THROTTLE } from './records.ts';
import { mean, median } from './robust.ts';
import type { Cause, DetectorState, GpuBucket, HostBucket, NicBucket, Topology } from './state.ts';

/** Telemetry is kept in buckets of 10 s, the last half hour of them. */
const BUCKET_MS = 10_000;
const BUCKETS_MAX = 180;
/** GPUs whose telemetry is kept: 65,536 × 180 buckets would be too much, so the map itself is capped. */
const SERIES_MAX = 16_384;
/** Peers that a suspect is compared with; more add nothing to a median. */
const PEERS_MAX = 64;
/** A condition counts when it held in half of the window's buckets and in fewer than half as many of the peers'. */
const SHARE_MIN = 0.5;
const CPU_BUSY_RATIO = 0.95;
const CLOCK_DROP_RATIO = 0.97;
const HOT_C = 85;
const HOTTER_C = 8;

/** Adds a GPU sample. Buckets keep extremes and unions, so that duplicates and order change nothing. */
export function addGpu(state: DetectorState, row: GpuRow): void {
  const buckets = ringOf(state.gpus, `${row.node}/${row.gpu}`);
  if (buckets === null) return;
  const bucket = Math.floor(row.at_ms / BUCKET_MS);
  let held = buckets.at(-1);
  if (held === undefined || held.bucket !== bucket) {
    held = {
      bucket,
      temperature_c: null,
      clock_ratio: null,
      throttle: 0,
      ecc_count: null,
      nvlink_error_count: null,
      pcie_width: null,
    };
    pushRing(buckets, held);
  }
  held.temperature_c = largest(held.temperature_c, row.temperature_c);
  held.clock_ratio = largest(held.clock_ratio, row.clock_ratio);
  held.throttle |= row.throttle;
  held.ecc_count = largest(held.ecc_count, row.ecc_count);
  held.nvlink_error_count = largest(held.nvlink_error_count, row.nvlink_error_count);
  held.pcie_width = largest(held.pcie_width, row.pcie_width);
}

/** Adds a host sample: the busiest moment of each bucket. */
export function addHost(state: DetectorState, row: HostRow): void {
  if (row.cpu_ratio === null) return;
  const buckets = ringOf(state.hosts, row.node);
  if (buckets === null) return;
  const bucket = Math.floor(row.at_ms / BUCKET_MS);
  const held = buckets.at(-1);
  const cpu_ratio = held?.bucket === bucket ? Math.max(held.cpu_ratio, row.cpu_ratio) : row.cpu_ratio;
  if (held?.bucket === bucket) buckets.pop();
  pushRing(buckets, { bucket, cpu_ratio });
}

/** Adds a network card's sample: the highest count of each bucket. */
export function addNic(state: DetectorState, row: NicRow): void {
  if (row.trouble_count === null) return;
  const buckets = ringOf(state.nics, `${row.node}/${row.device}`);
  if (buckets === null) return;
  const bucket = Math.floor(row.at_ms / BUCKET_MS);
  const held = buckets.at(-1);
  const trouble_count = held?.bucket === bucket ? Math.max(held.trouble_count, row.trouble_count) : row.trouble_count;
  if (held?.bucket === bucket) buckets.pop();
  pushRing(buckets, { bucket, trouble_count });
}

/** How much the trouble counters of each node rose in the window; nodes without a card are absent. */
export function networkTrouble(state: DetectorState, window: Window): Map<string, number> {
  const rises = new Map<string, number>();
  for (const [key, ring] of state.nics) {
    const counts = within<NicBucket>(ring, window).map((item) => item.trouble_count);
    const first = counts[0];
    const last = counts.at(-1);
    if (first === undefined || last === undefined) continue;
    const node = key.slice(0, key.lastIndexOf('/'));
    rises.set(node, (rises.get(node) ?? 0) + Math.max(0, last - first));
  }
  return rises;
}

function ringOf<Bucket>(rings: Map<string, Bucket[]>, key: string): Bucket[] | null {
  const known = rings.get(key);
  if (known !== undefined) return known;
  if (rings.size >= SERIES_MAX) return null;
  const ring: Bucket[] = [];
  rings.set(key, ring);
  return ring;
}

function pushRing<Bucket>(ring: Bucket[], bucket: Bucket): void {
  ring.push(bucket);
  if (ring.length > BUCKETS_MAX) ring.shift();
}

function largest(a: number | null, b: number | null): number | null {
  return a === null ? b : b === null ? a : Math.max(a, b);
}

type Window = { readonly from_ms: number; readonly to_ms: number };

/**
 * Why the given ranks are slow, as far as telemetry says so: what holds for them in most of the window and not for
 * the job's other GPUs. `unknown` when nothing sets them apart.
 */
export function causeOf(
  state: DetectorState,
  topology: Topology | null,
  ranks: readonly number[],
  window: Window,
): Cause {
  if (topology === null) return 'unknown';
  const suspects = new Set(ranks);
  const mine: GpuBucket[][] = [];
  const others: GpuBucket[][] = [];
  for (const place of topology.places.values()) {
    const list = suspects.has(place.rank) ? mine : others;
    if (list.length < PEERS_MAX) list.push(within(state.gpus.get(`${place.node}/${place.gpu}`) ?? [], window));
  }
  return gpuCause(mine.flat(), others.flat(), mine) ?? hostCause(state, topology, suspects, window) ?? 'unknown';
}

function within<Bucket extends { readonly bucket: number }>(buckets: readonly Bucket[], window: Window): Bucket[] {
  const from = Math.floor(window.from_ms / BUCKET_MS);
  const to = Math.floor(window.to_ms / BUCKET_MS);
  return buckets.filter((item) => item.bucket >= from && item.bucket <= to);
}

function gpuCause(
  mine: readonly GpuBucket[],
  others: readonly GpuBucket[],
  bySeries: readonly GpuBucket[][],
): Cause | null {
  if (mine.length === 0) return null;
  const stands = (holds: (bucket: GpuBucket) => boolean): boolean => {
    const share = mine.filter(holds).length / mine.length;
    const usual = others.length === 0 ? 0 : others.filter(holds).length / others.length;
    return share >= SHARE_MIN && usual < share / 2;
  };
  const thermal = THROTTLE.hw_thermal | THROTTLE.sw_thermal | THROTTLE.hw_slowdown;
  if (stands((bucket) => (bucket.throttle & thermal) !== 0)) return 'thermal';
  if (stands((bucket) => (bucket.throttle & (THROTTLE.sw_power_cap | THROTTLE.power_brake)) !== 0)) return 'power';
  if (grows(bySeries, (bucket) => bucket.nvlink_error_count)) return 'interconnect';
  if (grows(bySeries, (bucket) => bucket.ecc_count)) return 'hardware';
  const clock = levels(others, (bucket) => bucket.clock_ratio);
  const temperature = levels(others, (bucket) => bucket.temperature_c);
  const slow = (bucket: GpuBucket): boolean =>
    clock !== null && (bucket.clock_ratio ?? clock) < clock * CLOCK_DROP_RATIO;
  const hot = (bucket: GpuBucket): boolean =>
    temperature !== null && (bucket.temperature_c ?? 0) >= Math.max(HOT_C, temperature + HOTTER_C);
  if (stands((bucket) => slow(bucket) && hot(bucket))) return 'thermal';
  const width = levels(others, (bucket) => bucket.pcie_width);
  if (stands((bucket) => slow(bucket) || (width !== null && (bucket.pcie_width ?? width) < width))) return 'hardware';
  return null;
}

function levels(buckets: readonly GpuBucket[], read: (bucket: GpuBucket) => number | null): number | null {
  return median(buckets.flatMap((bucket) => read(bucket) ?? []));
}

/** Whether a cumulative counter rose within the window on at least half of the suspects. */
function grows(series: readonly GpuBucket[][], read: (bucket: GpuBucket) => number | null): boolean {
  const rose = series.filter((buckets) => {
    const values = buckets.flatMap((bucket) => read(bucket) ?? []);
    const first = values[0];
    const last = values.at(-1);
    return first !== undefined && last !== undefined && last > first;
  });
  return series.length > 0 && rose.length / series.length >= SHARE_MIN;
}

function hostCause(
  state: DetectorState,
  topology: Topology,
  suspects: ReadonlySet<number>,
  window: Window,
): Cause | null {
  const mine = new Set<string>();
  const others = new Set<string>();
  for (const place of topology.places.values()) (suspects.has(place.rank) ? mine : others).add(place.node);
  const busy = (nodes: Iterable<string>): number | null => {
    const buckets = [...nodes].flatMap((node): HostBucket[] => within(state.hosts.get(node) ?? [], window));
    return mean(buckets.map((bucket) => (bucket.cpu_ratio >= CPU_BUSY_RATIO ? 1 : 0)));
  };
  for (const node of mine) others.delete(node);
  const share = busy(mine) ?? 0;
  return share >= SHARE_MIN && (busy(others) ?? 0) < share / 2 ? 'host' : null;
}
