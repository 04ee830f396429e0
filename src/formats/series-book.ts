import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { SeriesKind, SeriesRow } from '../core/samples.ts';
import { ByteTable } from './byte-table.ts';
import {
  canonicalBytes,
  cutText,
  idText,
  type LabelFault,
  type LabelPair,
  labelRecord,
  NAME_LABEL,
  OVERFLOW_LABEL,
  seriesId,
  type Words,
} from './series-labels.ts';
import { OverflowCount, type OverflowOffender } from './series-overflow.ts';

const FIRST_SERIES = 1_024;
/** Bytes of raw labels kept a series: 150 is usual, two ways of writing the same series are allowed for. */
const KEY_BYTES = 300;
/** Strings of remote write 2.0: every one of a body of 32 MiB must fit beside those known. */
const SYMBOLS_MAX = 2_000_000;
const SYMBOL_BYTES_MAX = 2 * LIMITS.body_bytes_max;
const CONTEXTS_MAX = 200_000;
const CONTEXT_BYTES_MAX = 2 * LIMITS.body_bytes_max;

/** What is said of a series beside its labels. */
export type SeriesDescription = { readonly kind: SeriesKind; readonly unit: string; readonly help: string };

export const UNDESCRIBED: SeriesDescription = { kind: 'unknown', unit: '', help: '' };

/** What all series of an OTLP resource, scope or metric share; a fault refuses every one of them. */
export type SeriesContext = {
  readonly labels: readonly LabelPair[];
  readonly description: SeriesDescription;
  readonly fault: LabelFault | null;
};

/** What the books of a process have in common: how many series they hold, and from how many on they share what is left. */
export type SeriesShelf = { series_count: number; readonly total_max: number; readonly sure_max: number };

/** A shelf with the caps of LIMITS. */
export function seriesShelf(): SeriesShelf {
  return { series_count: 0, total_max: LIMITS.total_series_max, sure_max: LIMITS.sure_series_max };
}

/** A tenant's caps; `seed` is the process's own random number, against senders who choose colliding labels. */
export type SeriesBookOptions = {
  readonly series_max?: number;
  readonly new_max?: number;
  readonly new_bytes_max?: number;
  readonly seed?: number;
  readonly shelf?: SeriesShelf;
};

/**
 * One tenant's known series. A series is a small index here, with its 64-bit id (`seriesId`) and the exponent its
 * values had last. Warm, it is found by its raw label bytes (`keys`); cold, by its id. Over `series_max` distinct
 * series, or `sure_max` where the shelf is full, every further one is the overflow series of its metric, `{__name__, __overflow__="true"}`, and is counted.
 * New series wait in `drainNew` until they are written; over `new_max` or
 * `new_bytes_max`, LeewayError LW-BUSY asks to come again.
 */
export class SeriesBook {
  readonly keys: ByteTable;
  readonly symbols: ByteTable;
  readonly contexts: ByteTable;
  /** What each entry of `contexts` stands for. */
  context_data: SeriesContext[] = [];
  /** Series of each key. */
  key_series = new Int32Array(FIRST_SERIES);
  /** Keys that came last: where the next prediction starts. */
  last_key = 0;
  last_symbol = 0;
  last_context = 0;
  id_low = new Int32Array(FIRST_SERIES);
  id_high = new Int32Array(FIRST_SERIES);
  exponent = new Int8Array(FIRST_SERIES);
  /** Fingerprint of the description a series was announced with. */
  described = new Int32Array(FIRST_SERIES);
  /** 1: came since the last `evictIdle`. */
  seen = new Uint8Array(FIRST_SERIES);
  series_count = 0;
  overflow_count = 0;
  readonly #series_max: number;
  readonly #new_max: number;
  readonly #new_bytes_max: number;
  readonly #shelf: SeriesShelf;
  #slots = new Int32Array(FIRST_SERIES * 2).fill(-1);
  #fresh = new Map<string, SeriesRow>();
  #fresh_bytes = 0;
  #full = false;
  #overflow = new OverflowCount();
  readonly #overflow_ids = new Set<string>();

