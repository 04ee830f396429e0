import { isPlausibleTime, type SampleTarget } from './decoded-samples.ts';
import { isNotFinite } from './double-words.ts';
import type { ProtobufReader } from './protobuf-reader.ts';

const DOUBLE_VALUE = 9;
const TIMESTAMP = 16;

/**
 * Reads a Sample message (1.0: `double value = 1; int64 timestamp = 2`; 2.0 adds start_timestamp, which is not kept)
 * that ends at `end` and puts it into the columns. False when its time is implausible. Allocates nothing.
 */
export function readSample(reader: ProtobufReader, end: number, target: SampleTarget, series: number): boolean {
  let value = 0;
  let value_low = 0;
  let value_high = 0;
  let time_low = 0;
  let time_high = 0;
  while (reader.at < end) {
    const tag = reader.bytes[reader.at];
    if (tag === DOUBLE_VALUE) {
      reader.at++;
      reader.fixed64(end);
      value_low = reader.low;
      value_high = reader.high;
      value = reader.view.getFloat64(reader.at - 8, true);
    } else if (tag === TIMESTAMP) {
      reader.at++;
      reader.varint64();
      time_low = reader.low;
      time_high = reader.high;
    } else reader.skip(reader.tag(), end);
  }
  reader.within(end);
  if (!isPlausibleTime(time_low, time_high)) return false;
  if (isNotFinite(value_high)) target.columns.putBits(target.book, series, value_low, value_high, time_low, time_high);
  else target.columns.put(target.book, series, value, time_low, time_high);
  return true;
}
