import {
  bytes,
  double,
  type Field,
  fixed,
  joined,
  message,
  packedDoubles,
  packedSints,
  packedVarints,
  sint,
  text,
  uint,
} from './protobuf-writer.ts';

/** Messages of remote write as the tests say them; `bits` instead of a value where the NaN matters. */
export type TestSample = readonly [at_ms: number, value: number | bigint];
export type TestExemplar = {
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
  readonly at_ms: number;
};
export type TestSeries = {
  readonly labels: readonly (readonly [string, string])[];
  readonly samples?: readonly TestSample[];
  readonly histograms?: readonly Field[];
  readonly exemplars?: readonly TestExemplar[];
  readonly metadata?: { readonly type: number; readonly help: string; readonly unit: string };
};

const sample = ([at_ms, value]: TestSample): Field =>
  joined(typeof value === 'bigint' ? fixed(1, value) : double(1, value), uint(2, at_ms));

const label = (name: string, value: string): Field => message(1, text(1, name), text(2, value));

/** prometheus.TimeSeries as field 1 of a WriteRequest. */
export function series1(series: TestSeries): Field {
  return message(
    1,
    ...series.labels.map(([name, value]) => label(name, value)),
    ...(series.samples ?? []).map((one) => bytes(2, sample(one))),
    ...(series.exemplars ?? []).map(({ labels, value, at_ms }) =>
      message(3, ...Object.entries(labels).map(([n, v]) => label(n, v)), double(2, value), uint(3, at_ms)),
    ),
    ...(series.histograms ?? []).map((one) => bytes(4, one)),
  );
}

export function writeRequest(...series: readonly TestSeries[]): Uint8Array {
  return joined(...series.map(series1));
}

/** io.prometheus.write.v2.Request with its symbols in order of appearance, the empty one first. */
export function request2(...series: readonly TestSeries[]): Uint8Array {
  const symbols = [''];
  const ref = (symbol: string): number => {
    const known = symbols.indexOf(symbol);
    return known >= 0 ? known : symbols.push(symbol) - 1;
  };
  const refs = (pairs: readonly (readonly [string, string])[]): Field =>
    packedVarints(
      1,
      pairs.flatMap(([name, value]) => [ref(name), ref(value)]),
    );
  const messages = series.map((one) =>
    message(
      5,
      refs(one.labels),
      ...(one.samples ?? []).map((it) => bytes(2, sample(it))),
      ...(one.histograms ?? []).map((it) => bytes(3, it)),
      ...(one.exemplars ?? []).map(({ labels, value, at_ms }) =>
        message(4, refs(Object.entries(labels)), double(2, value), uint(3, at_ms)),
      ),
      ...(one.metadata === undefined
        ? []
        : [message(5, uint(1, one.metadata.type), uint(3, ref(one.metadata.help)), uint(4, ref(one.metadata.unit)))]),
    ),
  );
  return joined(...symbols.map((symbol) => text(4, symbol)), ...messages);
}

type TestSpan = readonly [offset: number, length: number];

/** An integer histogram; buckets as deltas, as they are written. */
export function integerHistogram(options: {
  readonly count: number | bigint;
  readonly sum: number;
  readonly at_ms: number;
  readonly schema?: number;
  readonly zero?: number;
  readonly spans?: readonly TestSpan[];
  readonly deltas?: readonly (number | bigint)[];
  readonly negative?: { readonly spans: readonly TestSpan[]; readonly deltas: readonly number[] };
  readonly custom?: readonly number[];
  readonly hint?: number;
  readonly start_ms?: number;
}): Field {
  const span = (field: number) => (one: TestSpan) => message(field, sint(1, one[0]), uint(2, one[1]));
  return joined(
    uint(1, options.count),
    double(3, options.sum),
    sint(4, options.schema ?? 0),
    double(5, options.custom === undefined ? 0.001 : 0),
    uint(6, options.zero ?? 0),
    ...(options.negative?.spans ?? []).map(span(8)),
    packedSints(9, options.negative?.deltas ?? []),
    ...(options.spans ?? []).map(span(11)),
    packedSints(12, options.deltas ?? []),
    uint(14, options.hint ?? 0),
    uint(15, options.at_ms),
    packedDoubles(16, options.custom ?? []),
    uint(17, options.start_ms ?? 0),
  );
}
