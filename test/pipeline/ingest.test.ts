import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Delivery, Store } from '../../src/core/ports.ts';
import { ingest, type IngestEvent } from '../../src/pipeline/ingest.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { steps } from '../contract/records.ts';

/** A store that answers insert as told, in turn, and remembers what it took. */
class ScriptedStore implements Store {
  readonly taken: Delivery[] = [];
  readonly #answers: Outcome[];

  constructor(answers: Outcome[]) {
    this.#answers = answers;
  }

  async insert(delivery: Delivery): Promise<Outcome> {
    const answer = this.#answers.shift() ?? ok(undefined);
    if (answer.kind === 'ok') this.taken.push(delivery);
    return answer;
  }

  async migrate(): Promise<void> {
    this.taken.length = 0;
  }

  async query(): Promise<never[]> {
    return [];
  }

  async account(): Promise<never[]> {
    return [];
  }

  async sequences(): Promise<never[]> {
    return [];
  }

  async marks(): Promise<ReadonlyMap<string, string>> {
    return new Map();
  }

  async lineageMax(): Promise<bigint> {
    return 0n;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.taken.length = 0;
  }
}

test('a delivery is trimmed when the store took it, offered again when it could not, set aside when it never will', async () => {
  await using directory = await scratchDirectory();
  const known = { sequences: [], lineage_max: 0n };
  const rows = 10_001; // of which no two batches are small enough to go together
  await using bus = await openSpool({
    data_dir: directory.path,
    bytes_max: 1e9,
    fsync: true,
    clock: systemClock,
    known,
    close_ms: 0,
    segment_rows_max: rows,
  });
  const signal = new AbortController().signal;
  for (const sequence of [1, 2, 3]) {
    const records = steps(rows * sequence, rows * (sequence + 1));
    await bus.publish({ source: 'node-1', epoch: 1, sequence, records }, signal);
  }
  await using store = new ScriptedStore([
    ok(undefined),
    retry('LW-STORE-GONE', 'restarting', 1),
    reject('LW-STORE', 'bad'),
  ]);
  const events: IngestEvent[] = [];
  const stop = new AbortController();
  await ingest(
    {
      bus,
      store,
      clock: systemClock,
      onEvent: (event) => {
        events.push(event);
        if (events.length === 4) stop.abort();
      },
    },
    stop.signal,
  );
  expect(events.map((event) => [event.outcome.kind, event.table, event.rows, event.frames])).toEqual([
    ['ok', 'step', rows, 1],
    ['retry', 'step', rows, 1],
    ['reject', 'step', rows, 1],
    ['ok', 'step', rows, 1],
  ]);
  expect(store.taken.flatMap((delivery) => delivery.frames).map((frame) => frame.sequence)).toEqual([1, 3]);
  expect(bus.backlog()).toMatchObject({ frames: 0, quarantined: [{ source: 'node-1', epoch: 1, records: rows }] });
});
