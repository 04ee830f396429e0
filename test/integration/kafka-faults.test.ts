import { spawn } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { LeewayError } from '../../src/core/errors.ts';
import { ok, reject, retry } from '../../src/core/outcome.ts';
import type { Batch, Bus, FrameHeader } from '../../src/core/ports.ts';
import { scanFrames } from '../../src/transport/frame.ts';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import { stepRecord, steps } from '../contract/records.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, kafkaSubject, readTopic, sequencesBySource, until } from './kafka-subject.ts';

const why = whyNoKafka();
const DRIVERS = ['kafkajs', 'platformatic'] as const;
const signal = new AbortController().signal;

const one = (source: string, sequence: number): Batch => ({
  source,
  epoch: 1,
  sequence,
  records: [stepRecord(sequence)],
});

/** Sends sequences from..count of a source, each again until it is acknowledged. */
async function sendAll(bus: Bus, source: string, count: number, onAck: () => void, from = 1): Promise<void> {
  for (let sequence = from; sequence <= count; ) {
    try {
      await bus.publish(one(source, sequence), signal);
      onAck();
      sequence++;
    } catch (error) {
      if (!(error instanceof LeewayError)) throw error;
      await sleep(50);
    }
  }
}

/** Whether a write was acknowledged. */
function isWritten(write: Promise<void>): Promise<boolean> {
  return write.then(
    () => true,
    () => false,
  );
}

