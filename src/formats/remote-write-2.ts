import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import { Decoded, type DecodedSamples, decodeBody, type SampleTarget, TIME_FAULT } from './decoded-samples.ts';
import { exactBits } from './exact-number.ts';
import { countFields, hasField, reordered } from './message-fields.ts';
import { metricKind } from './metric-kind.ts';
import { each, readHistogram } from './native-histogram.ts';
import { ProtobufReader, WIRE } from './protobuf-reader.ts';
import { readSample } from './sample-message.ts';
import { type SeriesDescription, UNDESCRIBED, shortened } from './series-book.ts';
import {
  canonicalLabels,
  type LabelFault,
  type LabelPair,
  labelRecord,
  NAME_LABEL,
  utf8Text,
} from './series-labels.ts';

/** Context of the book's keys: symbol numbers of remote write 2.0. Symbols lie in a table of their own. */
const KEY_CONTEXT = 2;
const SYMBOL = 34;
const SERIES = 42;
const LABEL_REFS = 10;
const LABEL_REF = 8;
const SAMPLES = 18;
const HISTOGRAMS = 26;
const EXEMPLARS = 34;
const METADATA = 42;
const CREATED = 48;
/** One body's strings: 1 M of the 2 M that the table holds, so that a body always fits. */
const SYMBOLS_MAX = 1_000_000;
/** References of one series: 64 labels have 128. */
const REFS_MAX = 1_024;
const FAULTS = {
  refs: { code: 'symbol_ref', reason: 'a reference to a symbol that does not exist' },
  odd: { code: 'label_refs', reason: 'an odd number of label references' },
  utf8: { code: 'utf8', reason: 'a label that is not valid UTF-8' },
  mixed: { code: 'mixed_series', reason: 'samples and histograms in one series' },
  empty: { code: 'empty_series', reason: 'a series without a sample or histogram' },
  exemplar: { code: 'exemplar_labels', reason: 'an exemplar without labels' },
} as const satisfies Record<string, LabelFault>;

const isPoint = (tag: number): boolean => tag === SAMPLES || tag === HISTOGRAMS;
const isRefs = (tag: number): boolean => tag === LABEL_REFS || tag === LABEL_REF;

/**
 * Decodes io.prometheus.write.v2.Request (remote write 2.0, up to 2.0-rc.4), unpacked, into `target`. Rules as in
 * `decodeRemoteWrite`; further refused, series by series: references out of range or odd in number, samples and
 * histograms in one series, neither of them, an exemplar without labels. A first symbol that is not empty rejects the
 * body, since no reference can be trusted then. Symbols may come after the series that use them.
 */
export function decodeRemoteWrite2(body: Uint8Array, target: SampleTarget): Outcome<DecodedSamples> {
  return decodeBody(target, (decoded) => new RemoteWrite2(body, target, decoded).decode());
}

class RemoteWrite2 {
  #reader = new ProtobufReader();
  readonly #target: SampleTarget;
  readonly #decoded: Decoded;
  /** Number in the book of each symbol of this body. */
  #symbols = new Int32Array(1_024);
  #symbols_count = 0;
  #described_count = 0;
  /** The label references of the series at hand, as symbol numbers: its key. */
  readonly #refs = new Int32Array(REFS_MAX);
  readonly #refs_view = new DataView(this.#refs.buffer);

  constructor(body: Uint8Array, target: SampleTarget, decoded: Decoded) {
    this.#reader.reset(body);
    this.#target = target;
    this.#decoded = decoded;
  }

