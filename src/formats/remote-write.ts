import type { Outcome } from '../core/outcome.ts';
import { Decoded, type DecodedSamples, decodeBody, type SampleTarget, TIME_FAULT } from './decoded-samples.ts';
import { exactBits } from './exact-number.ts';
import { countFields, fieldsOf, hasField, reordered, textField } from './message-fields.ts';
import { metricKind } from './metric-kind.ts';
import { readHistogram } from './native-histogram.ts';
import { ProtobufReader } from './protobuf-reader.ts';
import { readSample } from './sample-message.ts';
import { UNDESCRIBED } from './series-book.ts';
import { canonicalLabels, type LabelFault, type LabelPair, labelRecord } from './series-labels.ts';

/** Contexts of the book's keys: raw label fields of remote write 1.0. */
const KEY_CONTEXT = 1;
const LABELS = 10;
const SAMPLES = 18;
const EXEMPLARS = 26;
const HISTOGRAMS = 34;
const FAULT_UTF8: LabelFault = { code: 'utf8', reason: 'a label that is not valid UTF-8' };

/**
 * Decodes prometheus.WriteRequest (remote write 1.0; prompb/remote.proto and types.proto), unpacked, into `target`.
 * A series that breaks the rules is refused with its reason, the others are taken: partial write, to be answered with 400.
 * Field order is free, as protobuf has it. Rejects LW-BODY for bytes that are no protobuf; then nothing was taken.
 */
export function decodeRemoteWrite(body: Uint8Array, target: SampleTarget): Outcome<DecodedSamples> {
  return decodeBody(target, (decoded) => new RemoteWrite(body, target, decoded).decode());
}

const isPoint = (tag: number): boolean => tag === SAMPLES || tag === HISTOGRAMS;
const isLabel = (tag: number): boolean => tag === LABELS;

class RemoteWrite {
  #reader = new ProtobufReader();
  readonly #target: SampleTarget;
  readonly #decoded: Decoded;

  constructor(body: Uint8Array, target: SampleTarget, decoded: Decoded) {
    this.#reader.reset(body);
    this.#target = target;
    this.#decoded = decoded;
  }