test.skipIf(why === null)(`SKIPPED, faults of Kafka are not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('Kafka bus under faults', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await startKafka();
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  for (const driver of DRIVERS) {
    const subject = () => kafkaSubject(kafkaOptions(cluster.brokers, driver));

    test(`${driver}: a worker killed after the rows were stored and before the commit: they come again, the same`, async () => {
      await using place = await subject();
      await using bus = await place.open();
      for (const sequence of [1, 2, 3]) await bus.publish(one('node-1', sequence), signal);
      const host = path.join(import.meta.dirname, 'kafka-consumer-host.ts');
      const { topic_prefix = '', scratch_dir } = place.options;
      const child = spawn(process.execPath, [host, driver, cluster.brokers[0] ?? '', topic_prefix, scratch_dir], {
        stdio: ['ignore', 'pipe', 'inherit'],
      });
      let stored = '';
      child.stdout.on('data', (bytes: Buffer) => (stored += bytes.toString()));
      const ended = await new Promise<[number | null, string | null]>((resolve) =>
        child.once('close', (code, name) => resolve([code, name])),
      );
      expect(ended).toEqual([null, 'SIGKILL']);
      const reader = consuming(bus);
      await until('three frames', () => reader.frames.length >= 3);
      await reader.end();
      const again = reader.frames.map((frame) => `${frame.sequence} ${frame.lineage}\n`).join('');
      expect(again.startsWith(stored)).toBe(true);
      expect(reader.frames.map((frame) => frame.sequence)).toEqual([1, 2, 3]);
    });

    test(`${driver}: a second worker joins and leaves in mid-stream: every batch is stored, in order, and none waits`, async () => {
      await using place = await subject();
      await using first = await place.open();
      await using second = await place.open();
      const sources = Array.from({ length: 12 }, (_, index) => `node-${index}`);
      const a = consuming(first);
      const sending = Promise.all(sources.map((source) => sendAll(first, source, 60, () => undefined)));
      await until('the first worker has frames', () => a.frames.length > 100);
      const b = consuming(second);
      await sending;
      let last = 60;
      while (b.frames.length === 0 && last < 200) {
        last++;
        await Promise.all(sources.map((source) => first.publish(one(source, last), signal)));
        await sleep(50);
      }
      await b.end();
      await Promise.all(sources.map((source) => first.publish(one(source, last + 1), signal)));
      const all = () => sequencesBySource([...a.frames, ...b.frames]);
      await until(
        'all sequences',
        () => [...all().values()].reduce((sum, list) => sum + list.length, 0) === 12 * (last + 1),
      );
      await until('no lag', () => first.backlog().frames === 0);
      await a.end();
      const expected = Array.from({ length: last + 1 }, (_, index) => index + 1);
      for (const { frames } of [a, b])
        for (const list of sequencesBySource(frames).values()) expect(list).toEqual(list.toSorted((x, y) => x - y));
      for (const list of all().values()) expect(list.toSorted((x, y) => x - y)).toEqual(expected);
      expect(b.frames.length).toBeGreaterThan(0);
    });

    test(`${driver}: a store that says retry for longer than a session holds the partition, and the worker stays a member`, async () => {
      await using place = await subject();
      await using bus = await place.openWith({ session_timeout_ms: 1_500, heartbeat_ms: 300 });
      await bus.publish(one('node-1', 1), signal);
      const started_ms = performance.now();
      const paths = new Set<string>();
      const reader = consuming(bus, (delivery) => {
        paths.add(delivery.path);
        return performance.now() - started_ms < 3_000 ? retry('LW-STORE', 'busy', 250) : ok(undefined);
      });
      await until('a first attempt', () => paths.size > 0);
      const before = place.events.length; // a group's first join may fail while the broker loads it
      await bus.publish(one('node-1', 2), signal);
      await until('both frames', () => reader.frames.length >= 2);
      await reader.end();
      expect(reader.frames.map((frame) => frame.sequence)).toEqual([1, 2]);
      expect(paths.size).toBe(2);
      expect(reader.deliveries.length).toBeLessThanOrEqual(3_000 / 250 + 2); // one attempt at once, one each 250 ms, one more frame
      expect(place.events.slice(before).map((event) => event.kind)).not.toContain('kafka_consumer_failed');
    });

    test(`${driver}: a message that is no frame goes to the dead letters with its place and the next ones are stored`, async () => {
      await using place = await subject();
      await using bus = await place.open();
      const { topic_prefix } = place.options;
      const tools = kafkajsDriver({
        brokers: cluster.brokers,
        tls: false,
        sasl: null,
        session_timeout_ms: 6_000,
        heartbeat_ms: 300,
      });
      for (let partition = 0; partition < 6; partition++) {
        const message = {
          partition,
          key: Buffer.from('x'),
          value: Buffer.from('no frame'),
          headers: { table: 'step' },
        };
        // a topic created just now may refuse for a moment; more than one copy of a message would fail below
        while (!(await isWritten(tools.produce(`${topic_prefix}frames.v1`, [message])))) await sleep(50);
      }
      await tools.close();
      await bus.publish(one('node-1', 1), signal);
      const reader = consuming(bus);
      await until('the frame', () => reader.frames.length === 1);
      await until('no lag', () => bus.backlog().frames === 0 && bus.backlog().damaged_frames === 6);
      await reader.end();
      const letters = await readTopic(cluster.brokers, `${topic_prefix}deadletter.v1`, 6);
      const texts = letters.map((letter) =>
        Object.fromEntries([...letter.headers].map(([name, value]) => [name, String(value)])),
      );
      expect(new Set(texts.map((text) => text['partition']))).toEqual(new Set(['0', '1', '2', '3', '4', '5']));
      expect(texts[0]).toMatchObject({
        code: 'LW-INPUT',
        reason: '8 bytes are no undamaged frame of step',
        topic: `${topic_prefix}frames.v1`,
        offset: '0',
        bytes: '8',
        truncated: 'false',
        table: 'step',
      });
      expect(String(letters[0]?.value)).toBe('no frame');
    });

    test(`${driver}: of a delivery that the store refuses only the frame at fault is set aside`, async () => {
      await using place = await subject();
      await using bus = await place.openWith({ delivery_wait_ms: 300 });
      for (let sequence = 1; sequence <= 9; sequence++) await bus.publish(one('node-1', sequence), signal);
      const isBad = (frame: FrameHeader) => frame.sequence === 4;
      const reader = consuming(bus, ({ frames }) =>
        frames.some(isBad) ? reject('LW-STORE', 'bad row') : ok(undefined),
      );
      await until('eight frames', () => reader.frames.length >= 8);
      await until('no lag', () => bus.backlog().frames === 0);
      await reader.end();
      expect(reader.frames.map((frame) => frame.sequence)).toEqual([1, 2, 3, 5, 6, 7, 8, 9]);
      expect(bus.backlog().quarantined).toEqual([{ source: 'node-1', epoch: 1, records: 1 }]);
      const [letter] = await readTopic(cluster.brokers, `${place.options.topic_prefix}deadletter.v1`, 1);
      expect(
        Object.fromEntries([...(letter?.headers ?? [])].map(([name, value]) => [name, String(value)])),
      ).toMatchObject({
        code: 'LW-STORE',
        reason: 'bad row',
        source: 'node-1',
        epoch: '1',
        sequence: '4',
        table: 'step',
        rows: '1',
      });
      const value = letter?.value ?? Buffer.alloc(0);
      expect(scanFrames(value, 'step').frames.map((found) => found.header.sequence)).toEqual([4]);
    });

    test(`${driver}: a batch above 512 KiB travels as several frames, each within the limit, and every row arrives`, async () => {
      await using place = await subject();
      await using bus = await place.open();
      // 60 records with 30 KiB of hexadecimal digits each: 1.8 MiB, so at least four frames
      const records = steps(0, 60).map((record) => ({ ...record, note: randomBytes(15_360).toString('hex') }));
      await bus.publish({ source: 'node-1', epoch: 1, sequence: 1, records }, signal);
      const sizes: number[] = [];
      const reader = consuming(bus, async (delivery) => {
        for (const found of scanFrames(await readFile(delivery.path), 'step').frames)
          sizes.push(found.end - found.start);
        return ok(undefined);
      });
      await until('all rows', () => reader.frames.reduce((rows, frame) => rows + frame.rows, 0) >= 60);
      await reader.end();
      expect(reader.frames.length).toBeGreaterThanOrEqual(4);
      expect(new Set(reader.frames.map((frame) => frame.parts))).toEqual(new Set([reader.frames.length]));
      expect(Math.max(...sizes)).toBeLessThanOrEqual(524_288);
    });

    test(`${driver}: a message that the topic finds too large is refused by name, its neighbours are stored`, async () => {
      await using place = await subject();
      const { topic_prefix } = place.options;
      const tools = kafkajsDriver({
        brokers: cluster.brokers,
        tls: false,
        sasl: null,
        session_timeout_ms: 6_000,
        heartbeat_ms: 300,
      });
      await tools.createTopics([
        { topic: `${topic_prefix}frames.v1`, partitions: 1, replication: 1, message_bytes_max: 8_192 },
      ]);
      await tools.close();
      await using bus = await place.open();
      const big = [{ ...stepRecord(2), note: randomBytes(30_000).toString('hex') }];
      const results = await Promise.allSettled([
        bus.publish(one('node-1', 1), signal),
        bus.publish({ source: 'node-1', epoch: 1, sequence: 2, records: big }, signal),
        bus.publish(one('node-1', 3), signal),
      ]);
      expect(results.map((result) => result.status)).toEqual(['fulfilled', 'rejected', 'fulfilled']);
      expect(results[1]).toMatchObject({ reason: { code: 'LW-BODY-SIZE' } });
      const reader = consuming(bus);
      await until('both', () => sequencesBySource(reader.frames).get('node-1')?.length === 2);
      await reader.end();
    });

    test(`${driver}: without its topics the bus does not open and says how to create them`, async () => {
      await using place = await subject();
      const opened = place.openWith({ create_topics: null });
      await expect(opened).rejects.toMatchObject({ code: 'LW-KAFKA-TOPIC' });
      await expect(opened).rejects.toThrow(/kafka-topics\.sh .*--create --topic test-\d+\.frames\.v1/);
    });
  }

  test('both drivers work in one group: the setting can be changed worker by worker', async () => {
    await using place = await kafkaSubject(kafkaOptions(cluster.brokers, 'kafkajs'));
    await using first = await place.open();
    await using second = await place.openWith({ driver: 'platformatic' });
    const a = consuming(first);
    const b = consuming(second);
    const sources = Array.from({ length: 24 }, (_, index) => `node-${index}`);
    const total = (): number =>
      [...sequencesBySource([...a.frames, ...b.frames]).values()].reduce((sum, list) => sum + list.length, 0);
    let sequence = 0;
    while (sequence < 60 && (a.frames.length === 0 || b.frames.length === 0)) {
      sequence++;
      await Promise.all(
        sources.map((source, index) => (index % 2 === 0 ? first : second).publish(one(source, sequence), signal)),
      );
      await sleep(50);
    }
    await until('all sequences', () => total() === sequence * 24);
    await Promise.all([a.end(), b.end()]);
    expect([a.frames.length > 0, b.frames.length > 0]).toEqual([true, true]);
  });

  // last: they take the broker away
  test('the broker is killed during 2,000 publishes: what was acknowledged is delivered, in order, with both drivers', async () => {
    const acks = new Map<string, number>();
    const least = (): number => Math.min(...DRIVERS.map((driver) => acks.get(driver) ?? 0));
    const runs = DRIVERS.map(async (driver) => {
      await using place = await kafkaSubject(kafkaOptions(cluster.brokers, driver));
      await using bus = await place.open();
      const reader = consuming(bus);
      const sources = Array.from({ length: 8 }, (_, index) => `node-${index}`);
      const count = (): void => void acks.set(driver, (acks.get(driver) ?? 0) + 1);
      await Promise.all(sources.map((source) => sendAll(bus, source, 50, count)));
      await until('both drivers are at work', () => least() >= 400);
      await Promise.all(sources.map((source) => sendAll(bus, source, 250, count, 51)));
      const total = (): number =>
        [...sequencesBySource(reader.frames).values()].reduce((sum, list) => sum + list.length, 0);
      await until('all are delivered', () => total() === 2_000, 60_000);
      await until('no lag', () => bus.backlog().frames === 0);
      await reader.end();
      const expected = Array.from({ length: 250 }, (_, index) => index + 1);
      for (const list of sequencesBySource(reader.frames).values()) expect(list).toEqual(expected);
    });
    await until('both are under way', () => least() >= 450);
    await cluster.kill();
    const acknowledged = Math.max(...acks.values());
    await sleep(300);
    await cluster.restart();
    await Promise.all(runs);
    expect(acknowledged).toBeLessThan(2_000);
  });

  test('while Kafka is down a publish is bounded in bytes and in time, and nothing is acknowledged', async () => {
    await using place = await kafkaSubject(kafkaOptions(cluster.brokers, 'kafkajs'));
    await using bus = await place.openWith({ publish_timeout_ms: 400, in_flight_bytes_max: 100 });
    await bus.publish(one('node-1', 1), signal);
    await cluster.kill();
    const waiting = bus.publish(one('node-1', 2), signal);
    const refused = bus.publish(one('node-1', 3), signal);
    await expect(refused).rejects.toMatchObject({ code: 'LW-SPOOL-FULL' });
    expect(bus.backlog()).toMatchObject({ in_flight: [{ source: 'node-1', epoch: 1, records: 1 }] });
    await expect(waiting).rejects.toMatchObject({ code: 'LW-SPOOL-IO' });
    expect(bus.backlog()).toMatchObject({ bytes: 0, in_flight: [] });
  });
});