  constructor(options: SeriesBookOptions = {}) {
    const { series_max = LIMITS.active_series_max, new_max = LIMITS.new_series_max, seed = 0 } = options;
    this.#shelf = options.shelf ?? seriesShelf();
    this.#series_max = series_max;
    this.#new_max = new_max;
    this.#new_bytes_max = options.new_bytes_max ?? LIMITS.new_series_bytes_max;
    this.keys = new ByteTable({ entries_max: series_max * 2, bytes_max: series_max * KEY_BYTES, seed });
    this.symbols = new ByteTable({ entries_max: SYMBOLS_MAX, bytes_max: SYMBOL_BYTES_MAX, seed });
    this.contexts = new ByteTable({ entries_max: CONTEXTS_MAX, bytes_max: CONTEXT_BYTES_MAX, seed });
  }

  /** Called before each body: a cache that was full, or is nearly, starts again, so that a whole body fits. */
  beginBody(): void {
    const half = this.symbols.count > SYMBOLS_MAX / 2 || this.contexts.count > CONTEXTS_MAX / 2;
    const { body_bytes_max } = LIMITS;
    const room = this.symbols.hasRoom(body_bytes_max) && this.contexts.hasRoom(body_bytes_max);
    if (this.#full || half || !room) this.#forgetKeys();
  }

  /** The series of these labels (canonicalLabels), known, new or the overflow one. */
  resolve(labels: readonly LabelPair[], description: SeriesDescription): number {
    const id = seriesId(canonicalBytes(labels));
    const known = this.#find(id);
    if (known >= 0) return known;
    if (this.#isFull()) return this.#overflowSeries(labels);
    return this.#create(id, labels, description);
  }

  /** Keeps the raw bytes of a series' labels for the next time. The key, or −1 when there is no room (until the next body). */
  remember(series: number, context: number, key: { view: DataView; at: number; length: number }): number {
    if (this.isOverflow(series)) return -1;
    if (!this.keys.hasRoom(key.length)) {
      this.#full = true;
      return -1;
    }
    const entry = this.keys.add(context, key.view, key.at, key.length);
    if (entry >= this.key_series.length) {
      const larger = new Int32Array(this.key_series.length * 2);
      larger.set(this.key_series);
      this.key_series = larger;
    }
    this.key_series[entry] = series;
    return entry;
  }

  /** Whether a series stands for those over the cap. */
  isOverflow(series: number): boolean {
    return this.#overflow_ids.size > 0 && this.#overflow_ids.has(this.idOf(series));
  }

  /** The decimal digits of a series' id. */
  idOf(series: number): string {
    return idText({ low: this.id_low[series] ?? 0, high: this.id_high[series] ?? 0 });
  }

  /** Describes a series that is still waiting to be announced. False when it already was. */
  describe(series: number, description: SeriesDescription): boolean {
    const id = this.idOf(series);
    const row = this.#fresh.get(id);
    if (row === undefined) return false;
    const described = { ...row, ...shortened(description) };
    this.#fresh.set(id, described);
    this.#fresh_bytes += textOf(described) - textOf(row);
    return true;
  }

  /** Units of text of the series that wait to be announced. */
  get waiting_bytes(): number {
    return this.#fresh_bytes;
  }

  /** The series that came for the first time since the last call. Give them back with `returnNew` if they were not written. */
  drainNew(): SeriesRow[] {
    const rows = [...this.#fresh.values()];
    this.#fresh = new Map();
    this.#fresh_bytes = 0;
    return rows;
  }

  /** Takes back series whose batch was refused: the next `drainNew` announces them again. */
  returnNew(rows: readonly SeriesRow[]): void {
    for (const row of rows) {
      if (this.#fresh.has(row.id)) continue;
      this.#fresh.set(row.id, row);
      this.#fresh_bytes += textOf(row);
    }
  }

  /** The metrics with the most series over the cap, worst first. */
  offenders(count: number): OverflowOffender[] {
    return this.#overflow.top(count);
  }

  /** Whether a series of this id is known, without taking that for an arrival. */
  holds(low: number, high: number): boolean {
    const mask = this.#slots.length - 1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const series = this.#slots[slot] as number; // slot is masked
      if (series < 0) return false;
      if (this.id_low[series] === low && this.id_high[series] === high) return true;
    }
  }

  /**
   * Forgets the series that did not come since the last call, announced again should they return, and what was counted over
   * the cap until now. How many series. O(series).
   */
  evictIdle(): number {
    this.overflow_count = 0;
    this.#overflow = new OverflowCount();
    const before = this.series_count;
    let kept = 0;
    for (let series = 0; series < before; series++) {
      if (this.seen[series] === 0) {
        this.#overflow_ids.delete(this.idOf(series));
        continue;
      }
      for (const column of [this.id_low, this.id_high, this.exponent, this.described])
        column[kept] = column[series] as number; // series < series_count
      kept++;
    }
    this.#shelf.series_count -= before - kept;
    this.series_count = kept;
    this.seen.fill(0);
    if (kept < before) {
      this.#slots.fill(-1);
      for (let series = 0; series < kept; series++) this.#place(series);
      this.#forgetKeys();
    }
    return before - kept;
  }

  #isFull(): boolean {
    const own = this.series_count - this.#overflow_ids.size;
    const { series_count, total_max, sure_max } = this.#shelf;
    return own >= this.#series_max || (own >= sure_max && series_count >= total_max);
  }

  #forgetKeys(): void {
    this.#full = false;
    this.keys.clear();
    this.symbols.clear();
    this.contexts.clear();
    this.context_data = [];
    this.last_key = this.last_symbol = this.last_context = 0;
  }

  #overflowSeries(labels: readonly LabelPair[]): number {
    this.overflow_count++;
    const metric = this.#overflow.note(labels);
    const short: LabelPair[] = [
      [NAME_LABEL, metric],
      [OVERFLOW_LABEL, 'true'],
    ];
    const id = seriesId(canonicalBytes(short));
    const known = this.#find(id);
    if (known >= 0) return known;
    const series = this.#create(id, short, UNDESCRIBED);
    this.#overflow_ids.add(idText(id));
    return series;
  }

