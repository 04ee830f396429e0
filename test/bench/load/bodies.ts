import { gzipSync } from 'node:zlib';
import type { Random } from '../../../src/core/random.ts';
import { nanos, numberPoint, otlpRequest } from '../../formats/otlp-messages.ts';
import { request2, type TestSeries, writeRequest } from '../../formats/remote-write-messages.ts';
import { compressSnappy } from '../../formats/snappy-writer.ts';

export const MODES = ['rw1', 'rw2', 'otlp', 'otlp-gzip'] as const;
export type Mode = (typeof MODES)[number];

/** 125 nodes of 8 ranks of 20 metrics: 20,000 gauges, 800 of them (5 nodes) in a request. */
export const SERIES = 20_000;
export const SERIES_A_REQUEST = 800;
const NODES_A_REQUEST = 5;
const RANKS = 8;
const METRICS = 20;

/** What a template carries in the place of the value and the time of each sample; neither occurs otherwise. */
const VALUE = 1.234_567_890_123e-77;
/** 6 bytes as a varint, like every time of this century. */
const AT_MS = 2_222_222_222_222;

type Encoding = {
  readonly path: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly template: (first_node: number) => Uint8Array;
  /** How the time of a sample is written. */
  readonly time: (at_ms: number) => Uint8Array;
  readonly pack: (body: Uint8Array) => Uint8Array;
};

const REMOTE_WRITE = {
  path: '/api/v1/write',
  time: varint6,
  pack: compressSnappy,
};
const OTLP = { path: '/v1/metrics', template: otlpTemplate, time: fixedNanos };
const SNAPPY = { 'content-encoding': 'snappy' };

const ENCODINGS: Readonly<Record<Mode, Encoding>> = {
  rw1: {
    ...REMOTE_WRITE,
    headers: { ...SNAPPY, 'content-type': 'application/x-protobuf', 'x-prometheus-remote-write-version': '0.1.0' },
    template: (first_node) => writeRequest(...seriesOf(first_node)),
  },
  rw2: {
    ...REMOTE_WRITE,
    headers: {
      ...SNAPPY,
      'content-type': 'application/x-protobuf;proto=io.prometheus.write.v2.Request',
      'x-prometheus-remote-write-version': '2.0.0',
    },
    template: (first_node) => request2(...seriesOf(first_node)),
  },
  otlp: { ...OTLP, headers: { 'content-type': 'application/x-protobuf' }, pack: (body) => new Uint8Array(body) },
  'otlp-gzip': {
    ...OTLP,
    headers: { 'content-type': 'application/x-protobuf', 'content-encoding': 'gzip' },
    pack: (body) => gzipSync(body, { level: 1 }),
  },
};

export function encodingOf(mode: Mode): Pick<Encoding, 'path' | 'headers'> {
  return ENCODINGS[mode];
}

function seriesOf(first_node: number): TestSeries[] {
  const series: TestSeries[] = [];
  for (let node = first_node; node < first_node + NODES_A_REQUEST; node++)
    for (let rank = 0; rank < RANKS; rank++)
      for (let metric = 0; metric < METRICS; metric++)
        series.push({ labels: labelsOf(node, rank, metric), samples: [[AT_MS, VALUE]] });
  return series;
}

function labelsOf(node: number, rank: number, metric: number): [string, string][] {
  return [
    ['__name__', `train_step_metric_${metric}`],
    ['cluster', 'c1'],
    ['instance', `node-${node}:9100`],
    ['job', 'trainer'],
    ['rank', String(rank)],
    ['run', `run-${Math.floor(node / 12)}`],
  ];
}

function otlpTemplate(first_node: number): Uint8Array {
  const point = (node: number, rank: number): Uint8Array =>
    numberPoint({
      at_ms: AT_MS,
      value: VALUE,
      attributes: { rank: String(rank), run: `run-${Math.floor(node / 12)}` },
    });
  return otlpRequest(
    Array.from({ length: NODES_A_REQUEST }, (_, index) => first_node + index).map((node) => ({
      resource: { 'service.name': 'trainer', 'service.instance.id': `node-${node}:9100`, cluster: 'c1' },
      scope: { name: 'load' },
      metrics: Array.from({ length: METRICS }, (_, metric) => ({
        name: `train_step_metric_${metric}`,
        gauge: Array.from({ length: RANKS }, (_, rank) => point(node, rank)),
      })),
    })),
  );
}

function varint6(at_ms: number): Uint8Array {
  let rest = at_ms;
  return Uint8Array.from({ length: 6 }, (_, index) => {
    const byte = (rest % 128) | (index < 5 ? 128 : 0);
    rest = Math.floor(rest / 128);
    return byte;
  });
}

function fixedNanos(at_ms: number): Uint8Array {
  return new Uint8Array(BigUint64Array.of(nanos(at_ms)).buffer);
}

/** Makes packed requests of one group of 800 series, one sample each. */
export class RequestMaker {
  readonly #encoding: Encoding;
  readonly #body: Buffer;
  readonly #values: readonly number[];
  readonly #times: readonly number[];

  /** `group`: 0 to SERIES / SERIES_A_REQUEST − 1. */
  constructor(mode: Mode, group: number) {
    this.#encoding = ENCODINGS[mode];
    this.#body = Buffer.from(this.#encoding.template(group * NODES_A_REQUEST));
    this.#values = placesOf(this.#body, new Uint8Array(Float64Array.of(VALUE).buffer));
    this.#times = placesOf(this.#body, this.#encoding.time(AT_MS));
  }

  /** Bytes of a request and how many they unpack to; values have two decimals between 0 and 100. */
  make(at_ms: number, random: Random): { readonly packed: Uint8Array; readonly raw_bytes: number } {
    const time = this.#encoding.time(at_ms);
    for (const place of this.#values) this.#body.writeDoubleLE(Math.round(random.next() * 1e4) / 100, place);
    for (const place of this.#times) this.#body.set(time, place);
    return { packed: this.#encoding.pack(this.#body), raw_bytes: this.#body.length };
  }
}

function placesOf(body: Buffer, mark: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = body.indexOf(mark); at !== -1; at = body.indexOf(mark, at + mark.length)) places.push(at);
  if (places.length !== SERIES_A_REQUEST)
    throw new Error(`${places.length} marks in a template of ${SERIES_A_REQUEST}`);
  return places;
}
