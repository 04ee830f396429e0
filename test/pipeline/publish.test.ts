import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { LIMITS } from '../../src/core/limits.ts';
import type { Batch, Bus } from '../../src/core/ports.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { admit, NumberedSender, Publisher } from '../../src/pipeline/publish.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { steps, stepRecord } from '../contract/records.ts';

/** A bus that keeps batches in memory and refuses while `full` says so. */
class MemoryBus implements Bus {
  readonly batches: Batch[] = [];
  full = false;

  async publish(batch: Batch): Promise<{ repeated: boolean }> {
    if (this.full) throw new LeewayError('LW-SPOOL-FULL', 'spool full');
    this.batches.push(batch);
    return { repeated: false };
  }

  async consume(): Promise<void> {
    throw new Error('not consumed');
  }

  backlog(): ReturnType<Bus['backlog']> {
    return { bytes: 0, frames: 0, oldest_ms: 0, in_flight: [], torn_frames: 0, damaged_frames: 0, quarantined: [] };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.batches.length = 0;
  }
}

const signal = new AbortController().signal;

test('every line is accepted or rejected alone, with its number, code and reason', () => {
  const good = JSON.stringify(stepRecord(1));
  const admitted = admit(`${good}\n\nnot json\r\n{"type":"nothing"}\n{"type":"step","job":"j"}\n${good}`);
  expect(admitted.accepted).toBe(2);
  expect(admitted.records).toEqual([stepRecord(1), stepRecord(1)]);
  expect(admitted.rejected.map(({ line, code }) => [line, code])).toEqual([
    [3, 'LW-RECORD-JSON'],
    [4, 'LW-RECORD-TYPE'],
    [5, 'LW-RECORD-FIELD'],
  ]);
  expect(admitted.rejected_by_code).toEqual({ 'LW-RECORD-JSON': 1, 'LW-RECORD-TYPE': 1, 'LW-RECORD-FIELD': 1 });
  expect(admit('')).toEqual({ records: [], accepted: 0, rejected: [], rejected_by_code: {} });
});

test('rejected lines are listed up to the limit and counted beyond it', () => {
  const admitted = admit('x\n'.repeat(LIMITS.rejected_listed_max + 50));
  expect(admitted.rejected).toHaveLength(LIMITS.rejected_listed_max);
  expect(admitted.rejected_by_code).toEqual({ 'LW-RECORD-JSON': LIMITS.rejected_listed_max + 50 });
});

test('numbers are given out without gaps even when the bus refuses', async () => {
  const bus = new MemoryBus();
  const sender = new NumberedSender({ bus, source: 'api', epoch: 9 });
  await sender.send({ records: steps(0, 1) }, signal);
  bus.full = true;
  await expect(sender.send({ records: steps(1, 2) }, signal)).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
  bus.full = false;
  await sender.send({ records: steps(2, 3) }, signal);
  await sender.send({ records: steps(3, 4) }, signal);
  expect(bus.batches.map(({ source, epoch, sequence }) => [source, epoch, sequence])).toEqual([
    ['api', 9, 1],
    ['api', 9, 2],
    ['api', 9, 3],
  ]);
});

test('a publisher moves what is offered in order, in batches of at most its limit', async () => {
  const bus = new MemoryBus();
  const publisher = new Publisher({ bus, source: 'host', epoch: 1, clock: new ManualClock(), batch_records_max: 3 });
  const stop = new AbortController();
  const running = publisher.run(stop.signal);
  publisher.offer(steps(0, 5));
  publisher.offer(steps(5, 7));
  stop.abort();
  await running;
  expect(bus.batches.map((batch) => batch.records.length)).toEqual([3, 3, 1]);
  expect(bus.batches.flatMap((batch) => batch.records)).toEqual(steps(0, 7));
  expect(publisher.counts()).toMatchObject({ emitted: 7, durable: 7, waiting: 0, declared_loss: { buffer_full: 0 } });
});

test('while the bus refuses, the oldest are dropped and declared; the batch in hand is kept and sent again', async () => {
  const bus = new MemoryBus();
  bus.full = true;
  const clock = new ManualClock();
  const options = { bus, source: 'host', epoch: 1, clock, batch_records_max: 2, buffer_records_max: 4, retry_ms: 100 };
  const publisher = new Publisher(options);
  const stop = new AbortController();
  const running = publisher.run(stop.signal);
  publisher.offer(steps(0, 2));
  await clock.advance(100);
  expect(publisher.counts()).toMatchObject({ emitted: 2, durable: 0, waiting: 2 });
  publisher.offer(steps(2, 9)); // seven more where four fit: 2, 3 and 4 go
  expect(publisher.counts()).toMatchObject({ emitted: 9, waiting: 6, declared_loss: { buffer_full: 3 } });
  bus.full = false;
  await clock.advance(100);
  stop.abort();
  await running;
  expect(bus.batches.flatMap((batch) => batch.records)).toEqual([...steps(0, 2), ...steps(5, 9)]);
  const { emitted, durable, waiting, declared_loss } = publisher.counts();
  expect(emitted).toBe(durable + waiting + declared_loss.buffer_full);
});

test('at shutdown against a bus that refuses, what is left stays counted as waiting', async () => {
  const bus = new MemoryBus();
  bus.full = true;
  const publisher = new Publisher({ bus, source: 'host', epoch: 1, clock: new ManualClock() });
  const stop = new AbortController();
  const running = publisher.run(stop.signal);
  publisher.offer(steps(0, 3));
  stop.abort();
  await running;
  expect(publisher.counts()).toMatchObject({ emitted: 3, durable: 0, waiting: 3 });
});

test('a publisher over a spool leaves durable batches behind', async () => {
  await using directory = await scratchDirectory();
  const clock = new ManualClock();
  const known = { sequences: [], lineage_max: 0n };
  await using bus = await openSpool({ data_dir: directory.path, bytes_max: 1e9, fsync: true, clock, known });
  const publisher = new Publisher({ bus, source: 'host', epoch: 1, clock });
  const stop = new AbortController();
  const running = publisher.run(stop.signal);
  publisher.offer(steps(0, 3));
  stop.abort();
  await running;
  expect(bus.backlog().in_flight).toMatchObject([{ source: 'host', epoch: 1, records: 3 }]);
});

test('the number of a batch whose caller went away is not given to another batch while the bus has it', async () => {
  const bus = new MemoryBus();
  const { promise: written, resolve: write } = Promise.withResolvers<void>();
  const slow: Bus = {
    publish: async (batch) => {
      await written;
      return bus.publish(batch);
    },
    consume: () => bus.consume(),
    backlog: () => bus.backlog(),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
  };
  const sender = new NumberedSender({ bus: slow, source: 'tool', epoch: 3 });
  const gone = new AbortController();
  const first = sender.send({ records: steps(1, 2) }, gone.signal);
  gone.abort(new Error('the client went away'));
  await expect(first).rejects.toThrow('the client went away');
  const second = sender.send({ records: steps(2, 3) }, signal);
  write();
  await second;
  expect(bus.batches.map(({ sequence, records }) => [sequence, records])).toEqual([
    [1, steps(1, 2)],
    [2, steps(2, 3)],
  ]);
});
