import { canonicalJson } from '../core/canonical.ts';
import { binOf, quantileEdges } from './edges.ts';

/** Values of a row by feature name. null, NaN and absent are missing. */
export type FeatureRow = Readonly<Record<string, number | string | boolean | null | undefined>>;

/** How a feature's values become bins. Frozen with the reference; two windows compare only under the same binning. */
export type Binning =
  /** edges.length + 1 bins: below the first edge, [edge, next edge), at or above the last. */
  | { readonly kind: 'numeric'; readonly edges: readonly number[] }
  /** categories.length + 1 bins: one a category, the last for everything else. */
  | { readonly kind: 'categorical'; readonly categories: readonly string[] };

/** Counts of one feature: `counts` by bin; n = sum of counts + missing. */
export type FeatureCounts = { readonly counts: readonly number[]; readonly missing: number; readonly n: number };

export type ReferenceFeature = FeatureCounts & { readonly binning: Binning };

/** The frozen reference of a model version. Plain JSON: store it as it is. */
export type Reference = {
  readonly version: 1;
  /** Names the set of edges; counts made elsewhere carry it and are compared only when it is equal. */
  readonly edges_id: string;
  readonly n: number;
  readonly features: Readonly<Record<string, ReferenceFeature>>;
  /** Correct and labelled predictions behind the reference accuracy, when labels were there. */
  readonly accuracy?: { readonly correct: number; readonly labelled: number };
};

/** A window's counts against a reference's edges. */
export type WindowCounts = {
  readonly from_ms: number;
  readonly to_ms: number;
  readonly features: Readonly<Record<string, FeatureCounts>>;
};

/** Bins of a numeric feature: 64 cells keep the loss of the Kolmogorov–Smirnov distance below 0.005 at 20,000 rows. */
export const BINS_MAX = 64;
/**
 * Rows that a category needs for a bin of its own: five, and a hundredth of the reference, so at most 100 bins. Rarer
 * ones share the last bin with what comes unseen. Without this, a feature of many rare categories would look drifted
 * always: its bins would be the categories that the reference happened to see.
 */
function categoryRowsMin(rows: number): number {
  return Math.max(5, Math.ceil(rows / 100));
}

/** Features of one reference. 2,000 features × 64 bins is 1 MB of JSON. */
export const FEATURES_MAX = 2_000;

export type FreezeOptions = {
  /** Default: a hash of the binnings, so that equal edges have equal names. */
  readonly edges_id?: string;
  readonly bins_max?: number;
  readonly accuracy?: { readonly correct: number; readonly labelled: number };
};

/**
 * Freezes a reference from rows: infers each feature's kind (numeric when every present value is a number), chooses
 * bins, counts. Features beyond FEATURES_MAX (by name) are left out. O(rows × features); sorts each feature once.
 */
export function freezeReference(rows: readonly FeatureRow[], options: FreezeOptions = {}): Reference {
  const names = new Set<string>();
  for (const row of rows) for (const name of Object.keys(row)) names.add(name);
  const kept = [...names].sort().slice(0, FEATURES_MAX);
  const features = Object.fromEntries(
    kept.map((name): [string, ReferenceFeature] => {
      const values = rows.map((row) => present(row[name]));
      const binning = chooseBinning(values, options.bins_max ?? BINS_MAX);
      return [name, { binning, ...countValues(binning, values) }];
    }),
  );
  return referenceOf(rows.length, features, options);
}

/**
 * Freezes a reference from counts that were made elsewhere against known binnings (the edge, the store). Features
 * whose number of counts does not fit their binning are left out.
 */
export function freezeReferenceFromCounts(
  binnings: Readonly<Record<string, Binning>>,
  counts: Readonly<Record<string, FeatureCounts>>,
  options: FreezeOptions = {},
): Reference {
  const features: Record<string, ReferenceFeature> = {};
  let n = 0;
  for (const name of Object.keys(binnings).sort().slice(0, FEATURES_MAX)) {
    const binning = binnings[name];
    const feature = counts[name];
    if (binning === undefined || feature === undefined || feature.counts.length !== binsOf(binning)) continue;
    features[name] = { binning, ...feature };
    n = Math.max(n, feature.n);
  }
  return referenceOf(n, features, options);
}

function referenceOf(n: number, features: Reference['features'], options: FreezeOptions): Reference {
  const accuracy = options.accuracy === undefined ? {} : { accuracy: options.accuracy };
  return { version: 1, edges_id: options.edges_id ?? edgesIdOf(features), n, features, ...accuracy };
}

/** FNV-1a (64 bits) of the binnings' canonical JSON, in hexadecimal. */
function edgesIdOf(features: Reference['features']): string {
  const binnings = Object.entries(features).map(([name, feature]) => [name, feature.binning]);
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(canonicalJson(binnings)))
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}

/** Number of bins of a binning. */
export function binsOf(binning: Binning): number {
  return (binning.kind === 'numeric' ? binning.edges.length : binning.categories.length) + 1;
}

type Present = number | string | boolean | null;

function present(value: unknown): Present {
  if (typeof value === 'number') return Number.isNaN(value) ? null : value;
  return typeof value === 'string' || typeof value === 'boolean' ? value : null;
}

function chooseBinning(values: readonly Present[], bins_max: number): Binning {
  const tally = new Map<string | number | boolean, number>();
  let numeric = true;
  for (const value of values) {
    if (value === null) continue;
    if (typeof value !== 'number') numeric = false;
    tally.set(value, (tally.get(value) ?? 0) + 1);
  }
  if (numeric) {
    const seen = [...tally].flatMap(([value, count]) =>
      typeof value === 'number' && Number.isFinite(value) ? [{ value, count }] : [],
    );
    return {
      kind: 'numeric',
      edges: quantileEdges(
        seen.sort((a, b) => a.value - b.value),
        bins_max,
      ),
    };
  }
  const common = [...tally].sort((a, b) => b[1] - a[1] || (String(a[0]) < String(b[0]) ? -1 : 1));
  const kept = common.filter(([, count]) => count >= categoryRowsMin(values.length));
  return { kind: 'categorical', categories: kept.map(([value]) => String(value)) };
}

function countValues(binning: Binning, values: readonly Present[]): FeatureCounts {
  const counter = new BinCounter(binning);
  for (const value of values) counter.add(value);
  return counter.counts();
}

/** Counts one feature's values against its binning. Constant memory. */
export class BinCounter {
  readonly #binning: Binning;
  readonly #counts: number[];
  readonly #categories: ReadonlyMap<string, number>;
  #missing = 0;
  #n = 0;

  constructor(binning: Binning) {
    this.#binning = binning;
    this.#counts = Array.from({ length: binsOf(binning) }, () => 0);
    this.#categories = new Map(binning.kind === 'categorical' ? binning.categories.map((name, i) => [name, i]) : []);
  }

  /** Counts one value. null, undefined, NaN, and text where the reference has numbers, count as missing. */
  add(value: unknown): void {
    this.#n += 1;
    const bin = this.#bin(present(value));
    if (bin === null) this.#missing += 1;
    else this.#counts[bin] = (this.#counts[bin] ?? 0) + 1;
  }

  #bin(value: Present): number | null {
    if (value === null) return null;
    if (this.#binning.kind === 'categorical')
      return this.#categories.get(String(value)) ?? this.#binning.categories.length;
    return typeof value === 'number' ? binOf(this.#binning.edges, value) : null;
  }

  counts(): FeatureCounts {
    return { counts: [...this.#counts], missing: this.#missing, n: this.#n };
  }
}
