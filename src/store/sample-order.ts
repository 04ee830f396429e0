import { sampleBlocks, SampleWords } from '../formats/sample-frame.ts';
import type { TimeSpan } from './sample-times.ts';

/** Series whose newest time is remembered: 24 bytes each, 100 MB at most. */
const SERIES_MAX = 4_000_000;
const CAPACITY_MIN = 1 << 14;
const TWO_32 = 4_294_967_296;

/** A file of samples, looked through once. */
export type SampleLook = {
  readonly rows: number;
  /** Series that may hold samples of the store, each once. */
  readonly unsure: readonly bigint[];
  /** Those among them of which no more is known than the horizon: what the store holds of them can be `learn`ed. */
  readonly unlearned: readonly bigint[];
  readonly span: TimeSpan;
};

/** What was seen so far of a file. */
type Seen = { readonly unsure: Map<number, bigint>; from_ms: number; to_ms: number };

/**
 * Which samples of a file may be stored already. A sample later than every earlier one of its series is new, and nearly
 * all are; only series with others need to be looked up. Of a series that was not seen yet the store may hold anything up
 * to the horizon, the newest time of all that it held when this began: one sender with a clock far ahead would make every
 * series unsure for as long, so what the store holds of those that were looked up is learned. Series are numbered as they
 * come, and the one that came after a series last time is tried first: most rows touch memory in order and are never
 * hashed. Rows cost about 10 ns.
 */
export class SampleOrder {
  readonly #words = new SampleWords();
  /** Open addressing over the id: the series' number + 1, 0 where the slot is free. At most half full. */
  #slots = new Int32Array(CAPACITY_MIN * 2);
  #low = new Int32Array(CAPACITY_MIN);
  #high = new Int32Array(CAPACITY_MIN);
  #newest = new Float64Array(CAPACITY_MIN);
  #count = 0;
  #guess = 0;
  readonly #series_max: number;
  #horizon_ms: number;
  #latest_ms = -Infinity;

  /** `horizon_ms`: the newest time of all samples that the store holds, Unix ms; -Infinity where it holds none. */
  constructor(horizon_ms: number, series_max: number = SERIES_MAX) {
    this.#horizon_ms = horizon_ms;
    this.#series_max = series_max;
  }

  /** Remembers the newest times, so that a file that is read again is unsure. Null for what is no file of samples. */
  look(bytes: Buffer): SampleLook | null {
    const blocks = sampleBlocks(bytes);
    if (blocks === null) return null;
    const seen: Seen = { unsure: new Map(), from_ms: Infinity, to_ms: -Infinity };
    let rows = 0;
    for (const block of blocks) {
      const { ids, times } = this.#words.read(bytes, block);
      this.#lookAt(ids, times, seen);
      rows += block.rows;
    }
    const { unsure, from_ms, to_ms } = seen;
    const unlearned: bigint[] = [];
    for (const [series, id] of unsure) if (this.#newest[series] === this.#horizon_ms) unlearned.push(id);
    this.#latest_ms = Math.max(this.#latest_ms, to_ms);
    if (this.#count > this.#series_max) this.#forget();
    return { rows, unsure: [...unsure.values()], unlearned, span: { from_ms, to_ms } };
  }

  /** Told of series what the store holds: the newest time of each, Unix ms, with all samples that were looked at stored. */
  learn(newest: ReadonlyMap<bigint, number>): void {
    for (const [id, newest_ms] of newest) {
      const series = this.#find(Number(BigInt.asIntN(32, id)), Number(BigInt.asIntN(32, id >> 32n)));
      if (series !== -1) this.#newest[series] = newest_ms;
    }
  }

  /** One block. A function of its own: called often, it is compiled after the first files and not after the first minutes. */
  #lookAt(ids: Int32Array, times: Int32Array, seen: Seen): void {
    let { from_ms, to_ms } = seen;
    for (let word = 0; word < ids.length; word += 2) {
      const low = ids[word] as number; // word + 1 < the length of both, which is even
      const high = ids[word + 1] as number; // as above
      const at_ms = ((times[word] as number) >>> 0) + (times[word + 1] as number) * TWO_32; // as above
      if (at_ms < from_ms) from_ms = at_ms;
      if (at_ms > to_ms) to_ms = at_ms;
      const found = this.#find(low, high);
      const series = found === -1 ? this.#add(low, high) : found;
      if (at_ms > (this.#newest[series] as number))
        this.#newest[series] = at_ms; // series < count
      else seen.unsure.set(series, idOf(low, high));
    }
    seen.from_ms = from_ms;
    seen.to_ms = to_ms;
  }

  #find(low: number, high: number): number {
    const guess = this.#guess < this.#count ? this.#guess : 0;
    if (this.#low[guess] === low && this.#high[guess] === high && guess < this.#count) {
      this.#guess = guess + 1;
      return guess;
    }
    const mask = this.#slots.length - 1;
    for (let slot = slotOf(low, high) & mask; ; slot = (slot + 1) & mask) {
      const series = (this.#slots[slot] as number) - 1; // slot <= mask
      if (series === -1) return -1;
      if (this.#low[series] !== low || this.#high[series] !== high) continue;
      this.#guess = series + 1;
      return series;
    }
  }

  #add(low: number, high: number): number {
    if (this.#count === this.#low.length) this.#grow();
    const series = this.#count++;
    this.#low[series] = low;
    this.#high[series] = high;
    this.#newest[series] = this.#horizon_ms;
    this.#guess = series + 1;
    this.#enter(series);
    return series;
  }

  #enter(series: number): void {
    const mask = this.#slots.length - 1;
    let slot = slotOf(this.#low[series] as number, this.#high[series] as number) & mask; // series < count
    while (this.#slots[slot] !== 0) slot = (slot + 1) & mask;
    this.#slots[slot] = series + 1;
  }

  #grow(): void {
    const capacity = this.#low.length * 2;
    const grown = <Column extends Int32Array | Float64Array>(wider: Column, column: Column): Column => {
      wider.set(column);
      return wider;
    };
    this.#low = grown(new Int32Array(capacity), this.#low);
    this.#high = grown(new Int32Array(capacity), this.#high);
    this.#newest = grown(new Float64Array(capacity), this.#newest);
    this.#slots = new Int32Array(capacity * 2);
    for (let series = 0; series < this.#count; series++) this.#enter(series);
  }

  /** What was seen is now like what the store held at the beginning. */
  #forget(): void {
    this.#horizon_ms = Math.max(this.#horizon_ms, this.#latest_ms);
    this.#slots = new Int32Array(CAPACITY_MIN * 2);
    this.#low = new Int32Array(CAPACITY_MIN);
    this.#high = new Int32Array(CAPACITY_MIN);
    this.#newest = new Float64Array(CAPACITY_MIN);
    this.#count = 0;
    this.#guess = 0;
  }
}

function slotOf(low: number, high: number): number {
  return low ^ Math.imul(high, 0x9e3779b1);
}

function idOf(low: number, high: number): bigint {
  return (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
}
