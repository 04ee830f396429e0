import { crc32 } from 'node:zlib';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Batch } from '../../src/core/ports.ts';
import { frameAt } from '../../src/transport/frame.ts';
import type { KafkaOut } from '../../src/transport/kafka-driver.ts';
import { FrameProducer, type FrameProducerOptions } from '../../src/transport/kafka-producer.ts';
import { stepRecord } from '../contract/records.ts';
import { MemoryKafka } from './memory-kafka.ts';

const TOPIC = 'frames';
const never = new AbortController().signal;

function workplace(changes: Partial<FrameProducerOptions> = {}) {
  const kafka = new MemoryKafka();
  const producer = new FrameProducer({
    driver: kafka,
    topic: TOPIC,
    partitions: 6,
    clock: systemClock,
    in_flight_bytes_max: 1e8,
    publish_timeout_ms: 10_000,
    onEvent: () => undefined,
    ...changes,
  });
  return { kafka, producer };
}

function batch(source: string, sequence: number, note = ''): Batch {
  const record = { ...stepRecord(sequence), note };
  return { source, epoch: 1, sequence, records: [record] };
}

/** Source and sequence of messages. */
function named(messages: readonly KafkaOut[] = []): string[] {
  return messages.map(({ value }) => {
    const header = frameAt(value, 0, 'step')?.header;
    return `${header?.source} ${header?.sequence}`;
  });
}

test('what is published during a call goes into the next one, in order', async () => {
  const { kafka, producer } = workplace();
  await Promise.all([1, 2, 3].map((sequence) => producer.publish(batch('a', sequence), never)));
  const first = producer.publish(batch('a', 4), never);
  await Promise.resolve();
  await Promise.all([first, producer.publish(batch('a', 5), never), producer.publish(batch('b', 1), never)]);
  expect(named(kafka.topics.get(TOPIC))).toEqual(['a 1', 'a 2', 'a 3', 'a 4', 'a 5', 'b 1']);
  expect(kafka.calls.length).toBeLessThanOrEqual(3);
});

test('a source keeps its partition: the CRC-32 of its name modulo the partitions', async () => {
  const { kafka, producer } = workplace();
  for (const source of ['node-1', 'node-2', 'Ωmega']) await producer.publish(batch(source, 1), never);
  expect(kafka.topics.get(TOPIC)?.map(({ partition }) => partition)).toEqual(
    ['node-1', 'node-2', 'Ωmega'].map((source) => crc32(Buffer.from(source)) % 6),
  );
});

test('a call that failed is repeated with exactly its messages before anything else is sent', async () => {
  const { kafka, producer } = workplace();
  kafka.fail.produce = 2;
  const first = producer.publish(batch('a', 1), never);
  kafka.onProduce = async () => {
    kafka.onProduce = () => Promise.resolve();
    await Promise.resolve();
    void producer.publish(batch('a', 2), never);
  };
  await first;
  await producer.publish(batch('a', 3), never);
  expect(kafka.calls.slice(0, 3).map(named)).toEqual([['a 1'], ['a 1'], ['a 1']]);
  expect(kafka.calls[0]).toEqual(kafka.calls[2]);
  expect(named(kafka.topics.get(TOPIC))).toEqual(['a 1', 'a 2', 'a 3']);
});

/** Of 6 partitions: 334,634,079 % 6 = 3, 2,331,725,285 % 6 = 5 and 4,261,182,835 % 6 = 1. */
const [first, second, third] = ['node-1', 'node-2', 'node-3'];

test('a partition without a leader holds up its own sources only, and has the others repeated once', async () => {
  const { kafka, producer } = workplace();
  let hasLeader = false;
  kafka.onProduce = (messages) =>
    messages.some(({ partition }) => partition === crc32(Buffer.from(first)) % 6) && !hasLeader
      ? Promise.reject(new LeewayError('LW-UNREACHABLE', 'LEADER_NOT_AVAILABLE'))
      : Promise.resolve();
  let acknowledged = 0;
  const held = [1, 2, 3].map((sequence) => producer.publish(batch(first, sequence), never).then(() => acknowledged++));
  for (let sequence = 1; sequence <= 20; sequence++) {
    await Promise.all([second, third].map((source) => producer.publish(batch(source, sequence), never)));
    if (sequence === 10) held.push(producer.publish(batch(first, 4), never).then(() => acknowledged++));
  }
  expect(acknowledged).toBe(0);
  for (const source of [second, third])
    for (let sequence = 1; sequence <= 20; sequence++) {
      const copies = kafka.calls.filter((call) => named(call).includes(`${source} ${sequence}`)).length;
      expect(copies, `calls with ${source} ${sequence}`).toBe(sequence === 1 ? 2 : 1);
    }
  hasLeader = true;
  await Promise.all(held);
  const stored = named(kafka.topics.get(TOPIC));
  expect(stored.filter((name) => name.startsWith(first))).toEqual(
    [1, 2, 3, 4].map((sequence) => `${first} ${sequence}`),
  );
  expect([producer.bytes, producer.frames]).toEqual([0, 0]);
});

