import { openSqliteControl } from '../../src/control/sqlite.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Bus, Control, Store } from '../../src/core/ports.ts';
import { normal, type Random } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { ingest } from '../../src/pipeline/ingest.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const signal = new AbortController().signal;

/** Bus, embedded store and control store in a directory of their own, with the ingest loop running. */
export type LiveStore = AsyncDisposable & {
  readonly store: Store;
  readonly bus: Bus;
  readonly control: Control;
  /** Resolves when the records are in the store. Each call is a batch of `source`. */
  readonly put: (records: readonly LeewayRecord[], source?: string) => Promise<void>;
};

/** Opens one; tests of a file share it and keep apart by model and job. */
export async function openLiveStore(): Promise<LiveStore> {
  const resources = new AsyncDisposableStack();
  const { path: data_dir } = resources.use(await scratchDirectory());
  const store = resources.use(await openEmbeddedStore({ data_dir, clock: systemClock }));
  const known = { sequences: [], lineage_max: 0n };
  const spool = { data_dir, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 1 };
  const bus = resources.use(await openSpool(spool));
  const control = resources.use(await openSqliteControl({ data_dir, clock: systemClock }));
  const stop = new AbortController();
  let waiting: (() => void)[] = [];
  let stored = 0;
  const loop = ingest(
    {
      bus,
      store,
      clock: systemClock,
      onEvent: ({ rows }) => {
        stored += rows;
        const woken = waiting;
        waiting = [];
        for (const wake of woken) wake();
      },
    },
    stop.signal,
  );
  resources.defer(async () => {
    stop.abort();
    await loop;
  });
  const sequences = new Map<string, number>();
  let due = 0;
  return {
    store,
    bus,
    control,
    put: async (records, source = 'test') => {
      const sequence = (sequences.get(source) ?? 0) + 1;
      sequences.set(source, sequence);
      due += records.length;
      const until = due;
      await bus.publish({ source, epoch: 1, sequence, records }, signal);
      while (stored < until) await new Promise<void>((resolve) => waiting.push(resolve));
    },
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
}

export type Traffic = {
  readonly model: string;
  readonly version: string;
  readonly from_ms: number;
  readonly rows: number;
  readonly every_ms: number;
  readonly random: Random;
  /** Added to feature `x`, in its standard deviations. */
  readonly shift?: number;
  /** Share of the answers that are right; with it every prediction gets its label. */
  readonly accuracy?: number;
};

/** Predictions at an even rate with a normal feature `x`, a uniform `y` and a category, with labels where asked. */
export function traffic(of: Traffic): LeewayRecord[] {
  const { model, version, from_ms, every_ms, random } = of;
  return Array.from({ length: of.rows }, (_, index) => {
    const at_ms = from_ms + index * every_ms;
    const request_id = `${version}-${at_ms}`;
    const kind = random.next() < 0.7 ? 'a' : 'b';
    const features = { x: normal(random) + (of.shift ?? 0), y: random.next(), kind };
    const prediction: LeewayRecord = { type: 'prediction', model, version, request_id, at_ms, features, prediction: 7 };
    if (of.accuracy === undefined) return [prediction];
    const label = random.next() < of.accuracy ? 7 : 3;
    return [prediction, { type: 'label', model, request_id, at_ms, label } satisfies LeewayRecord];
  }).flat();
}
