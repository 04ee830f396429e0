import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import type { SampleRows, SeriesRow } from '../../src/core/samples.ts';
import { bitsOfScaled } from '../../src/formats/scaled-value.ts';
import { SampleColumns } from '../../src/formats/sample-columns.ts';
import { SeriesBook } from '../../src/formats/series-book.ts';

/** A row as a reader of the bytes sees it: `bits` of the Float64. */
export type ReadRow = { readonly id: string; readonly at_ms: number; readonly bits: bigint; readonly exponent: number };

/** Reads SampleRows the way a store does: raw little-endian bytes, row by row. */
export function rowsOf(rows: SampleRows): ReadRow[] {
  const view = ({ buffer, byteOffset, byteLength }: ArrayBufferView): DataView =>
    new DataView(buffer, byteOffset, byteLength);
  const [id, at, mantissa, exponent] = [view(rows.id), view(rows.at_ms), view(rows.mantissa), view(rows.exponent)];
  const wide = (row: number): bigint => {
    if (rows.mantissa_type === 'Int16') return BigInt(mantissa.getInt16(row * 2, true));
    if (rows.mantissa_type === 'Int32') return BigInt(mantissa.getInt32(row * 4, true));
    return mantissa.getBigInt64(row * 8, true);
  };
  return Array.from({ length: rows.rows }, (_, row) => ({
    id: id.getBigUint64(row * 8, true).toString(),
    at_ms: Number(at.getBigInt64(row * 8, true)),
    bits: bitsOfScaled(wide(row), exponent.getInt8(row)),
    exponent: exponent.getInt8(row),
  }));
}

export function bitsOf(value: number): bigint {
  const view = new DataView(new ArrayBuffer(8));
  view.setFloat64(0, value);
  return view.getBigUint64(0);
}

export function doubleOf(bits: bigint): number {
  const view = new DataView(new ArrayBuffer(8));
  view.setBigUint64(0, bits);
  return view.getFloat64(0);
}

/** One tenant's decoding state. */
export function freshTarget(options: { series_max?: number; new_max?: number } = {}): SampleTarget {
  return { book: new SeriesBook(options), columns: new SampleColumns() };
}

/** What was decoded, with rows by series labels: `metric{a="b"}` → [at_ms, value]…; known series must be given. */
export type Readable = {
  readonly samples: Readonly<Record<string, readonly (readonly [at_ms: number, value: number])[]>>;
  readonly series: readonly SeriesRow[];
};

export function readable(target: SampleTarget, known: readonly SeriesRow[] = []): Readable {
  const series = target.book.drainNew();
  const names = new Map([...known, ...series].map((row) => [row.id, seriesText(row)]));
  const samples: Record<string, [number, number][]> = {};
  for (const { id, at_ms, bits } of rowsOf(target.columns.take())) {
    const name = names.get(id) ?? `unannounced ${id}`;
    samples[name] = [...(samples[name] ?? []), [at_ms, doubleOf(bits)]];
  }
  return { samples, series };
}

export function seriesText({ metric, labels }: SeriesRow): string {
  const others = Object.entries(labels).filter(([name]) => name !== '__name__');
  return `${metric}{${others.map(([name, value]) => `${name}="${value}"`).join(',')}}`;
}

/** The value of an outcome that must be ok. */
export function taken(outcome: Outcome<DecodedSamples>): DecodedSamples {
  if (outcome.kind !== 'ok') throw new Error(`${outcome.kind}: ${outcome.code} ${outcome.reason}`);
  return outcome.value;
}

export function hexOf(bytes: Uint8Array): string {
  return Buffer.from(bytes).toString('hex');
}
