import { ManualClock, systemClock } from '../../../src/core/clock.ts';
import type { Bus } from '../../../src/core/ports.ts';
import { seededRandom } from '../../../src/core/random.ts';
import { decodeRemoteWrite } from '../../../src/formats/remote-write.ts';
import { ingest } from '../../../src/pipeline/ingest.ts';
import { OpenIngest } from '../../../src/pipeline/open-ingest.ts';
import { openEmbeddedStore } from '../../../src/store/embedded.ts';
import { openSpool } from '../../../src/transport/spool.ts';
import { series1 } from '../../formats/remote-write-messages.ts';
import { joined } from '../../formats/protobuf-writer.ts';
import { cpuSeconds } from '../process-figures.ts';
import { hashSql } from './checksum.ts';
import type { Chunk, Series } from './corpus.ts';

/** A sample at the end of its series' message: tag and 8 bytes of value, tag and 6 bytes of time. */
const VALUE_BEFORE_END = 15;
const TIME_BEFORE_END = 6;
/** Frames that wait for the store: 25 MB of bodies. */
const FRAMES_MAX = 240;

export type Loaded = { readonly samples: number; readonly child_cpu_s: number; readonly inserts: number };

/** The samples table of the store, with what is listed beside it. */
export const SAMPLES_TABLE = 'leeway.samples';
export const BESIDE = [
  'leeway.series',
  'leeway.frames',
  'leeway.samples_1m',
  'leeway.samples_1h',
  'leeway.samples_dirty',
];

/** Counts and hashes of what the store gives back, by series. */
export const SUMS = `SELECT metric, uuid, count() AS n, ${hashSql('value', 'toUnixTimestamp64Milli(at)')} AS hash
FROM leeway.samples FINAL INNER JOIN (SELECT id, metric, JSONExtractString(labels, 'uuid') AS uuid FROM leeway.series FINAL) AS list USING id
GROUP BY metric, uuid`;

/** One request of remote write a tick, made once and patched: what a scrape of all targets sends. */
class TickBody {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #ends: readonly number[];

  constructor(series: readonly Series[], at_ms: number) {
    const parts = series.map(({ metric, labels }) =>
      series1({ labels: [['__name__', metric.name], ...Object.entries(labels)], samples: [[at_ms, 1]] }),
    );
    this.#bytes = Uint8Array.from(joined(...parts));
    this.#view = new DataView(this.#bytes.buffer);
    let end = 0;
    this.#ends = parts.map((part) => (end += part.length));
  }

  /** Tick `tick` of the chunk; valid until the next call. */
  of(chunk: Chunk, tick: number): Uint8Array {
    const first = tick * this.#ends.length;
    for (const [number, end] of this.#ends.entries()) {
      this.#view.setFloat64(end - VALUE_BEFORE_END, chunk.value[first + number] as number, true); // a row of the chunk
      let rest = Number(chunk.at_ms[first + number]);
      for (let index = 0; index < 6; index++, rest = Math.floor(rest / 128))
        this.#bytes[end - TIME_BEFORE_END + index] = (rest % 128) | (index < 5 ? 128 : 0);
    }
    return this.#bytes;
  }
}

export type LoadOptions = {
  readonly data_dir: string;
  readonly series: readonly Series[];
  readonly start_ms: number;
  /** Ticks that the spool's segments hold: one insert and one lineage each. */
  readonly segment_ticks: number;
};

/**
 * Sends the chunks through the service's own path: remote write decoder, spool, embedded store, roll-ups. Only the
 * clock by which a sample may not be older than a day is the corpus' own.
 */
export async function loadLeeway(options: LoadOptions, chunks: Iterable<Chunk>): Promise<Loaded> {
  const { data_dir, series, start_ms, segment_ticks } = options;
  let child = 0;
  await using store = await openEmbeddedStore({
    data_dir,
    clock: systemClock,
    onEvent: ({ reason }) => {
      child = Number(/process (\d+)/.exec(reason)?.[1] ?? child);
    },
  });
  await using bus = await openSpool({
    data_dir,
    bytes_max: 8e9,
    fsync: true,
    clock: systemClock,
    known: { sequences: [], lineage_max: 0n },
    segment_rows_max: segment_ticks * series.length,
  });
  const stop = new AbortController();
  let [stored, inserts, failure] = [0, 0, ''];
  const onEvent: Parameters<typeof ingest>[0]['onEvent'] = ({ outcome, table, rows }) => {
    if (outcome.kind !== 'ok') failure = outcome.reason;
    if (table !== 'samples') return;
    stored += rows;
    inserts++;
  };
  const running = ingest({ bus, store, clock: systemClock, onEvent }, stop.signal);
  const before_s = cpuSeconds(child);
  const samples = await send({ bus, series, start_ms, segment_ticks }, chunks);
  while ((stored < samples || bus.backlog().frames > 0) && failure === '') await systemClock.sleep(20, stop.signal);
  stop.abort();
  await running;
  if (failure !== '') throw new Error(failure);
  const child_cpu_s = cpuSeconds(child) - before_s;
  while ((await store.rollUp(systemClock.now_ms(), new AbortController().signal)).left > 0);
  return { samples, child_cpu_s, inserts };
}

type SendOptions = Omit<LoadOptions, 'data_dir'> & { readonly bus: Bus };

async function send({ bus, series, start_ms, segment_ticks }: SendOptions, chunks: Iterable<Chunk>): Promise<number> {
  const { signal } = new AbortController();
  const clock = new ManualClock(start_ms);
  const door = new OpenIngest({ bus, clock, random: seededRandom(1), epoch: 1, onSetAside: () => undefined });
  const body = new TickBody(series, start_ms);
  let samples = 0;
  for (const chunk of chunks)
    for (let first = 0; first < chunk.ticks; first += segment_ticks) {
      const ticks = Math.min(segment_ticks, chunk.ticks - first);
      // a body is decoded before `take` returns its promise
      const taking = Array.from({ length: ticks }, (_, tick) =>
        door.take(
          { source: 'remote-write', identity: null },
          (target) => decodeRemoteWrite(body.of(chunk, first + tick), target),
          signal,
        ),
      );
      for (const taken of await Promise.all(taking)) samples += taken.samples_count;
      while (bus.backlog().frames > FRAMES_MAX) await systemClock.sleep(5, signal);
    }
  return samples;
}
