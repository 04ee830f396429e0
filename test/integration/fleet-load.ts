import type { Member } from './fleet-place.ts';
import { pause } from './running-service.ts';
import { writeRequest } from '../formats/remote-write-messages.ts';
import { literalSnappy } from '../formats/snappy-writer.ts';

/** What a load is made of: `sources` senders, each one request a tick with one sample of each of its series. */
export type LoadOptions = {
  readonly sources: number;
  readonly series: number;
  readonly ticks: number;
  readonly start_ms: number;
  readonly step_ms: number;
  readonly seed: number;
};

/** What the store must hold: rows, the sum of their tenths, and the same weighted by tick, so that a swap shows. */
export type Totals = { rows: number; tenths: bigint; weighted: bigint };

export const EPOCH = 7;
/** Weights of ticks are tick modulo this. */
export const WEIGHTS = 1_009;
/** Tenths lie within ±500,000 and every value of them is met. */
const TENTHS = 1_000_003;

export function sourceName(index: number): string {
  return `prom-${index}`;
}

/** The value of a series at a tick, in tenths: exact as a decimal, so that sums can be compared to the last digit. */
function tenthsOf(series: number, tick: number, seed: number): number {
  return ((series * 7_919 + tick * 104_729 + seed * 31) % TENTHS) - 500_000;
}

/**
 * Remote write bodies of one source, made once and then filled in: encoding by the tests' own writer would cost more than
 * what is measured. A time of six varint bytes lasts until the year 2109.
 */
class BodyTemplate {
  readonly #bytes: Buffer;
  readonly #values: readonly number[];
  readonly #options: LoadOptions;

  constructor(source: number, options: LoadOptions) {
    this.#options = options;
    const marker = 0x7ff8dead00000000n;
    const series = Array.from({ length: options.series }, (_, index) => ({
      labels: [
        ['__name__', 'load_tenths'],
        ['instance', sourceName(source)],
        ['n', String(index)],
      ] as const,
      samples: [[options.start_ms, marker + BigInt(index)] as const],
    }));
    this.#bytes = Buffer.from(writeRequest(...series));
    this.#values = series.map((_, index) => {
      const bits = Buffer.alloc(8);
      bits.writeBigUInt64LE(marker + BigInt(index));
      return this.#bytes.indexOf(bits);
    });
  }

  /** The body of one tick, and what it adds to `totals`. */
  at(tick: number, totals: Totals): Uint8Array<ArrayBuffer> {
    const { start_ms, step_ms, seed } = this.#options;
    const time = varint6(start_ms + tick * step_ms);
    let sum = 0;
    for (const [index, place] of this.#values.entries()) {
      const tenths = tenthsOf(index, tick, seed);
      sum += tenths;
      this.#bytes.writeDoubleLE(tenths / 10, place);
      time.copy(this.#bytes, place + 9); // the value's eight bytes, then the tag of the time
    }
    totals.rows += this.#values.length;
    totals.tenths += BigInt(sum);
    totals.weighted += BigInt(sum) * BigInt(tick % WEIGHTS);
    return literalSnappy(this.#bytes);
  }
}

function varint6(value: number): Buffer {
  const bytes = Buffer.alloc(6);
  let rest = value;
  for (let index = 0; index < 6; index++) {
    bytes[index] = (rest % 128) | (index < 5 ? 128 : 0);
    rest = Math.floor(rest / 128);
  }
  return bytes;
}

/** A load under way: `sent` counts samples that were acknowledged, `attempts` requests, repeats included. */
export type Load = {
  readonly sent: () => number;
  readonly attempts: () => number;
  /** What was acknowledged in the end, and must be stored. */
  readonly done: Promise<Totals>;
};

const REQUEST_MS_MAX = 40_000;
const AGAIN_MS = 100;

/**
 * Senders that repeat each batch until a gateway has acknowledged it, going round the gateways. `allowed` says how many
 * samples may be sent by now: what paces the load.
 */
export function startLoad(options: LoadOptions, gateways: readonly Member[], allowed: () => number): Load {
  const totals: Totals = { rows: 0, tenths: 0n, weighted: 0n };
  const state = { sent: 0, attempts: 0 };
  const sendTick = async (source: number, sequence: number, body: Uint8Array<ArrayBuffer>): Promise<void> => {
    for (let attempt = 0; ; attempt++) {
      state.attempts++;
      const gateway = gateways[(source + attempt) % gateways.length];
      const status = await postBody(gateway?.url ?? '', { source, sequence, body });
      if (status === 204) break;
      if (status >= 400 && status < 500 && status !== 429) throw new Error(`refused with ${status}`);
      await pause(AGAIN_MS);
    }
    state.sent += options.series;
  };
  const sender = async (source: number): Promise<void> => {
    const template = new BodyTemplate(source, options);
    for (let tick = 0; tick < options.ticks; tick++) {
      while (state.sent >= allowed()) await pause(20);
      await sendTick(source, tick + 1, template.at(tick, totals));
    }
  };
  const done = Promise.all(Array.from({ length: options.sources }, (_, source) => sender(source))).then(() => totals);
  return { sent: () => state.sent, attempts: () => state.attempts, done };
}

type Request = { readonly source: number; readonly sequence: number; readonly body: Uint8Array<ArrayBuffer> };

/** The status, 0 when there was no answer: the batch may or may not be in Kafka. */
async function postBody(url: string, { source, sequence, body }: Request): Promise<number> {
  const headers = {
    'content-type': 'application/x-protobuf',
    'content-encoding': 'snappy',
    'x-leeway-source': sourceName(source),
    'x-leeway-epoch': String(EPOCH),
    'x-leeway-sequence': String(sequence),
  };
  try {
    const signal = AbortSignal.timeout(REQUEST_MS_MAX);
    const answer = await fetch(`${url}/api/v1/write`, { method: 'POST', headers, body, signal });
    await answer.text();
    return answer.status;
  } catch {
    return 0; // the gateway is down or was killed: the batch is sent again
  }
}
