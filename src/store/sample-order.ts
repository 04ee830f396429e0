import { sampleBlocks } from '../formats/sample-frame.ts';

/** Series whose newest time is remembered: 20 bytes each at half load, 160 MB at most. */
const SERIES_MAX = 4_000_000;
const CAPACITY_MIN = 1 << 14;

/**
 * Which samples of a file may be stored already. A sample later than every earlier one of its series is new, and nearly
 * all are; only series with others need to be looked up. Open addressing over the 64-bit id, one newest time each.
 */
export class SampleOrder {
  #low = new Uint32Array(CAPACITY_MIN);
  #high = new Uint32Array(CAPACITY_MIN);
  #newest = new Float64Array(CAPACITY_MIN).fill(Number.NaN);
  #size = 0;

  /**
   * Ids of the series in `bytes` (a file of sample blocks) that may hold samples of the store, each once; null when that
   * cannot be told: ask for all. Remembers the newest times either way, so a file that is read again is unsure.
   */
  unsure(bytes: Buffer): bigint[] | null {
    const blocks = sampleBlocks(bytes);
    if (blocks === null) return null;
    const unsure = new Set<bigint>();
    for (const { rows, ids, times } of blocks) {
      for (let row = 0; row < rows; row++) {
        const low = bytes.readUInt32LE(ids + row * 8);
        const high = bytes.readUInt32LE(ids + row * 8 + 4);
        const at_ms = bytes.readUInt32LE(times + row * 8) + bytes.readInt32LE(times + row * 8 + 4) * 4_294_967_296;
        if (!this.#advance(low, high, at_ms)) unsure.add((BigInt(high) << 32n) | BigInt(low));
      }
    }
    return [...unsure];
  }

  /** True when `at_ms` is later than all before of a series that is known. */
  #advance(low: number, high: number, at_ms: number): boolean {
    const mask = this.#newest.length - 1;
    let slot = (low ^ Math.imul(high, 0x9e3779b1)) & mask;
    for (;;) {
      const newest = this.#newest[slot] ?? Number.NaN;
      if (Number.isNaN(newest)) break;
      if (this.#low[slot] === low && this.#high[slot] === high) {
        if (at_ms <= newest) return false;
        this.#newest[slot] = at_ms;
        return true;
      }
      slot = (slot + 1) & mask;
    }
    if (this.#size >= SERIES_MAX) this.#clear();
    else if (this.#size * 2 >= this.#newest.length) this.#grow();
    this.#put(low, high, at_ms);
    return false;
  }

  #put(low: number, high: number, at_ms: number): void {
    const mask = this.#newest.length - 1;
    let slot = (low ^ Math.imul(high, 0x9e3779b1)) & mask;
    while (!Number.isNaN(this.#newest[slot] ?? Number.NaN)) slot = (slot + 1) & mask;
    this.#low[slot] = low;
    this.#high[slot] = high;
    this.#newest[slot] = at_ms;
    this.#size++;
  }

  #grow(): void {
    const [low, high, newest] = [this.#low, this.#high, this.#newest];
    this.#low = new Uint32Array(newest.length * 2);
    this.#high = new Uint32Array(newest.length * 2);
    this.#newest = new Float64Array(newest.length * 2).fill(Number.NaN);
    this.#size = 0;
    for (const [slot, at_ms] of newest.entries())
      if (!Number.isNaN(at_ms)) this.#put(low[slot] ?? 0, high[slot] ?? 0, at_ms);
  }

  /** Forgets everything: the next sample of each series is unsure once. */
  #clear(): void {
    this.#newest.fill(Number.NaN);
    this.#size = 0;
  }
}
