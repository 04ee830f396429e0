import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { SampleColumns } from '../../src/formats/sample-columns.ts';
import { SeriesBook } from '../../src/formats/series-book.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { frameMessages, type HeldFrame, lineageAt, readMessage } from '../../src/transport/kafka-frames.ts';
import { systemScratch, writeDelivery } from '../../src/transport/kafka-scratch.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { deliveryOf, lineage, type TestFrame } from '../contract/frames.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';
import { writeRequest } from '../formats/remote-write-messages.ts';

const signal = new AbortController().signal;

/** A frame of two samples as it is read from Kafka at offset `sequence`. */
function frameOf(sequence: number): HeldFrame {
  const columns = new SampleColumns();
  const at_ms = 1_795_000_000_000 + sequence * 1_000;
  const body = writeRequest({
    labels: [['__name__', 'm']],
    samples: [
      [at_ms, 1],
      [at_ms + 500, 2],
    ],
  });
  decodeRemoteWrite(body, { book: new SeriesBook(), columns });
  const [message] = frameMessages({ source: 'node-1', epoch: 1, sequence, records: [], samples: columns.take() });
  if (message === undefined) throw new Error('a batch of samples makes a message');
  const place = { partition: 0, offset: BigInt(sequence) };
  const headers = new Map([['table', Buffer.from(message.table)]]);
  const read = readMessage(
    { ...place, key: null, value: message.value, headers, at_ms: 0 },
    place,
    lineageAt(place, 0),
  );
  if (typeof read === 'string') throw new Error(read);
  return read;
}

test('a frame of samples that Kafka brings again in other company is not taken for a duplicate of itself', async () => {
  await using directory = await scratchDirectory();
  await using store = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  await store.migrate(signal);
  const deliver = async (stem: string, frames: readonly HeldFrame[]) => {
    const delivery = await writeDelivery(systemScratch(), path.join(directory.path, stem), frames);
    expect(await store.insert(delivery, signal)).toMatchObject({ kind: 'ok' });
  };
  const frames = [frameOf(1), frameOf(2)];
  const account = { frame_rows: 4, duplicates_absorbed: 0, stored: 4, sequences: 2 };
  await deliver('first', frames);
  expect(await store.account(signal)).toMatchObject([account]);
  await deliver('again', frames.slice(1)); // its offset was not committed
  expect(await store.account(signal)).toMatchObject([account]);
});

test('two frames of the same samples, again and again in any company: one has the rows, the other absorbs them', async () => {
  await using directory = await scratchDirectory();
  await using double = await ClickHouseDouble.start(directory.path);
  const writer = { username: 'writer', readPassword: async () => 'w' };
  const common = { url: double.url, database: 'leeway', cluster: null, clock: systemClock } as const;
  await using server = await openClickHouseStore({ ...common, writer });
  await using embedded = await openEmbeddedStore({ data_dir: directory.path, clock: systemClock });
  const samples = [1, 2, 3].map((second) => ({ id: 7n, at_ms: 1_795_000_000_000 + second * 1_000, value: second }));
  const frameOfStream = (stream: number, source: string): TestFrame => ({
    lineage: lineage(stream, 1),
    source,
    sequence: 1,
    samples,
  });
  const a = frameOfStream(0, 'a'); // accepted first: rows of b are beaten by it, and stay until they are merged
  const b = frameOfStream(1, 'b');
  for (const store of [server, embedded]) {
    await store.insert(await deliveryOf(directory.path, 'samples', [b]), signal);
    for (const frames of [[a, b], [a], [b], [a, b], [b], [a]]) {
      const outcome = await store.insert(await deliveryOf(directory.path, 'samples', frames), signal);
      expect(outcome).toMatchObject({ kind: 'ok' });
      const accounts = (await store.account(signal)).toSorted((one, other) => (one.source < other.source ? -1 : 1));
      expect(accounts, frames.map(({ source }) => source).join(' and ')).toMatchObject([
        { source: 'a', frame_rows: 3, duplicates_absorbed: 0, stored: 3 },
        { source: 'b', frame_rows: 3, duplicates_absorbed: 3, stored: 0 },
      ]);
    }
  }
});
