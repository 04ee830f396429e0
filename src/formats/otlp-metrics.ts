import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { Outcome } from '../core/outcome.ts';
import {
  type Decoded,
  type DecodedSamples,
  decodeBody,
  isPlausibleTime,
  type SampleTarget,
  TIME_FAULT,
} from './decoded-samples.ts';
import { doubleOfWords, isNotFinite } from './double-words.ts';
import { fieldsOf, hasField, reordered } from './message-fields.ts';
import { readAttributes } from './otlp-attributes.ts';
import { readExemplars } from './otlp-exemplar.ts';
import { EXPLICIT, EXPONENTIAL, readHistogramPoint } from './otlp-histogram.ts';
import { type MetricHeader, OTLP_KINDS, OtlpSeries } from './otlp-series.ts';
import { readSummaryPoint } from './otlp-summary.ts';
import { milliseconds } from './otlp-time.ts';
import { ProtobufReader } from './protobuf-reader.ts';
import type { LabelFault, LabelPair } from './series-labels.ts';
import { STALE_HIGH, STALE_LOW } from './stale-marker.ts';

const TWO_32 = 4_294_967_296;
const NO_RECORDED_VALUE = 1;
/** Tags of Metric: name, description, unit, and the five kinds of data. */
const METRIC = {
  name: 10,
  help: 18,
  unit: 26,
  gauge: 42,
  sum: 58,
  histogram: 74,
  exponential: 82,
  summary: 90,
} as const;
const KIND = Object.fromEntries(OTLP_KINDS.map((kind, index) => [kind, index])) as Record<string, number>; // its own keys
const DELTA = 1;
const CUMULATIVE = 2;
/** Tags of NumberDataPoint. */
const POINT = { time: 25, double: 33, exemplar: 42, integer: 49, attribute: 58, flags: 64 } as const;
const ATTRIBUTE_TAGS: Readonly<Record<number, number>> = {
  [METRIC.histogram]: EXPLICIT.attributes,
  [METRIC.exponential]: EXPONENTIAL.attributes,
};
/** Histogram and summary points of one body, twice what is taken of histograms: they cost 2 µs even when empty. */
const COMPOUND_POINTS_MAX = 2 * LIMITS.histograms_max;
const FAULTS = {
  value: { code: 'no_value', reason: 'a data point without a value' },
  temporality: { code: 'temporality', reason: 'neither delta nor cumulative' },
  name: { code: 'missing_name', reason: 'a metric without a name' },
} as const satisfies Record<string, LabelFault>;

const isResource = (tag: number): boolean => tag === 10;
const isAttribute = (tag: number): boolean => tag === POINT.attribute;

/**
 * Decodes ExportMetricsServiceRequest (OTLP metrics v1, protobuf) into `target`: gauges and sums as samples, both kinds
 * of histograms as rows, a summary as the samples `name{quantile}`, `name_sum` and `name_count`. Labels: `OtlpSeries`.
 * A point with NO_RECORDED_VALUE is the stale marker. Integers stay exact. What is refused is counted by data points,
 * for `partial_success`. Rejects LW-BODY for bytes that are no protobuf; then nothing was taken.
 */
export function decodeOtlpMetrics(body: Uint8Array, target: SampleTarget): Outcome<DecodedSamples> {
  return decodeBody(target, (decoded) => new OtlpMetrics(body, target, decoded).decode());
}

