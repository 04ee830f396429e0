import { type LabelPair, NAME_LABEL } from './series-labels.ts';

/** Metric names that are told apart; the rest is counted under one. */
const METRICS_MAX = 1_000;
const LABELS_MAX = 64;
/** Bits of the linear counter of a label's values: within 10 % up to about 2,000 values, "many" above. */
const BITS = 1_024;

/** Series refused over the cap: of which metric, and how many values each of its labels had among them (estimated). */
export type OverflowOffender = {
  readonly metric: string;
  readonly refused_count: number;
  readonly labels: readonly { readonly name: string; readonly values_count: number }[];
};

type Offender = { refused_count: number; readonly labels: Map<string, Uint8Array> };

/** Who drives a tenant over its series cap. Bounded: 1,000 metrics × 64 labels × 128 bytes = 8 MB. */
export class OverflowCount {
  readonly #offenders = new Map<string, Offender>();

  /** Counts one arrival of a series over the cap. The metric it is counted under. */
  note(labels: readonly LabelPair[]): string {
    const named = labels.find(([name]) => name === NAME_LABEL)?.[1] ?? '';
    const metric = this.#offenders.has(named) || this.#offenders.size < METRICS_MAX ? named : '__other__';
    const offender = this.#offenders.get(metric) ?? { refused_count: 0, labels: new Map<string, Uint8Array>() };
    this.#offenders.set(metric, offender);
    offender.refused_count++;
    for (const [name, value] of labels) {
      if (name === NAME_LABEL) continue;
      const bits = offender.labels.get(name) ?? new Uint8Array(BITS / 8);
      if (!offender.labels.has(name) && offender.labels.size < LABELS_MAX) offender.labels.set(name, bits);
      const bit = hashOf(value) % BITS;
      bits[bit >>> 3] = (bits[bit >>> 3] ?? 0) | (1 << (bit & 7));
    }
    return metric;
  }

  /** The `count` worst metrics, each with its labels, most values first. */
  top(count: number): OverflowOffender[] {
    return [...this.#offenders]
      .toSorted(([, a], [, b]) => b.refused_count - a.refused_count)
      .slice(0, count)
      .map(([metric, { refused_count, labels }]) => ({
        metric,
        refused_count,
        labels: [...labels]
          .map(([name, bits]) => ({ name, values_count: estimate(bits) }))
          .toSorted((a, b) => b.values_count - a.values_count),
      }));
  }
}

/** Linear counting (Whang et al. 1990): −m · ln(share of empty bits). */
function estimate(bits: Uint8Array): number {
  let empty = 0;
  for (const byte of bits) for (let bit = 0; bit < 8; bit++) empty += (byte >>> bit) & 1 ? 0 : 1;
  return Math.round(-BITS * Math.log(Math.max(empty, 1) / BITS));
}

/** FNV-1a, 32 bits, over UTF-16 units, mixed by murmur3's finaliser. */
function hashOf(text: string): number {
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index++) hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
