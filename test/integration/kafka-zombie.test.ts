import { spawn } from 'node:child_process';
import { once } from 'node:events';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ok } from '../../src/core/outcome.ts';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import { stepRecord } from '../contract/records.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, kafkaSubject, until } from './kafka-subject.ts';

const why = whyNoKafka();
const DRIVERS = ['kafkajs', 'platformatic'] as const;
const signal = new AbortController().signal;

/** How far each partition is from its end, of the group of the workers. */
async function lagsOf(brokers: readonly string[], prefix: string): Promise<number[]> {
  const driver = kafkajsDriver({ brokers, tls: false, sasl: null, session_timeout_ms: 6_000, heartbeat_ms: 300 });
  try {
    const positions = await driver.positions(`${prefix}frames.v1`, `${prefix}workers`);
    return positions.map(({ end, low, committed }) => Number(end - (committed ?? low)));
  } finally {
    await driver.close();
  }
}

test.skipIf(why === null)(`SKIPPED, zombies of a Kafka group are not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('a worker that is frozen for longer than its session', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await startKafka();
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  for (const driver of DRIVERS)
    test(`${driver}: wakes with rows in hand after another one stored them: nothing is lost, the group is not put back`, async () => {
      await using place = await kafkaSubject(kafkaOptions(cluster.brokers, driver));
      await using bus = await place.openWith({ session_timeout_ms: 3_000 });
      const { topic_prefix = '', scratch_dir } = place.options;
      const publish = (source: string, sequence: number) =>
        bus.publish({ source, epoch: 1, sequence, records: [stepRecord(sequence)] }, signal);
      const sources = Array.from({ length: 6 }, (_, index) => `node-${index}`);
      for (let sequence = 1; sequence <= 5; sequence++)
        await Promise.all(sources.map((source) => publish(source, sequence)));
      const host = path.join(import.meta.dirname, 'kafka-zombie-host.ts');
      const argv = [host, driver, cluster.brokers[0] ?? '', topic_prefix, scratch_dir];
      const zombie = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'pipe'] });
      let said = '';
      for (const stream of [zombie.stdout, zombie.stderr])
        stream.on('data', (bytes: Buffer) => (said += bytes.toString()));
      try {
        await until('it has rows in hand', () => said.includes('in hand'));
        zombie.kill('SIGSTOP');
        const reader = consuming(bus, () => ok(undefined));
        const living = (): Set<string> => new Set(reader.frames.map(({ source, sequence }) => `${source} ${sequence}`));
        const both = (): Set<string> =>
          living().union(new Set([...said.matchAll(/^stored (.+)$/gm)].map(([, frame = '']) => frame)));
        // what the zombie has in hand is stored by the other one once the session is over
        await until('the living one has all', () => living().size === 30);
        await until('the group has moved', () => bus.backlog().frames === 0);
        zombie.kill('SIGCONT');
        await until('it goes on', () => said.includes('stored'));
        for (let sequence = 6; sequence <= 25; sequence++)
          await Promise.all(sources.map((source) => publish(source, sequence)));
        await until('all is stored', () => both().size === 6 * 25);
        let lags: number[] = [];
        for (const end_ms = performance.now() + 20_000; performance.now() < end_ms; ) {
          lags = await lagsOf(cluster.brokers, topic_prefix);
          if (lags.every((lag) => lag === 0)) break;
        }
        expect(lags, `the zombie said ${said.slice(-2_000)}`).toEqual([0, 0, 0, 0, 0, 0]);
        await reader.end();
      } finally {
        zombie.kill('SIGKILL');
        if (zombie.exitCode === null && zombie.signalCode === null) await once(zombie, 'close');
      }
    });
});
