import { expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import type { Batch } from '../../src/core/ports.ts';
import { deadLetterMessage } from '../../src/transport/kafka-dead-letter.ts';
import type { KafkaOut } from '../../src/transport/kafka-driver.ts';
import { frameMessages, readMessage } from '../../src/transport/kafka-frames.ts';
import { type KafkaLetter, kafkaLetters, replayKafkaLetter } from '../../src/transport/kafka-letters.ts';
import { steps } from '../contract/records.ts';
import { MemoryKafka } from './memory-kafka.ts';

const FRAMES = 'frames';
const DEAD = 'dead';
const signal = new AbortController().signal;

/** The frame of a batch of `rows` steps, set aside as the worker does; `spoil` changes its bytes first. */
function letter(batch: Pick<Batch, 'source' | 'sequence'>, rows: number, spoil = (bytes: Buffer) => bytes): KafkaOut {
  const [frame] = frameMessages({ ...batch, epoch: 7, records: steps(0, rows) });
  if (frame === undefined) throw new Error('a batch makes a frame');
  const value = spoil(frame.value);
  const headers = new Map([['table', Buffer.from(frame.table)]]);
  const message = { offset: 3n, key: Buffer.from(batch.source), value, headers, at_ms: 0 };
  const place = { partition: 1, offset: 3n };
  const held = readMessage(message, place, 1n);
  const header = typeof held === 'string' ? null : held.header;
  return deadLetterMessage({ ...place, message, header, code: 'LW-STORE', reason: 'type mismatch' }, DEAD, 2);
}

/** Reads all letters while the broker hands out what it holds, in `fetches` pieces a partition. */
async function read(kafka: MemoryKafka, fetches = 1): Promise<KafkaLetter[]> {
  const clock = new ManualClock();
  const reading = Array.fromAsync(kafkaLetters({ driver: kafka, topic: DEAD, group: 'g', clock, signal }));
  await new Promise((resolve) => setImmediate(resolve));
  if (kafka.members.length > 0) {
    const { handlers } = kafka.member;
    handlers.onAssigned([0, 1]);
    for (const partition of [1, 0]) {
      const all = kafka.fetch(DEAD, partition);
      for (let piece = 0; piece < fetches; piece++) {
        const size = Math.ceil(all.length / fetches);
        handlers.onMessages(partition, all.slice(piece * size, (piece + 1) * size));
      }
      handlers.onMessages(partition, all.slice(0, 1)); // after a rebalance messages come again
    }
  }
  return reading;
}

test('letters are read back with what was noted of them, from the beginning to the end, each once', async () => {
  const kafka = new MemoryKafka();
  const sent = ['a', 'b', 'c', 'd', 'e'].map((source, index) => letter({ source, sequence: index + 1 }, 10));
  await kafka.produce(DEAD, sent);
  for (const fetches of [1, 2]) {
    const found = await read(kafka, fetches);
    expect(new Set(found.map(({ message }) => message.key?.toString()))).toEqual(new Set(['a', 'b', 'c', 'd', 'e']));
    expect(found).toHaveLength(5);
    const first = found.find(({ message }) => message.key?.toString() === 'a');
    expect(first).toMatchObject({ code: 'LW-STORE', reason: 'type mismatch', table: 'step', replayed: null });
    expect(first?.frame).toMatchObject({ source: 'a', epoch: 7, sequence: 1, rows: 10 });
    expect(first?.bytes).toBe(sent[0]?.value.length);
  }
  expect(kafka.committed.size).toBe(0); // so that the next reading begins at the beginning again
  expect(kafka.members.every(({ isClosed }) => isClosed)).toBe(true);
});

test('an empty topic is read without joining a group', async () => {
  const kafka = new MemoryKafka();
  expect(await read(kafka)).toEqual([]);
  expect(kafka.members).toEqual([]);
});

test('bytes that are no frame say why, and are refused for replay', async () => {
  const kafka = new MemoryKafka();
  const spoiled = letter({ source: 'a', sequence: 1 }, 10, (bytes) => bytes.subarray(0, -1));
  await kafka.produce(DEAD, [spoiled]);
  const [found] = await read(kafka);
  expect(found?.frame).toBe(`${spoiled.value.length} bytes are no undamaged frame of step`);
  if (found === undefined) throw new Error('nothing was read');
  const topics = { frames: FRAMES, dead_letters: DEAD };
  await expect(replayKafkaLetter(kafka, found, topics)).rejects.toMatchObject({ code: 'LW-INPUT' });
  expect(kafka.topics.get(FRAMES)).toBeUndefined();
});

test('a replay is the message that the gateway sent, in its partition, and is noted', async () => {
  const kafka = new MemoryKafka();
  await kafka.produce(DEAD, [letter({ source: 'node-1', sequence: 4 }, 10)]);
  const [found] = await read(kafka);
  if (found === undefined) throw new Error('nothing was read');
  await replayKafkaLetter(kafka, found, { frames: FRAMES, dead_letters: DEAD });
  const [frame] = frameMessages({ source: 'node-1', epoch: 7, sequence: 4, records: steps(0, 10) });
  // CRC-32 of "node-1" by Python's zlib.crc32 is 334634079, odd: partition 1 of 2
  expect(kafka.topics.get(FRAMES)).toEqual([
    { partition: 1, key: Buffer.from('node-1'), value: frame?.value, headers: { table: 'step' } },
  ]);
  const after = await read(kafka);
  expect(after.map(({ replayed }) => replayed)).toEqual([null, found.id]);
});

test('a replay that Kafka does not take is not noted', async () => {
  const kafka = new MemoryKafka();
  await kafka.produce(DEAD, [letter({ source: 'node-1', sequence: 4 }, 10)]);
  const [found] = await read(kafka);
  if (found === undefined) throw new Error('nothing was read');
  kafka.fail.produce = 1;
  const topics = { frames: FRAMES, dead_letters: DEAD };
  await expect(replayKafkaLetter(kafka, found, topics)).rejects.toMatchObject({ code: 'LW-UNREACHABLE' });
  expect(kafka.topics.get(DEAD)).toHaveLength(1);
});

test('a broker that falls silent is LW-TIMEOUT, a consumer that dies its own error; both are closed', async () => {
  const kafka = new MemoryKafka();
  await kafka.produce(DEAD, [letter({ source: 'a', sequence: 1 }, 10)]);
  const clock = new ManualClock();
  const given = { driver: kafka, topic: DEAD, group: 'g', clock, signal };
  const silent = Array.fromAsync(kafkaLetters(given));
  const told = expect(silent).rejects.toMatchObject({ code: 'LW-TIMEOUT' });
  await new Promise((resolve) => setImmediate(resolve));
  await clock.advance(30_000);
  await told;
  const dying = Array.fromAsync(kafkaLetters(given));
  const died = expect(dying).rejects.toMatchObject({ code: 'LW-KAFKA-AUTH' });
  await new Promise((resolve) => setImmediate(resolve));
  kafka.member.handlers.onFailed(new LeewayError('LW-KAFKA-AUTH', 'no access'));
  await died;
  expect(kafka.members.every(({ isClosed }) => isClosed)).toBe(true);
});

test('a reading that is called off ends at once, wherever it is, and leaves the group', async () => {
  const { promise: silence } = Promise.withResolvers<void>();
  for (const silent of ['onPositions', 'onConsume', 'neither'] as const) {
    const kafka = new MemoryKafka();
    await kafka.produce(DEAD, [letter({ source: 'a', sequence: 1 }, 10)]);
    if (silent !== 'neither') kafka[silent] = () => silence;
    const stop = new AbortController();
    const given = { driver: kafka, topic: DEAD, group: 'g', clock: systemClock, signal: stop.signal };
    const ended = expect(Array.fromAsync(kafkaLetters(given))).rejects.toThrow('called off');
    await new Promise((resolve) => setImmediate(resolve));
    stop.abort(new Error('called off')); // 30 s before a silent broker would be given up
    await ended;
    expect(kafka.members.every(({ isClosed }) => isClosed)).toBe(true);
  }
});

test('a consumer whose join comes after the reading was called off is closed', async () => {
  const kafka = new MemoryKafka();
  await kafka.produce(DEAD, [letter({ source: 'a', sequence: 1 }, 10)]);
  const { promise: coordinator, resolve: answer } = Promise.withResolvers<void>();
  kafka.onConsume = () => coordinator;
  const stop = new AbortController();
  const given = { driver: kafka, topic: DEAD, group: 'g', clock: systemClock, signal: stop.signal };
  const ended = expect(Array.fromAsync(kafkaLetters(given))).rejects.toThrow('called off');
  await new Promise((resolve) => setImmediate(resolve));
  stop.abort(new Error('called off'));
  await ended;
  answer();
  await new Promise((resolve) => setImmediate(resolve));
  expect(kafka.members.map(({ isClosed }) => isClosed)).toEqual([true]);
});
