import { bytes, double, joined, message, text, uint } from '../formats/protobuf-writer.ts';
import { literalSnappy } from '../formats/snappy-writer.ts';

/** A sample at the end of its series' message: tag and 8 bytes of value, tag and 6 bytes of time. */
const VALUE_BEFORE_END = 15;
const TIME_BEFORE_END = 6;
/** Times that take 6 bytes as a varint: 2^35 to 2^42 ms, 1971 to 2109. */
const AT_MS = 1_700_000_000_000;

/**
 * Bodies of remote write 1.0, packed, made once and only patched for each request: one sample for each of `series`
 * series. What is sent costs the sender next to nothing, so that the receiver is what is measured.
 */
export class WriteBody {
  readonly series: number;
  readonly #packed: Uint8Array<ArrayBuffer>;
  readonly #view: DataView;
  readonly #ends: readonly number[];

  /** `first`: the number of the first series; bodies of different first numbers have different series. */
  constructor(first: number, series: number) {
    this.series = series;
    const parts = Array.from({ length: series }, (_, index) => seriesBytes(first + index));
    const body = joined(...parts);
    this.#packed = literalSnappy(body);
    this.#view = new DataView(this.#packed.buffer);
    let end = this.#packed.length - body.length;
    this.#ends = parts.map((part) => (end += part.length));
  }

  /** The bytes with every sample at `at_ms` and of `value`; valid until the next call. */
  at(at_ms: number, value: number): Uint8Array<ArrayBuffer> {
    const time = new Uint8Array(6);
    let rest = at_ms;
    for (let index = 0; index < 6; index++, rest = Math.floor(rest / 128))
      time[index] = (rest % 128) | (index < 5 ? 128 : 0);
    for (const end of this.#ends) {
      this.#view.setFloat64(end - VALUE_BEFORE_END, value, true);
      this.#packed.set(time, end - TIME_BEFORE_END);
    }
    return this.#packed;
  }
}

function seriesBytes(number: number): Uint8Array {
  const label = (name: string, value: string): Uint8Array => message(1, text(1, name), text(2, value));
  const sample = joined(double(1, 0), uint(2, AT_MS));
  return message(
    1,
    label('__name__', `load_metric_${number % 20}`),
    label('instance', `node-${Math.floor(number / 160)}:9100`),
    label('job', 'trainer'),
    label('rank', String(Math.floor(number / 20) % 8)),
    bytes(2, sample),
  );
}

export const WRITE_HEADERS = { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy' };