test('a partition whose batches were all given back is still tried alone, until it takes something', async () => {
  const { kafka, producer } = workplace({ publish_timeout_ms: 0 });
  kafka.onProduce = (messages) =>
    messages.some(({ partition }) => partition === crc32(Buffer.from(first)) % 6)
      ? Promise.reject(new LeewayError('LW-UNREACHABLE', 'LEADER_NOT_AVAILABLE'))
      : Promise.resolve();
  await expect(producer.publish(batch(first, 1), never)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
  const results = await Promise.allSettled([
    producer.publish(batch(first, 2), never),
    producer.publish(batch(second, 1), never),
  ]);
  expect(results.map(({ status }) => status)).toEqual(['rejected', 'fulfilled']);
  expect(kafka.calls.map(named)).toEqual([[`${first} 1`], [`${second} 1`], [`${first} 2`]]);
});

test('what lies behind a failure keeps its order, also where a message is too large', async () => {
  const { kafka, producer } = workplace();
  let failures = 1;
  kafka.onProduce = (messages) => {
    const names = named(messages);
    if (names.includes(`${first} 4`)) return Promise.reject(new LeewayError('LW-BODY-SIZE', 'too large'));
    if (names.includes(`${first} 1`) && failures-- > 0)
      return Promise.reject(new LeewayError('LW-UNREACHABLE', 'no leader'));
    return Promise.resolve();
  };
  const sequences = [1, 2, 3, 4];
  const results = await Promise.allSettled(
    sequences.map((sequence) => producer.publish(batch(first, sequence), never)),
  );
  expect(results.map(({ status }) => status)).toEqual(['fulfilled', 'fulfilled', 'fulfilled', 'rejected']);
  expect(named(kafka.topics.get(TOPIC))).toEqual([1, 2, 3].map((sequence) => `${first} ${sequence}`));
});

test('a call holds at most 0.9 MiB a partition, so that no record batch passes the 1 MiB that brokers take', async () => {
  const { kafka, producer } = workplace({ partitions: 1 });
  const note = 'x'.repeat(400_000); // two fit: 2 · 400 kB < 943,718 < 3 · 400 kB
  await Promise.all([1, 2, 3, 4, 5].map((sequence) => producer.publish(batch('a', sequence, note), never)));
  expect(kafka.calls.map(named)).toEqual([['a 1', 'a 2'], ['a 3', 'a 4'], ['a 5']]);
});

test('nothing overtakes within a partition, while another partition goes on', async () => {
  const { kafka, producer } = workplace({ partitions: 6 });
  const note = 'x'.repeat(500_000);
  const [a, b] = ['node-1', 'node-2']; // of different partitions, see above
  await Promise.all([
    producer.publish(batch(a, 1, note), never),
    producer.publish(batch(a, 2, note), never),
    producer.publish(batch(a, 3), never),
    producer.publish(batch(b, 1), never),
  ]);
  expect(kafka.calls.map(named)).toEqual([
    [`${a} 1`, `${b} 1`],
    [`${a} 2`, `${a} 3`],
  ]);
});

test('one message too large for the topic is refused alone, found by halves', async () => {
  const { kafka, producer } = workplace({ partitions: 1 });
  kafka.onProduce = (messages) =>
    named(messages).includes('a 5') ? Promise.reject(new LeewayError('LW-BODY-SIZE', 'too large')) : Promise.resolve();
  const sequences = [1, 2, 3, 4, 5, 6, 7, 8];
  const results = await Promise.allSettled(sequences.map((sequence) => producer.publish(batch('a', sequence), never)));
  expect(results.map((result) => result.status === 'fulfilled')).toEqual(sequences.map((sequence) => sequence !== 5));
  expect(named(kafka.topics.get(TOPIC))).toEqual(['a 1', 'a 2', 'a 3', 'a 4', 'a 6', 'a 7', 'a 8']);
  expect([producer.bytes, producer.frames, producer.tally.list()]).toEqual([0, 0, []]);
});

test('the same batch published twice at once is sent once, and the second one is told that it is a repeat', async () => {
  const { kafka, producer } = workplace();
  const results = await Promise.all([1, 2].map(() => producer.publish(batch('a', 1), never)));
  expect(results).toEqual([{ repeated: false }, { repeated: true }]);
  expect(kafka.calls).toHaveLength(1);
});

test('a publisher that gives up waiting is let go; its bytes are accounted until Kafka has answered', async () => {
  const { kafka, producer } = workplace();
  const { promise, resolve: answer } = Promise.withResolvers<void>();
  kafka.onProduce = () => promise;
  const patience = new AbortController();
  const published = producer.publish(batch('a', 1), patience.signal);
  patience.abort(new Error('impatient'));
  await expect(published).rejects.toThrow('impatient');
  expect(producer.tally.list()).toEqual([{ source: 'a', epoch: 1, records: 1 }]);
  answer();
  await producer.close(1_000);
  expect(producer.tally.list()).toEqual([]);
  expect(named(kafka.topics.get(TOPIC))).toEqual(['a 1']);
});

test('closing lets what is on its way arrive, gives the rest back and takes nothing more', async () => {
  const { kafka, producer } = workplace();
  kafka.fail.produce = 1_000;
  const stuck = producer.publish(batch('a', 1), never);
  const given = expect(stuck).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
  await producer.close(50);
  await given;
  await expect(producer.publish(batch('a', 2), never)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
  expect(producer.bytes).toBe(0);
});

test('after its time a batch is given back by the reason that Kafka gave', async () => {
  const { kafka, producer } = workplace({ publish_timeout_ms: 0 });
  kafka.onProduce = () => Promise.reject(new LeewayError('LW-KAFKA-AUTH', 'no access'));
  await expect(producer.publish(batch('a', 1), never)).rejects.toMatchObject({ code: 'LW-KAFKA-AUTH' });
  kafka.onProduce = () => Promise.reject(new LeewayError('LW-UNREACHABLE', 'gone'));
  await expect(producer.publish(batch('a', 2), never)).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
});