  #create(id: Words, labels: readonly LabelPair[], description: SeriesDescription): number {
    if (this.#fresh.size >= this.#new_max || this.#fresh_bytes > this.#new_bytes_max)
      throw new LeewayError('LW-BUSY', `${this.#fresh.size} new series wait to be written; send again`);
    if (this.series_count === this.id_low.length) this.#grow();
    const series = this.series_count++;
    this.#shelf.series_count++;
    this.id_low[series] = id.low;
    this.id_high[series] = id.high;
    this.exponent[series] = 0;
    this.described[series] = 0;
    this.seen[series] = 1;
    this.#place(series);
    const record = labelRecord(labels);
    const text = idText(id);
    const row = { id: text, metric: record[NAME_LABEL] ?? '', labels: record, ...shortened(description) };
    this.#fresh.set(text, row);
    this.#fresh_bytes += textOf(row);
    return series;
  }

  #find({ low, high }: Words): number {
    const mask = this.#slots.length - 1;
    for (let slot = low & mask; ; slot = (slot + 1) & mask) {
      const series = this.#slots[slot] as number; // slot is masked
      if (series < 0) return -1;
      if (this.id_low[series] === low && this.id_high[series] === high) {
        this.seen[series] = 1;
        return series;
      }
    }
  }

  #place(series: number): void {
    const mask = this.#slots.length - 1;
    let slot = (this.id_low[series] as number) & mask; // series < series_count
    while ((this.#slots[slot] as number) >= 0) slot = (slot + 1) & mask; // slot is masked
    this.#slots[slot] = series;
  }

  #grow(): void {
    const size = this.id_low.length * 2;
    const grown = (old: Int32Array): Int32Array<ArrayBuffer> => {
      const larger = new Int32Array(size);
      larger.set(old);
      return larger;
    };
    this.id_low = grown(this.id_low);
    this.id_high = grown(this.id_high);
    this.described = grown(this.described);
    const exponent = new Int8Array(size);
    exponent.set(this.exponent);
    this.exponent = exponent;
    const seen = new Uint8Array(size);
    seen.set(this.seen);
    this.seen = seen;
    this.#slots = new Int32Array(size * 2).fill(-1);
    for (let series = 0; series < this.series_count; series++) this.#place(series);
  }
}

/** A description as it is announced: LIMITS.description_bytes_max of each text. */
export function shortened(description: SeriesDescription): SeriesDescription {
  const { kind, unit, help } = description;
  const { description_bytes_max: bytes_max } = LIMITS;
  return { kind, unit: cutText(unit, bytes_max), help: cutText(help, bytes_max) };
}

/** Units of text of a series as it is announced: a little less than its bytes. */
export function textOf({ metric, labels, unit, help }: SeriesRow): number {
  let units = metric.length + unit.length + help.length;
  for (const name in labels) units += name.length + (labels[name] ?? '').length;
  return units;
}
