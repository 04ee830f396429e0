import type { LeewayRecord, RecordOf } from '../core/records.ts';
import type { ServingField, ServingMapping } from './catalog-mapping.ts';
import type { ServingName } from './serving-name.ts';

/** What one series counted in a window; `values` as in ServingPart. */
export type PartDelta = {
  readonly mapping: ServingMapping;
  readonly group: string;
  readonly le: number | null;
  readonly failed: boolean;
  readonly values: readonly number[];
  readonly bounds: readonly number[];
};

type Histogram = RecordOf<'inference'>['total_ms'];
type Counted = { readonly bounds: readonly number[]; readonly counts: readonly number[]; readonly sum: number };

/** Nothing was observed: not a latency of 0. */
const NONE: Counted = { bounds: [], counts: [0], sum: 0 };

/**
 * The `inference` record of a window. `requests`: the server's own count where it has one, else successes and failures,
 * else the observations of its latency. A histogram that the server does not have holds no observation; one of which only
 * a sum is known has a single bucket: a mean, and no quantile.
 */
export function inferenceRecord(
  name: ServingName,
  window: { readonly at_ms: number; readonly window_ms: number },
  parts: readonly PartDelta[],
): LeewayRecord {
  const sum = (fields: readonly ServingField[], failed?: boolean): number | null => {
    const of = parts.filter(
      (part) => fields.includes(part.mapping.field) && (failed === undefined || part.failed === failed),
    );
    return of.length === 0 ? null : of.reduce((total, { values }) => total + (values[0] ?? 0), 0);
  };
  const succeeded = sum(['successes'], false);
  const failed = (sum(['failures']) ?? 0) + (sum(['successes', 'requests'], true) ?? 0);
  const field = (wanted: ServingField, only?: boolean): Counted =>
    histogramOf(
      parts.filter(({ mapping, failed: one }) => mapping.field === wanted && (only === undefined || one === only)),
      succeeded,
    );
  const [total, compute, queue] = [field('total_ms'), field('compute_ms'), field('queue_ms')];
  const observed = Math.max(countOf(total), countOf(compute));
  const counted = sum(['requests']) ?? (succeeded === null ? null : succeeded + failed);
  const executions = sum(['executions']);
  const batch =
    executions === null ? field('batch') : { bounds: [], counts: [executions], sum: sum(['inferences']) ?? executions };
  return {
    type: 'inference',
    model: name.model,
    version: name.version,
    replica: name.replica,
    ...(name.node === null ? {} : { node: name.node }),
    provider: name.provider,
    ...window,
    requests: whole(counted ?? observed),
    errors: whole(counted === null ? countOf(field('total_ms', true)) : failed),
    queue_ms: written(queue),
    compute_ms: written(compute),
    total_ms: written(total),
    ...(countOf(batch) > 0 ? { batch: written(batch) } : {}),
  };
}

function whole(count: number): number {
  return Math.max(0, Math.round(count));
}

function written({ bounds, counts, sum }: Counted): Histogram {
  return { bounds: [...bounds], counts: [...counts], sum };
}

function countOf({ counts }: Counted): number {
  return counts.reduce((sum, count) => sum + count, 0);
}

/** All histograms of a field as one; of different bounds only count and sum are left. */
function histogramOf(parts: readonly PartDelta[], successes: number | null): Counted {
  const groups = [...Map.groupBy(parts, ({ group }) => group).values()].map((group) => grouped(group, successes));
  const [first, ...others] = groups.filter((one) => one !== null);
  if (first === undefined) return NONE;
  return others.reduce(added, first);
}

function added(one: Counted, other: Counted): Counted {
  const sum = one.sum + other.sum;
  const fits = one.bounds.length === other.bounds.length && one.bounds.every((at, index) => at === other.bounds[index]);
  if (fits) return { bounds: one.bounds, counts: one.counts.map((n, index) => n + (other.counts[index] ?? 0)), sum };
  return { bounds: [], counts: [countOf(one) + countOf(other)], sum };
}

/** The parts of one histogram; null when neither counts nor buckets are among them. */
function grouped(parts: readonly PartDelta[], successes: number | null): Counted | null {
  const row = parts.find(({ mapping }) => mapping.part === 'histogram');
  if (row !== undefined) return fromRow(row);
  const sum = parts.reduce(
    (all, { mapping, values }) => all + (mapping.part === 'sum' ? scaled(mapping, values) : 0),
    0,
  );
  const buckets = parts.filter(({ le }) => le !== null).toSorted((a, b) => (a.le ?? 0) - (b.le ?? 0));
  const count = parts.find(({ mapping }) => mapping.part === 'count')?.values[0] ?? buckets.at(-1)?.values[0];
  if (count === undefined) {
    // Triton: sums of which each successful request is a part; the stages of one computation are one
    return successes === null ? null : { bounds: [], counts: [whole(successes)], sum };
  }
  const bounds: number[] = [];
  const counts: number[] = [];
  let below = 0;
  for (const { le, values, mapping } of buckets) {
    if (le === null || le === Infinity) continue;
    const within = Math.max(below, values[0] ?? 0);
    bounds.push(le * mapping.factor);
    counts.push(within - below);
    below = within;
  }
  return { bounds, counts: [...counts, Math.max(0, count - below)], sum };
}

function scaled(mapping: ServingMapping, values: readonly number[]): number {
  return (values[0] ?? 0) * mapping.factor;
}

/** `[count, sum, …buckets]`: buckets not cumulative, one more than bounds. */
function fromRow({ values, bounds, mapping }: PartDelta): Counted {
  const [count = 0, sum = 0, ...buckets] = values;
  const scaled_sum = sum * mapping.factor;
  if (buckets.length !== bounds.length + 1) return { bounds: [], counts: [whole(count)], sum: scaled_sum };
  return {
    bounds: bounds.map((bound) => bound * mapping.factor),
    counts: buckets.map((bucket) => Math.max(0, bucket)),
    sum: scaled_sum,
  };
}