  decode(): void {
    const reader = this.#reader;
    const end = reader.bytes.length;
    this.#readSymbols(end);
    reader.at = 0;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === SERIES) this.#series(reader.lengthEnd(end));
      else reader.skip(tag, end);
    }
  }

  #readSymbols(end: number): void {
    const reader = this.#reader;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === SYMBOL) {
        const last = reader.lengthEnd(end);
        this.#addSymbol(this.#symbolNumber(reader.at, last - reader.at));
        reader.at = last;
      } else reader.skip(tag, end);
    }
    reader.within(end);
    if (this.#symbols_count > 0 && this.#text(0) !== '') throw reader.error('the first symbol is not the empty string');
  }

  #addSymbol(number: number): void {
    if (this.#symbols_count >= SYMBOLS_MAX) throw this.#reader.error(`more than ${SYMBOLS_MAX} symbols`);
    if (this.#symbols_count === this.#symbols.length) {
      const larger = new Int32Array(this.#symbols.length * 2);
      larger.set(this.#symbols);
      this.#symbols = larger;
    }
    this.#symbols[this.#symbols_count++] = number;
  }

  #symbolNumber(at: number, length: number): number {
    const { book } = this.#target;
    const { symbols } = book;
    const { view } = this.#reader;
    const next = symbols.next[book.last_symbol] as number; // last_symbol is an entry of the table
    if (next >= 0 && symbols.lengths[next] === length && symbols.foretells(next, 0, view, at)) {
      book.last_symbol = next;
      return next;
    }
    const known = symbols.find(0, view, at, length);
    const number = known >= 0 ? known : symbols.add(0, view, at, length);
    symbols.next[book.last_symbol] = number;
    book.last_symbol = number;
    return number;
  }

  /** Text of a symbol of this body; a fault when there is no such symbol or it is not UTF-8. */
  #text(ref: number): string | LabelFault {
    if (ref >= this.#symbols_count) return FAULTS.refs;
    return utf8Text(this.#target.book.symbols.bytes(this.#symbols[ref] ?? -1)) ?? FAULTS.utf8;
  }

  #series(end: number): void {
    const reader = this.#reader;
    const { columns } = this.#target;
    const start = reader.at;
    const rows = columns.rows;
    if (reader.bytes[start] !== LABEL_REFS && start < end && hasField(reader, { start, end }, isRefs)) {
      this.#reordered(start, end);
      return;
    }
    const series = this.#identify(end);
    const fault = typeof series === 'number' ? this.#points(end, series) : series;
    if (fault === null) return;
    columns.truncate(rows);
    if (fault === 'scattered') this.#reordered(start, end);
    else this.#refuse(start, end, fault);
  }

  /** Label references that are scattered or not packed: packed at the front, then read as usual. */
  #reordered(start: number, end: number): void {
    const reader = this.#reader;
    const moved = reordered(reader, { start, end }, isRefs);
    const inner = new ProtobufReader();
    inner.reset(moved);
    const refs: number[] = [];
    while (inner.at < moved.length) {
      const at = inner.at;
      const tag = inner.tag();
      if (!isRefs(tag)) {
        inner.at = at;
        break;
      }
      each(inner, moved.length, { wire: tag & 7, single: WIRE.varint }, () => refs.push(inner.varint32()));
      if (refs.length > REFS_MAX) throw reader.error(`more than ${REFS_MAX} label references`);
    }
    this.#reader = inner;
    const { columns } = this.#target;
    const rows = columns.rows;
    const series = this.#lookUpRefs(refs);
    const rest = inner.at;
    const fault = typeof series === 'number' ? this.#points(moved.length, series) : series;
    if (fault !== null && fault !== 'scattered') {
      columns.truncate(rows);
      this.#refuse(rest, moved.length, fault);
    }
    this.#reader = reader;
    reader.at = end;
  }

  #lookUpRefs(refs: readonly number[]): number | LabelFault {
    for (const [index, ref] of refs.entries()) {
      if (ref >= this.#symbols_count) return FAULTS.refs;
      this.#refs[index] = this.#symbols[ref] ?? 0;
    }
    return this.#lookUp(refs.length);
  }

  /** The series of the packed references at the cursor, or none. */
  #identify(end: number): number | LabelFault {
    const reader = this.#reader;
    if (reader.at >= end || reader.bytes[reader.at] !== LABEL_REFS) return this.#lookUp(0);
    reader.at++;
    const last = reader.lengthEnd(end);
    let count = 0;
    let missing = false;
    while (reader.at < last) {
      const ref = reader.varint32();
      if (count >= REFS_MAX) throw reader.error(`more than ${REFS_MAX} label references`);
      if (ref >= this.#symbols_count) missing = true;
      else this.#refs[count++] = this.#symbols[ref] as number; // ref < symbols_count
    }
    reader.within(last);
    return missing ? FAULTS.refs : this.#lookUp(count);
  }

  /** The series of the first `count` symbol numbers in #refs: predicted, by hash, or parsed. */
  #lookUp(count: number): number | LabelFault {
    const { book } = this.#target;
    const { keys } = book;
    const length = count * 4;
    const next = keys.next[book.last_key] as number; // last_key is an entry of the table
    let key = next;
    if (next < 0 || keys.lengths[next] !== length || !keys.foretells(next, KEY_CONTEXT, this.#refs_view, 0)) {
      key = keys.find(KEY_CONTEXT, this.#refs_view, 0, length);
      if (key < 0) {
        const labels = this.#labels(count);
        if ('code' in labels) return labels;
        const series = book.resolve(labels.labels, UNDESCRIBED);
        key = book.remember(series, KEY_CONTEXT, { view: this.#refs_view, at: 0, length });
        if (key < 0) return series;
      }
      keys.next[book.last_key] = key;
    }
    book.last_key = key;
    const series = book.key_series[key] as number; // key is an entry of the table
    book.seen[series] = 1;
    return series;
  }

  #labels(count: number): { labels: LabelPair[] } | LabelFault {
    if (count % 2 === 1) return FAULTS.odd;
    const pairs: LabelPair[] = [];
    for (let index = 0; index < count; index += 2) {
      const [name, value] = [this.#numberText(index), this.#numberText(index + 1)];
      if (name === null || value === null) return FAULTS.utf8;
      pairs.push([name, value]);
    }
    const canonical = canonicalLabels(pairs);
    return 'fault' in canonical ? canonical.fault : canonical;
  }

  /** Text of a symbol number in #refs. */
  #numberText(index: number): string | null {
    return utf8Text(this.#target.book.symbols.bytes(this.#refs[index] ?? -1));
  }

  /** Everything of a series but its labels: null, a fault of the whole series, or 'scattered' when more labels turn up. */
  #points(end: number, series: number): LabelFault | 'scattered' | null {
    const reader = this.#reader;
    const { columns } = this.#target;
    const rows = columns.rows;
    let part: Decoded | null = null;
    let refused = 0;
    let histograms = 0;
    let created_ms = 0;
    let fault: LabelFault | null = null;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === SAMPLES) {
        if (!readSample(reader, reader.lengthEnd(end), this.#target, series)) refused++;
      } else if (tag === METADATA) fault = this.#metadata(reader.lengthEnd(end), series) ?? fault;
      else if (tag === HISTOGRAMS) {
        histograms++;
        part ??= new Decoded();
        part.histogramOrFault(readHistogram(reader, reader.lengthEnd(end), this.#target.book.idOf(series)));
      } else if (tag === EXEMPLARS) {
        part ??= new Decoded();
        this.#exemplar(part, reader.lengthEnd(end), this.#target.book.idOf(series));
      } else if (tag === CREATED) {
        reader.varint64();
        created_ms = reader.high * 4_294_967_296 + (reader.low >>> 0);
      } else if (isRefs(tag)) return 'scattered';
      else reader.skip(tag, end);
    }
    reader.within(end);
    const samples = columns.rows - rows + refused;
    if (fault !== null) return fault;
    if (samples === 0 && histograms === 0) return FAULTS.empty;
    if (samples > 0 && histograms > 0) return FAULTS.mixed;
    if (refused > 0) this.#decoded.refuse(TIME_FAULT, refused);
    if (part !== null) this.#decoded.merge(part.startedAt(created_ms));
    return null;
  }

  /** Exemplar { repeated uint32 labels_refs = 1; double value = 2; int64 timestamp = 3 }. */
  #exemplar(part: Decoded, end: number, series: string): void {
    const reader = this.#reader;
    const refs: number[] = [];
    let value = exactBits(0, 0);
    let at_ms = 0;
    while (reader.at < end) {
      const tag = reader.tag();
      if (isRefs(tag)) each(reader, end, { wire: tag & 7, single: WIRE.varint }, () => refs.push(reader.varint32()));
      else if (tag === 17) {
        reader.fixed64(end);
        value = exactBits(reader.low, reader.high);
      } else if (tag === 24) {
        reader.varint64();
        at_ms = reader.high * 4_294_967_296 + (reader.low >>> 0);
      } else reader.skip(tag, end);
    }
    reader.within(end);
    const labels = this.#exemplarLabels(refs);
    if ('code' in labels) part.refuseExemplar(labels);
    else part.exemplar({ series, at_ms, value, labels: labelRecord(labels.labels) });
  }

  #exemplarLabels(refs: readonly number[]): { labels: LabelPair[] } | LabelFault {
    if (refs.length === 0) return FAULTS.exemplar;
    if (refs.length % 2 === 1) return FAULTS.odd;
    const labels: LabelPair[] = [];
    for (let index = 0; index < refs.length; index += 2) {
      const [name, value] = [this.#text(refs[index] ?? 0), this.#text(refs[index + 1] ?? 0)];
      if (typeof name !== 'string') return name;
      if (typeof value !== 'string') return value;
      labels.push([name, value]);
    }
    return { labels };
  }

  /** Metadata { type = 1; uint32 help_ref = 3; uint32 unit_ref = 4 }: told once a series, and again when it changes. */
  #metadata(end: number, series: number): LabelFault | null {
    const reader = this.#reader;
    let type = 0;
    let help_ref = 0;
    let unit_ref = 0;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 8) type = reader.int32();
      else if (tag === 24) help_ref = reader.varint32();
      else if (tag === 32) unit_ref = reader.varint32();
      else reader.skip(tag, end);
    }
    reader.within(end);
    if (type === 0 && help_ref === 0 && unit_ref === 0) return null;
    const { book } = this.#target;
    const [help_number, unit_number] = [this.#symbols[help_ref] ?? 0, this.#symbols[unit_ref] ?? 0];
    const mixed = Math.imul(Math.imul(help_number + 1, 0x85ebca6b) ^ (unit_number + 1), 0xc2b2ae35) ^ (type + 1);
    if (help_ref < this.#symbols_count && unit_ref < this.#symbols_count && book.described[series] === mixed)
      return null;
    const [help, unit] = [this.#text(help_ref), this.#text(unit_ref)];
    if (typeof help !== 'string') return help;
    if (typeof unit !== 'string') return unit;
    if (this.#describe(series, { kind: metricKind(type), unit, help })) book.described[series] = mixed;
    return null;
  }

  /** A series that was announced already is announced again. False over the cap: metadata is a courtesy, the next body tells it. */
  #describe(series: number, description: SeriesDescription): boolean {
    const { book } = this.#target;
    if (book.isOverflow(series) || book.describe(series, description)) return true;
    if (this.#described_count++ >= LIMITS.metadata_max) return false;
    const labels =
      book.key_series[book.last_key] === series ? this.#labels((book.keys.lengths[book.last_key] ?? 0) / 4) : null;
    if (labels === null || 'code' in labels) return false;
    const record = labelRecord(labels.labels);
    book.returnNew([
      { id: book.idOf(series), metric: record[NAME_LABEL] ?? '', labels: record, ...shortened(description) },
    ]);
    return true;
  }

  /** Passes over a series, counting what it held. */
  #refuse(start: number, end: number, fault: LabelFault): void {
    const points = countFields(this.#reader, { start, end }, isPoint);
    this.#decoded.refuse(fault, Math.max(points, 1));
  }
}
