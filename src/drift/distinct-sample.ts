/**
 * A bounded sample of the distinct values of a stream, with how often each came: the values whose hash is smallest.
 * A kept value was kept from its first appearance on, so its count is exact; up to `distinct_max` distinct values the
 * whole distribution is. Which values are kept depends on the values alone: order and division of the stream do not
 * matter, and samples of parts merge into the sample of the whole.
 * Source: Gibbons 2001, Distinct sampling; Beyer et al. 2007, KMV synopses. Amortised O(1) a value.
 */
export class DistinctSample<Value extends number | string> {
  readonly #distinct_max: number;
  readonly #counts = new Map<Value, number>();
  #threshold = Infinity;

  constructor(distinct_max: number) {
    this.#distinct_max = distinct_max;
  }

  /** True while every distinct value is held. */
  get complete(): boolean {
    return this.#threshold === Infinity;
  }

  add(value: Value, count = 1): void {
    // most values of a long stream end here, without the look-up
    if (this.#threshold !== Infinity && hashOf(value) > this.#threshold) return;
    const held = this.#counts.get(value);
    if (held !== undefined) {
      this.#counts.set(value, held + count);
      return;
    }
    this.#counts.set(detached(value), count);
    if (this.#counts.size > 2 * this.#distinct_max) this.#prune();
  }

  /** Kept values and their counts, in no particular order. */
  entries(): [Value, number][] {
    if (this.#counts.size > this.#distinct_max) this.#prune();
    return [...this.#counts];
  }

  #prune(): void {
    const hashes = Array.from(this.#counts.keys(), hashOf).sort((a, b) => a - b);
    this.#threshold = hashes[this.#distinct_max - 1] ?? Infinity;
    for (const value of this.#counts.keys()) if (hashOf(value) > this.#threshold) this.#counts.delete(value);
  }
}

/** A text of its own: a slice of a chunk that was read would keep the whole chunk in memory. */
function detached<Value extends number | string>(value: Value): Value {
  return typeof value === 'string' && value.length > 12 ? (` ${value}`.slice(1) as Value) : value; // same text, same type
}

const float = new Float64Array(1);
const words = new Uint32Array(float.buffer);

/** 32-bit hash: FNV-1a over a text's UTF-16 units or a number's two words, then murmur3's finalizer. */
function hashOf(value: number | string): number {
  let hash = 0x811c9dc5;
  if (typeof value === 'number') {
    float[0] = value;
    hash = Math.imul(hash ^ (words[0] ?? 0), 0x01000193);
    hash = Math.imul(mixed(hash) ^ (words[1] ?? 0), 0x01000193);
  } else for (let at = 0; at < value.length; at++) hash = Math.imul(hash ^ value.charCodeAt(at), 0x01000193);
  return mixed(hash) >>> 0;
}

function mixed(hash: number): number {
  let h = hash ^ (hash >>> 16);
  h = Math.imul(h, 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return h ^ (h >>> 16);
}
