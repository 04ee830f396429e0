import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { SampleColumns } from '../../src/formats/sample-columns.ts';
import { SeriesBook } from '../../src/formats/series-book.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { frameMessages, type HeldFrame, lineageAt, readMessage } from '../../src/transport/kafka-frames.ts';
import { systemScratch, writeDelivery } from '../../src/transport/kafka-scratch.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
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