class OtlpMetrics {
  readonly #reader = new ProtobufReader();
  readonly #series: OtlpSeries;
  readonly #target: SampleTarget;
  readonly #decoded: Decoded;
  #compound_points = 0;
  readonly #header: MetricHeader = {
    name_start: 0,
    name_end: 0,
    help_start: 0,
    help_end: 0,
    unit_start: 0,
    unit_end: 0,
  };

  constructor(body: Uint8Array, target: SampleTarget, decoded: Decoded) {
    this.#reader.reset(body);
    this.#series = new OtlpSeries(this.#reader, target.book);
    this.#target = target;
    this.#decoded = decoded;
  }

  decode(): void {
    const reader = this.#reader;
    const end = reader.bytes.length;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 10)
        this.#level(
          reader.lengthEnd(end),
          (start, last) => this.#series.resource(start, last),
          (resource, last) =>
            this.#level(
              last,
              (start, stop) => this.#series.scope(resource, start, stop),
              (scope, stop) => this.#metric(stop, scope),
            ),
        );
      else reader.skip(tag, end);
    }
    reader.within(end);
  }

  /**
   * ResourceMetrics and ScopeMetrics are built alike: field 1 says who speaks, field 2, repeated, what is said. Field 1
   * may be missing or come late.
   */
  #level(
    end: number,
    context: (start: number, end: number) => number,
    item: (context: number, end: number) => void,
  ): void {
    const reader = this.#reader;
    const start = reader.at;
    let owner = -1;
    if (reader.bytes[start] !== 10 && start < end && hasField(reader, { start, end }, isResource)) {
      reader.at = start;
      while (owner < 0) {
        const tag = reader.tag();
        if (tag === 10) {
          const last = reader.lengthEnd(end);
          owner = context(reader.at, last);
        } else reader.skip(tag, end);
      }
      reader.at = start;
    }
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 10) {
        const last = reader.lengthEnd(end);
        if (owner < 0) owner = context(reader.at, last);
        reader.at = last;
      } else if (tag === 18) {
        const last = reader.lengthEnd(end);
        if (owner < 0) owner = context(reader.at, reader.at);
        item(owner, last);
      } else reader.skip(tag, end);
    }
    reader.within(end);
  }

  /** A Metric: its fields first, wherever they lie, then its data. */
  #metric(end: number, scope: number): void {
    const reader = this.#reader;
    const header = this.#header;
    const at = reader.at;
    header.name_start =
      header.name_end =
      header.help_start =
      header.help_end =
      header.unit_start =
      header.unit_end =
        at;
    let data_tag = 0;
    let data_start = at;
    let data_end = at;
    while (reader.at < end) {
      const tag = reader.tag();
      if ((tag & 7) !== 2) {
        reader.skip(tag, end);
        continue;
      }
      const last = reader.lengthEnd(end);
      if (tag === METRIC.name) {
        header.name_start = reader.at;
        header.name_end = last;
      } else if (tag === METRIC.help) {
        header.help_start = reader.at;
        header.help_end = last;
      } else if (tag === METRIC.unit) {
        header.unit_start = reader.at;
        header.unit_end = last;
      } else if (
        tag === METRIC.gauge ||
        tag === METRIC.sum ||
        tag === METRIC.histogram ||
        tag === METRIC.exponential ||
        tag === METRIC.summary
      ) {
        data_tag = tag;
        data_start = reader.at;
        data_end = last;
      }
      reader.at = last;
    }
    reader.within(end);
    if (data_tag !== 0) this.#data({ tag: data_tag, start: data_start, end: data_end }, scope);
    reader.at = end;
  }

  #data(data: { readonly tag: number; readonly start: number; readonly end: number }, scope: number): void {
    const reader = this.#reader;
    const kind = this.#kindOf(data);
    const named = this.#header.name_end > this.#header.name_start;
    const fault = kind < 0 ? FAULTS.temporality : named ? null : FAULTS.name;
    const metric = fault === null ? this.#series.metric(scope, kind, this.#header) : -1;
    reader.at = data.start;
    while (reader.at < data.end) {
      const tag = reader.tag();
      if (tag !== 10) {
        reader.skip(tag, data.end);
        continue;
      }
      const last = reader.lengthEnd(data.end);
      const refused = fault ?? this.#point(data.tag, last, metric);
      if (refused !== null) this.#decoded.refuse(refused);
      reader.at = last;
    }
    reader.within(data.end);
  }

  /** Index in OTLP_KINDS; −1 for a sum or histogram without a temporality. The fields that say so come after the points. */
  #kindOf({ tag: data, start, end }: { readonly tag: number; readonly start: number; readonly end: number }): number {
    if (data === METRIC.gauge) return KIND['gauge'] ?? 0;
    if (data === METRIC.summary) return KIND['summary'] ?? 0;
    const reader = this.#reader;
    let temporality = 0;
    let monotonic = false;
    reader.at = start;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 16) temporality = reader.int32();
      else if (tag === 24) monotonic = reader.varint32() !== 0;
      else reader.skip(tag, end);
    }
    if (temporality !== DELTA && temporality !== CUMULATIVE) return -1;
    const delta = temporality === DELTA;
    if (data !== METRIC.sum) return KIND[delta ? 'histogram_delta' : 'histogram'] ?? -1;
    if (monotonic) return KIND[delta ? 'counter_delta' : 'counter'] ?? -1;
    return KIND[delta ? 'up_down_delta' : 'gauge'] ?? -1;
  }

  #point(data: number, end: number, metric: number): LabelFault | null {
    if (data === METRIC.gauge || data === METRIC.sum) return this.#number(end, metric);
    const reader = this.#reader;
    if (++this.#compound_points > COMPOUND_POINTS_MAX)
      throw new LeewayError(
        'LW-BODY-SIZE',
        `OTLP: more than ${COMPOUND_POINTS_MAX} histograms and summaries in a body`,
      );
    const point = { start: reader.at, end };
    if (data === METRIC.summary) return this.#summary(end, metric);
    const fields = data === METRIC.histogram ? EXPLICIT : EXPONENTIAL;
    const attributes = fieldsOf(reader, point, (tag) => tag === ATTRIBUTE_TAGS[data]);
    const series = this.#seriesOf(metric, attributes);
    if (typeof series !== 'number') return series;
    const id = this.#target.book.idOf(series);
    this.#decoded.histogramOrFault(readHistogramPoint(reader, end, { fields, series: id }));
    readExemplars(
      this.#decoded,
      fieldsOf(reader, point, (tag) => tag === fields.exemplars),
      id,
    );
    return null;
  }

  #seriesOf(metric: number, attributes: Uint8Array): number | LabelFault {
    const view = new DataView(attributes.buffer, attributes.byteOffset, attributes.length);
    return this.#series.find(metric, view, 0, attributes.length);
  }

  #summary(end: number, metric: number): LabelFault | null {
    const reader = this.#reader;
    const attributes = readAttributes(fieldsOf(reader, { start: reader.at, end }, isAttribute));
    if ('code' in attributes) return attributes;
    return readSummaryPoint(reader, end, this.#target, (labels: readonly LabelPair[], suffix) =>
      this.#series.part(metric, [...attributes, ...labels], suffix),
    );
  }

  /** A NumberDataPoint; its attributes are compared with what came after the last series before, else looked up. */
  #number(end: number, metric: number): LabelFault | null {
    const reader = this.#reader;
    const { book } = this.#target;
    const { keys } = book;
    const { bytes, view } = reader;
    const start = reader.at;
    const context = this.#series.keyContext(metric);
    const next = keys.next[book.last_key] as number; // last_key is an entry of the table
    let key = -1;
    let from = -1;
    let to = start;
    let value_tag = 0;
    let low = 0;
    let high = 0;
    let at_ms = 0;
    let flags = 0;
    let exemplars = false;
    while (reader.at < end) {
      const at = reader.at;
      const tag = bytes[at];
      if (tag === POINT.attribute) {
        if (from >= 0) return this.#scattered(start, end, metric);
        from = at;
        to = next < 0 ? end + 1 : at + (keys.lengths[next] as number); // next is an entry of the table
        if (to > at && to <= end && (to === end || bytes[to] !== tag) && keys.foretells(next, context, view, at)) {
          key = next;
          reader.at = to;
        } else {
          while (reader.at < end && bytes[reader.at] === tag) {
            reader.at++;
            reader.at = reader.lengthEnd(end);
          }
          to = reader.at;
        }
      } else if (tag === POINT.time) {
        reader.at++;
        reader.fixed64(end);
        at_ms = milliseconds(reader.low, reader.high);
      } else if (tag === POINT.double || tag === POINT.integer) {
        reader.at++;
        reader.fixed64(end);
        value_tag = tag;
        low = reader.low;
        high = reader.high;
      } else if (tag === POINT.flags) {
        reader.at++;
        flags = reader.varint32();
      } else {
        const other = reader.tag();
        exemplars ||= other === POINT.exemplar;
        reader.skip(other, end);
      }
    }
    reader.within(end);
    if (from < 0) from = to = start;
    let series: number | LabelFault;
    if (key >= 0) {
      book.last_key = key;
      series = book.key_series[key] as number; // key is an entry of the table
      book.seen[series] = 1;
    } else series = this.#series.find(metric, view, from, to - from);
    if (typeof series !== 'number') return series;
    const fault = this.#put(series, { value_tag, low, high, at_ms, flags });
    if (fault === null && exemplars)
      readExemplars(
        this.#decoded,
        fieldsOf(reader, { start, end }, (tag) => tag === POINT.exemplar),
        book.idOf(series),
      );
    return fault;
  }

  #put(
    series: number,
    point: { value_tag: number; low: number; high: number; at_ms: number; flags: number },
  ): LabelFault | null {
    const { book, columns } = this.#target;
    const { low, high, at_ms } = point;
    const time_low = at_ms | 0;
    const time_high = Math.floor(at_ms / TWO_32);
    if (!isPlausibleTime(time_low, time_high)) return TIME_FAULT;
    if ((point.flags & NO_RECORDED_VALUE) !== 0)
      columns.putBits(book, series, STALE_LOW, STALE_HIGH, time_low, time_high);
    else if (point.value_tag === POINT.integer) columns.putInteger(book, series, low, high, time_low, time_high);
    else if (point.value_tag !== POINT.double) return FAULTS.value;
    else if (isNotFinite(high)) columns.putBits(book, series, low, high, time_low, time_high);
    else columns.put(book, series, doubleOfWords(low, high), time_low, time_high);
    return null;
  }

  /** A point whose attributes are not together: they are moved to its front, and it is read on its own. */
  #scattered(start: number, end: number, metric: number): LabelFault | null {
    const reader = this.#reader;
    const { bytes } = reader;
    reader.reset(reordered(reader, { start, end }, isAttribute));
    const fault = this.#number(reader.bytes.length, metric);
    reader.reset(bytes);
    reader.at = end;
    return fault;
  }
}
