import { isPlausibleTime, type SampleTarget, TIME_FAULT } from './decoded-samples.ts';
import { doubleOfWords, isNotFinite } from './double-words.ts';
import { milliseconds } from './otlp-time.ts';
import type { ProtobufReader } from './protobuf-reader.ts';
import type { LabelFault, LabelPair } from './series-labels.ts';
import { STALE_HIGH, STALE_LOW } from './stale-marker.ts';

const TWO_32 = 4_294_967_296;
const NO_RECORDED_VALUE = 1;
/** Quantiles of one summary; senders have 3 to 9. */
const QUANTILES_MAX = 100;

/** A value as two words of its Float64, or the words of an unsigned integer. */
type Part = {
  readonly labels: readonly LabelPair[];
  readonly suffix: string;
  low: number;
  high: number;
  integer: boolean;
};

/**
 * Reads a SummaryDataPoint that ends at `end` and puts its parts as samples: `name{quantile="0.99"}`, `name_sum`,
 * `name_count` (OpenTelemetry, "Prometheus and OpenMetrics compatibility", Summaries). All parts or none.
 */
export function readSummaryPoint(
  reader: ProtobufReader,
  end: number,
  { book, columns }: SampleTarget,
  seriesOf: (labels: readonly LabelPair[], suffix: string) => number | LabelFault,
): LabelFault | null {
  const sum: Part = { labels: [], suffix: '_sum', low: 0, high: 0, integer: false };
  const count: Part = { labels: [], suffix: '_count', low: 0, high: 0, integer: true };
  const parts = [sum, count];
  let at_ms = 0;
  let flags = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 25) {
      reader.fixed64(end);
      at_ms = milliseconds(reader.low, reader.high);
    } else if (tag === 33 || tag === 41) {
      reader.fixed64(end);
      Object.assign(tag === 33 ? count : sum, { low: reader.low, high: reader.high });
    } else if (tag === 50) parts.push(readQuantile(reader, reader.lengthEnd(end)));
    else if (tag === 64) flags = reader.varint32();
    else reader.skip(tag, end);
    if (parts.length > QUANTILES_MAX) return { code: 'summary', reason: `more than ${QUANTILES_MAX} quantiles` };
  }
  reader.within(end);
  const time_low = at_ms | 0;
  const time_high = Math.floor(at_ms / TWO_32);
  if (!isPlausibleTime(time_low, time_high)) return TIME_FAULT;
  const series = parts.map(({ labels, suffix }) => seriesOf(labels, suffix));
  const fault = series.find((one) => typeof one !== 'number');
  if (fault !== undefined && typeof fault !== 'number') return fault;
  for (const [index, { low, high, integer }] of parts.entries()) {
    const one = series[index];
    if (typeof one !== 'number') continue;
    if ((flags & NO_RECORDED_VALUE) !== 0) columns.putBits(book, one, STALE_LOW, STALE_HIGH, time_low, time_high);
    else if (integer && high >= 0) columns.putInteger(book, one, low, high, time_low, time_high);
    else if (integer) columns.put(book, one, (high >>> 0) * TWO_32 + (low >>> 0), time_low, time_high);
    else if (isNotFinite(high)) columns.putBits(book, one, low, high, time_low, time_high);
    else columns.put(book, one, doubleOfWords(low, high), time_low, time_high);
  }
  return null;
}

/** ValueAtQuantile { double quantile = 1; double value = 2 }. */
function readQuantile(reader: ProtobufReader, end: number): Part {
  let quantile = 0;
  let low = 0;
  let high = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 9) quantile = reader.double(end);
    else if (tag === 17) {
      reader.fixed64(end);
      ({ low, high } = reader);
    } else reader.skip(tag, end);
  }
  reader.within(end);
  return { labels: [['quantile', String(quantile)]], suffix: '', low, high, integer: false };
}