  decode(): void {
    const reader = this.#reader;
    const end = reader.bytes.length;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 10) this.#series(reader.lengthEnd(end));
      else if (tag === 26) this.#metadata(reader.lengthEnd(end));
      else reader.skip(tag, end);
    }
    reader.within(end);
  }

  /** A TimeSeries whose labels come first and together, as every known sender writes it; else they are moved there. */
  #series(end: number): void {
    const reader = this.#reader;
    const { book, columns } = this.#target;
    const start = reader.at;
    const rows = columns.rows;
    const key = book.keys.next[book.last_key] as number; // last_key is an entry of the table
    let series = -1;
    if (key >= 0) {
      const after = start + (book.keys.lengths[key] as number); // key is an entry of the table
      const whole = after === end || (after < end && reader.bytes[after] !== LABELS);
      if (whole && book.keys.foretells(key, KEY_CONTEXT, reader.view, start)) {
        book.last_key = key;
        reader.at = after;
        series = book.key_series[key] as number; // as above
        book.seen[series] = 1;
      }
    }
    if (series < 0) {
      if (reader.bytes[start] !== LABELS && hasField(reader, { start, end }, isLabel)) {
        this.#reordered(start, end);
        return;
      }
      while (reader.at < end && reader.bytes[reader.at] === LABELS) {
        reader.at++;
        reader.at = reader.lengthEnd(end);
      }
      const found = this.#lookUp(reader.view, start, reader.at - start);
      if (typeof found !== 'number') {
        this.#refuse(start, end, found);
        return;
      }
      series = found;
    }
    if (this.#points(end, series)) return;
    columns.truncate(rows);
    this.#reordered(start, end);
  }

  #reordered(start: number, end: number): void {
    const reader = this.#reader;
    this.#reader = new ProtobufReader();
    this.#reader.reset(reordered(reader, { start, end }, isLabel));
    this.#series(this.#reader.bytes.length);
    this.#reader = reader;
    reader.at = end;
  }

  /** Everything of a series but its labels. False, and nothing told, when more labels turn up. */
  #points(end: number, series: number): boolean {
    const reader = this.#reader;
    let part: Decoded | null = null;
    let refused = 0;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === SAMPLES) {
        if (!readSample(reader, reader.lengthEnd(end), this.#target, series)) refused++;
      } else if (tag === HISTOGRAMS || tag === EXEMPLARS) {
        part ??= new Decoded();
        this.#row(part, { tag, end: reader.lengthEnd(end), series: this.#target.book.idOf(series) });
      } else if (tag === LABELS) return false;
      else reader.skip(tag, end);
    }
    reader.within(end);
    if (refused > 0) this.#decoded.refuse(TIME_FAULT, refused);
    if (part !== null) this.#decoded.merge(part);
    return true;
  }

  /** The series of raw label fields: by hash, else parsed. */
  #lookUp(view: DataView, at: number, length: number): number | LabelFault {
    const { book } = this.#target;
    const { keys } = book;
    let key = keys.find(KEY_CONTEXT, view, at, length);
    let series: number;
    if (key < 0) {
      const pairs = readLabels(new Uint8Array(view.buffer, view.byteOffset + at, length));
      if (pairs === null) return FAULT_UTF8;
      const canonical = canonicalLabels(pairs);
      if ('fault' in canonical) return canonical.fault;
      series = book.resolve(canonical.labels, UNDESCRIBED);
      key = book.remember(series, KEY_CONTEXT, { view, at, length });
    } else series = book.key_series[key] as number; // key is an entry of the table
    if (key >= 0) {
      keys.next[book.last_key] = key;
      book.last_key = key;
    }
    book.seen[series] = 1;
    return series;
  }

  /** Passes over a series, counting what it held. */
  #refuse(start: number, end: number, fault: LabelFault): void {
    const points = countFields(this.#reader, { start, end }, isPoint);
    this.#decoded.refuse(fault, Math.max(points, 1));
  }

  #row(part: Decoded, row: { readonly tag: number; readonly end: number; readonly series: string }): void {
    if (row.tag === HISTOGRAMS) part.histogramOrFault(readHistogram(this.#reader, row.end, row.series));
    else this.#exemplar(part, row.end, row.series);
  }

  /** Exemplar { repeated Label labels = 1; double value = 2; int64 timestamp = 3 }. */
  #exemplar(part: Decoded, end: number, series: string): void {
    const reader = this.#reader;
    const labels = fieldsOf(reader, { start: reader.at, end }, isLabel);
    let value = exactBits(0, 0);
    let at_ms = 0;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 17) {
        reader.fixed64(end);
        value = exactBits(reader.low, reader.high);
      } else if (tag === 24) {
        reader.varint64();
        at_ms = reader.high * 4_294_967_296 + (reader.low >>> 0);
      } else reader.skip(tag, end);
    }
    const pairs = readLabels(labels);
    if (pairs === null) part.refuseExemplar(FAULT_UTF8);
    else part.exemplar({ series, at_ms, value, labels: labelRecord(pairs) });
  }

  /** MetricMetadata { type = 1; metric_family_name = 2; help = 4; unit = 5 }. */
  #metadata(end: number): void {
    const reader = this.#reader;
    let type = 0;
    const texts: (string | null)[] = [];
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 8) type = reader.int32();
      else if (tag === 18 || tag === 34 || tag === 42) texts[tag >>> 3] = textField(reader, end);
      else reader.skip(tag, end);
    }
    reader.within(end);
    const [metric, help, unit] = [texts[2] ?? '', texts[4] ?? '', texts[5] ?? ''];
    if (metric !== '') this.#decoded.metadata({ metric, kind: metricKind(type), unit, help });
  }
}

/** Label { string name = 1; string value = 2 }, many; null when one is not UTF-8. */
function readLabels(fields: Uint8Array): LabelPair[] | null {
  const reader = new ProtobufReader();
  reader.reset(fields);
  const pairs: LabelPair[] = [];
  while (reader.at < fields.length) {
    reader.tag();
    const end = reader.lengthEnd(fields.length);
    let name: string | null = '';
    let value: string | null = '';
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 10) name = textField(reader, end);
      else if (tag === 18) value = textField(reader, end);
      else reader.skip(tag, end);
    }
    reader.within(end);
    if (name === null || value === null) return null;
    pairs.push([name, value]);
  }
  return pairs;
}
