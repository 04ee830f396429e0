import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { SelftestReport } from '../../src/cli/selftest/report.ts';
import { ok, type Outcome, reject } from '../../src/core/outcome.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { steps } from '../contract/records.ts';
import { startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, until } from './kafka-subject.ts';
import { LeewayProcess, listAll, runLeeway, until as asking } from './leeway-process.ts';

// What a person does with the dead letters of a real broker, and the selftest over it.

const why = whyNoKafka();

type Shown = {
  readonly letters: { readonly id: string; readonly kind: string; readonly not_replayable: string | null }[];
};
type Line = { readonly stored: number; readonly emitted: number };

test.skipIf(why === null)(`SKIPPED, dead letters of Kafka are not tested: ${why}`, ({ skip }) => skip());

test.skipIf(why !== null)(
  'what the store refused is listed with its reason and replayed from Kafka, once, by both clients; a selftest over Kafka is proven',
  async () => {
    await using directory = await scratchDirectory();
    await using cluster = await startKafka();
    const options = { ...kafkaOptions(cluster.brokers, 'kafkajs'), scratch_dir: directory.path };
    const { topic_prefix = 'leeway.' } = options;
    await setAside(options);
    await spoil(cluster.brokers, `${topic_prefix}frames.v1`);
    const config = (driver: string): object => ({
      server: { port: 0 },
      data_dir: 'data',
      bus: { kind: 'kafka', brokers: cluster.brokers, topic_prefix, driver },
    });
    for (const driver of ['kafkajs', 'platformatic'])
      await writeFile(path.join(directory.path, `${driver}.json`), JSON.stringify(config(driver)));
    await using service = new LeewayProcess(['serve', '--config', 'kafkajs.json'], directory.path);
    const url = await service.ready;
    const run = async (driver: string, ...argv: string[]): Promise<Shown> => {
      const ran = await runLeeway(
        ['deadletter', ...argv, '--config', `${driver}.json`, '--format', 'json'],
        directory.path,
      );
      expect([ran.code, ran.err]).toEqual([0, '']);
      return JSON.parse(ran.out) as Shown; // judged below
    };
    const { letters } = await asking(
      () => run('platformatic', 'list'),
      (shown) => shown.letters.length === 3,
      30_000,
    );
    const refused = letters.filter(({ kind }) => kind === 'rejected');
    expect(refused).toMatchObject([
      { table: 'step', rows: 10, frames: 1, code: 'LW-STORE', reason: 'planted', not_replayable: null },
      { table: 'step', rows: 10, frames: 1, code: 'LW-STORE', reason: 'planted', not_replayable: null },
    ]);
    expect(letters.find(({ kind }) => kind === 'unreadable')?.not_replayable).toMatch(/9 bytes are no undamaged frame/);

    // one by its id, the other by --all, each with its own client; the first once more changes nothing
    const [first] = refused;
    expect(await run('kafkajs', 'replay', first?.id ?? '')).toMatchObject({ replayed: [{ id: first?.id, rows: 10 }] });
    expect((await run('kafkajs', 'list')).letters).toHaveLength(2);
    expect(await run('platformatic', 'replay', '--all')).toMatchObject({ replayed: [{ rows: 10 }] });
    expect((await run('platformatic', 'list')).letters.map(({ kind }) => kind)).toEqual(['unreadable']);
    const line = await asking(
      async () => (await listAll<Line>(url, '/api/v1/delivery?source=node-1'))[0],
      (found) => found?.stored === 20,
      30_000,
    );
    expect(line).toMatchObject({ emitted: 20, stored: 20, declared_loss: {} });
    expect(await listAll(url, '/api/v1/jobs/pretrain/steps')).toEqual(steps(0, 20));

    const ran = await runLeeway(['selftest', '--url', url, '--format', 'json'], directory.path);
    expect(ran.code, ran.err + ran.out).toBe(0);
    const report = JSON.parse(ran.out) as SelftestReport; // the command's own document
    expect(report).toMatchObject({ proven: true, account: { in_flight: 0, declared_loss: {}, sequences_missing: 0 } });
    // Kafka knows no repeats but twins on their way: the others come to the store and are absorbed there
    expect(report.account?.duplicates_absorbed).toBeGreaterThan(report.sent.copied_records);
    console.log(`Kafka: ${report.account?.stored} stored, ${report.account?.duplicates_absorbed} duplicates absorbed`);
  },
  180_000,
);

/** Two frames of node-1, sequences 1 and 2, that a store has refused. */
async function setAside(options: ReturnType<typeof kafkaOptions>): Promise<void> {
  await using bus = await openKafkaBus(options);
  const signal = new AbortController().signal;
  for (const sequence of [1, 2]) {
    const records = steps(sequence * 10 - 10, sequence * 10);
    await bus.publish({ source: 'node-1', epoch: 7, sequence, records }, signal);
  }
  const refuse = (): Outcome => (state.refused ? ok(undefined) : reject('LW-STORE', 'planted'));
  const state = { refused: false };
  const reader = consuming(bus, refuse);
  await until('both are set aside', () => bus.backlog().quarantined[0]?.records === 20);
  state.refused = true;
  await reader.end();
}

/** A message that is no frame. */
async function spoil(brokers: readonly string[], topic: string): Promise<void> {
  const driver = kafkajsDriver({ brokers, tls: false, sasl: null, session_timeout_ms: 10_000, heartbeat_ms: 1_000 });
  const message = {
    partition: 0,
    key: Buffer.from('node-1'),
    value: Buffer.from('no frame!'),
    headers: { table: 'step' },
  };
  await driver.produce(topic, [message]);
  await driver.close();
}
