const FIRST_ENTRIES = 1_024;
const FIRST_BYTES = 65_536;
const LOAD_MAX = 0.5;

/** How large a table may grow, and the secret that keeps senders from choosing colliding keys. */
export type ByteTableLimits = { readonly entries_max: number; readonly bytes_max: number; readonly seed: number };

/**
 * A bounded set of byte strings, each under a context number, that gives every one a small index: open addressing with
 * linear probing, keys compared byte for byte. `next` remembers which entry followed which, so that a stream that
 * repeats itself is recognised with one comparison and no hash.
 */
export class ByteTable {
  count = 0;
  next = new Int32Array(FIRST_ENTRIES).fill(-1);
  lengths = new Int32Array(FIRST_ENTRIES);
  readonly #limits: ByteTableLimits;
  #starts = new Int32Array(FIRST_ENTRIES);
  #contexts = new Int32Array(FIRST_ENTRIES);
  #hashes = new Int32Array(FIRST_ENTRIES);
  #slots = new Int32Array(FIRST_ENTRIES / LOAD_MAX).fill(-1);
  #arena = new Uint8Array(FIRST_BYTES);
  #view = new DataView(this.#arena.buffer);
  #used_bytes = 0;

  constructor(limits: ByteTableLimits) {
    this.#limits = limits;
  }

  /** Whether one more key of `length` bytes fits. */
  hasRoom(length: number): boolean {
    return this.count < this.#limits.entries_max && this.#used_bytes + length <= this.#limits.bytes_max;
  }

  /** Whether the entry is the key of `length` bytes at `at` under `context`. The caller has checked at + length. */
  matches(entry: number, context: number, key: { view: DataView; at: number; length: number }): boolean {
    return (
      this.#contexts[entry] === context && this.lengths[entry] === key.length && this.startsAt(entry, key.view, key.at)
    );
  }

  /** Whether the entry has this context and its bytes are those at `at`, as many as it has. */
  foretells(entry: number, context: number, view: DataView, at: number): boolean {
    return this.#contexts[entry] === context && this.startsAt(entry, view, at);
  }

  /** Whether the entry's bytes are those at `at`, which has as many. */
  private startsAt(entry: number, view: DataView, at: number): boolean {
    const own = this.#view;
    let from = this.#starts[entry] as number; // an index that this table gave out
    const end = from + (this.lengths[entry] as number); // as above
    const shift = at - from;
    for (; from + 8 <= end; from += 8) {
      if (own.getInt32(from, true) !== view.getInt32(from + shift, true)) return false;
      if (own.getInt32(from + 4, true) !== view.getInt32(from + shift + 4, true)) return false;
    }
    for (; from < end; from++) if (own.getUint8(from) !== view.getUint8(from + shift)) return false;
    return true;
  }

  /** The index of a key, or −1. */
  find(context: number, view: DataView, at: number, length: number): number {
    const hash = this.#hash(context, view, at, length);
    const mask = this.#slots.length - 1;
    for (let slot = hash & mask; ; slot = (slot + 1) & mask) {
      const entry = this.#slots[slot] as number; // slot is masked
      if (entry < 0) return -1;
      if (this.#hashes[entry] === hash && this.matches(entry, context, { view, at, length })) return entry;
    }
  }

  /** Adds a key that `find` did not find; `hasRoom` was asked. Gives its index. */
  add(context: number, view: DataView, at: number, length: number): number {
    if (this.count === this.#starts.length) this.#growEntries();
    const start = this.#used_bytes;
    this.#growArena(start + length);
    this.#arena.set(new Uint8Array(view.buffer, view.byteOffset + at, length), start);
    const entry = this.count++;
    this.#starts[entry] = start;
    this.lengths[entry] = length;
    this.#contexts[entry] = context;
    this.#hashes[entry] = this.#hash(context, view, at, length);
    this.next[entry] = -1;
    this.#used_bytes = (start + length + 7) & ~7;
    this.#place(entry);
    return entry;
  }

  /** The entry's bytes, valid until the next `add` or `clear`. */
  bytes(entry: number): Uint8Array {
    const start = this.#starts[entry] ?? 0;
    return this.#arena.subarray(start, start + (this.lengths[entry] ?? 0));
  }

  /** Forgets every key; indexes given out so far mean nothing any more. */
  clear(): void {
    this.count = 0;
    this.#used_bytes = 0;
    this.#slots.fill(-1);
    this.next.fill(-1);
  }

  #place(entry: number): void {
    const mask = this.#slots.length - 1;
    let slot = (this.#hashes[entry] as number) & mask; // entry was just written
    while ((this.#slots[slot] as number) >= 0) slot = (slot + 1) & mask; // slot is masked
    this.#slots[slot] = entry;
  }

  #growEntries(): void {
    const grown = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const larger = new Int32Array(old.length * 2);
      larger.set(old);
      return larger;
    };
    this.#starts = grown(this.#starts);
    this.lengths = grown(this.lengths);
    this.#contexts = grown(this.#contexts);
    this.#hashes = grown(this.#hashes);
    this.next = grown(this.next);
    this.#slots = new Int32Array(this.#starts.length / LOAD_MAX).fill(-1);
    for (let entry = 0; entry < this.count; entry++) this.#place(entry);
  }

  #growArena(needed: number): void {
    if (needed <= this.#arena.length) return;
    let size = this.#arena.length;
    while (size < needed) size *= 2;
    const larger = new Uint8Array(size);
    larger.set(this.#arena);
    this.#arena = larger;
    this.#view = new DataView(larger.buffer);
  }

  /** Multiply–xorshift over words, begun with the table's secret; the finaliser is murmur3's. */
  #hash(context: number, view: DataView, at: number, length: number): number {
    let hash = Math.imul(context ^ length ^ this.#limits.seed, 0x9e3779b1);
    const end = at + length;
    let from = at;
    for (; from + 4 <= end; from += 4) {
      hash = Math.imul(hash ^ view.getInt32(from, true), 0x85ebca6b);
      hash ^= hash >>> 15;
    }
    for (; from < end; from++) hash = Math.imul(hash ^ view.getUint8(from), 0xc2b2ae35);
    hash ^= hash >>> 13;
    hash = Math.imul(hash, 0xc2b2ae35);
    return hash ^ (hash >>> 16);
  }
}
