/**
 * A set of integers kept as disjoint closed ranges in rising order: a sender that counts without gaps costs one range
 * however long it lives. When `ranges_max` is passed the lowest range is forgotten; a repeat from there is stored
 * again and absorbed by the primary key.
 */
export class RangeSet {
  readonly #ranges_max: number;
  #ranges: { from: number; to: number }[] = [];
  #count = 0;
  #min = 0;

  constructor(ranges_max = 10_000) {
    this.#ranges_max = ranges_max;
  }

  /** How many integers were added that were not held; what was forgotten stays counted. */
  get count(): number {
    return this.#count;
  }

  /** The smallest and the largest integer ever added; 0 when there was none. */
  get min(): number {
    return this.#min;
  }

  get max(): number {
    return this.#ranges.at(-1)?.to ?? 0;
  }

  get ranges(): readonly { readonly from: number; readonly to: number }[] {
    return this.#ranges;
  }

  /** What is not held between the ranges that are: closed ranges, rising. O(ranges). */
  get gaps(): readonly (readonly [from: number, to: number])[] {
    return this.#ranges.slice(1).map(({ from }, index) => [(this.#ranges[index]?.to ?? from) + 1, from - 1] as const);
  }

  /** Another set that holds the same. O(ranges). */
  copy(): RangeSet {
    const other = new RangeSet(this.#ranges_max);
    other.#ranges = this.#ranges.map((range) => ({ ...range }));
    other.#count = this.#count;
    other.#min = this.#min;
    return other;
  }

  has(value: number): boolean {
    const range = this.#ranges[this.#firstEndingAtOrAfter(value)];
    return range !== undefined && range.from <= value;
  }

  /** Adds the closed range [from, to], joining neighbours. O(log ranges) at the end, O(ranges) inside. */
  add(from: number, to = from): void {
    const start = this.#firstEndingAtOrAfter(from - 1);
    let end = start;
    let low = from;
    let high = to;
    let fresh = to - from + 1;
    for (let range = this.#ranges[end]; range !== undefined && range.from <= to + 1; range = this.#ranges[end]) {
      low = Math.min(low, range.from);
      high = Math.max(high, range.to);
      fresh -= Math.max(0, Math.min(to, range.to) - Math.max(from, range.from) + 1);
      end++;
    }
    this.#min = this.#count === 0 ? from : Math.min(this.#min, from);
    this.#count += fresh;
    this.#ranges.splice(start, end - start, { from: low, to: high });
    if (this.#ranges.length > this.#ranges_max) this.#ranges.shift();
  }

  #firstEndingAtOrAfter(value: number): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle];
      if (range !== undefined && range.to < value) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
