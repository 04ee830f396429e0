/**
 * A set of integers kept as disjoint closed ranges in rising order: a sender that counts without gaps costs one range
 * however long it lives. When `ranges_max` is passed the lowest range is forgotten; a repeat from there is stored
 * again and absorbed by the primary key.
 */
export class RangeSet {
  readonly #ranges_max: number;
  #ranges: { from: number; to: number }[] = [];

  constructor(ranges_max = 10_000) {
    this.#ranges_max = ranges_max;
  }

  get ranges(): readonly { readonly from: number; readonly to: number }[] {
    return this.#ranges;
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
    for (let range = this.#ranges[end]; range !== undefined && range.from <= to + 1; range = this.#ranges[end]) {
      low = Math.min(low, range.from);
      high = Math.max(high, range.to);
      end++;
    }
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
