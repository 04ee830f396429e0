import { execFileSync, spawnSync } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import kafkajs from 'kafkajs';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Bus } from '../../src/core/ports.ts';
import { type KafkaBusOptions, openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { consuming, kafkaOptions, kafkaSubject, until } from './kafka-subject.ts';

/** Found on the path. */
const OPENSSL = 'openssl';
const why = whyNoKafka() ?? (spawnSync(OPENSSL, ['version']).status === 0 ? null : 'openssl is absent');
const DRIVERS = ['kafkajs', 'platformatic'] as const;
const signal = new AbortController().signal;
const ADMIN = { name: 'leeway', password: 'correct-horse' };
const STRANGER = { name: 'stranger', password: 'battery-staple' };

type Rule = readonly [kind: 'TOPIC' | 'GROUP', name: string, operation: 'DESCRIBE' | 'READ' | 'WRITE'];

/** Gives rights to the stranger, by the name of what they are for. */
async function allow(cluster: KafkaCluster, ca: string, rules: readonly Rule[]): Promise<void> {
  const { AclOperationTypes, AclPermissionTypes, AclResourceTypes, Kafka, logLevel, ResourcePatternTypes } = kafkajs;
  const sasl = { mechanism: 'plain', username: ADMIN.name, password: ADMIN.password } as const;
  const admin = new Kafka({
    brokers: [...cluster.brokers],
    ssl: { ca: [ca] },
    sasl,
    logLevel: logLevel.NOTHING,
  }).admin();
  await admin.connect();
  const acl = rules.map(([kind, resourceName, operation]) => ({
    resourceType: AclResourceTypes[kind],
    resourceName,
    resourcePatternType: ResourcePatternTypes.LITERAL,
    principal: `User:${STRANGER.name}`,
    host: '*',
    operation: AclOperationTypes[operation],
    permissionType: AclPermissionTypes.ALLOW,
  }));
  await admin.createAcls({ acl });
  await admin.disconnect();
}

test.skipIf(why === null)(`SKIPPED, logins and TLS of Kafka are not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('Kafka with logins and TLS', () => {
  let directory: Awaited<ReturnType<typeof scratchDirectory>>;
  let cluster: KafkaCluster;
  let ca: string;

  beforeAll(async () => {
    directory = await scratchDirectory();
    const at = (name: string): string => path.join(directory.path, name);
    const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost'];
    const pair = ['-keyout', at('key.pem'), '-out', at('cert.pem')];
    const request = ['req', '-x509', '-newkey', 'rsa:2048', '-nodes', '-days', '1', ...pair, ...subject];
    execFileSync(OPENSSL, request, { stdio: 'pipe' });
    const store = [
      '-inkey',
      at('key.pem'),
      '-in',
      at('cert.pem'),
      '-out',
      at('store.p12'),
      '-passout',
      'pass:changeit',
    ];
    execFileSync(OPENSSL, ['pkcs12', '-export', ...store], { stdio: 'pipe' });
    ca = await readFile(at('cert.pem'), 'utf8');
    const tls = { keystore: at('store.p12'), password: 'changeit' };
    cluster = await startKafka({ users: [ADMIN, STRANGER], tls });
  }, 120_000);
  afterAll(async () => {
    await cluster[Symbol.asyncDispose]();
    await directory[Symbol.asyncDispose]();
  });

  for (const driver of DRIVERS) {
    const login = (user: typeof ADMIN, mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'): KafkaBusOptions => ({
      ...kafkaOptions(cluster.brokers, driver),
      tls: { ca },
      sasl: { mechanism, username: user.name, password: user.password },
    });

    for (const mechanism of ['plain', 'scram-sha-256', 'scram-sha-512'] as const)
      test(`${driver}: publishes and consumes over TLS with a ${mechanism} login`, async () => {
        await using place = await kafkaSubject(login(ADMIN, mechanism));
        await using bus = await place.open();
        await bus.publish({ source: 'node-1', epoch: 1, sequence: 1, records: [stepRecord(1)] }, signal);
        const reader = consuming(bus);
        await until('the frame', () => reader.frames.length === 1);
        await reader.end();
      });

    test(`${driver}: a wrong password is LW-KAFKA-AUTH`, async () => {
      for (const mechanism of ['plain', 'scram-sha-512'] as const) {
        const opened = openKafkaBus({
          ...login({ ...ADMIN, password: 'wrong' }, mechanism),
          scratch_dir: directory.path,
        });
        await expect(opened).rejects.toMatchObject({ code: 'LW-KAFKA-AUTH' });
      }
    });

    test(`${driver}: a login without rights may not create topics, and is not shown those that exist`, async () => {
      const stranger = { ...login(STRANGER, 'plain'), scratch_dir: directory.path };
      await expect(openKafkaBus(stranger)).rejects.toMatchObject({ code: 'LW-KAFKA-AUTH' });
      await expect(openKafkaBus({ ...stranger, create_topics: null })).rejects.toThrow(/or this login may not see it/);
    });

    test(`${driver}: a login that may look and not write or read hears so by name, and works on once it may`, async () => {
      await using place = await kafkaSubject(login(ADMIN, 'plain'));
      const { topic_prefix = '' } = place.options;
      await (await place.open())[Symbol.asyncDispose](); // creates the topics
      const topics = [`${topic_prefix}frames.v1`, `${topic_prefix}deadletter.v1`];
      await allow(
        cluster,
        ca,
        topics.map((topic): Rule => ['TOPIC', topic, 'DESCRIBE']),
      );
      const { sasl } = login(STRANGER, 'plain');
      const options = { ...(sasl && { sasl }), create_topics: null, publish_timeout_ms: 1_000 };
      const untilSeen = (): Promise<Bus> => place.openWith(options).catch(untilSeen); // brokers hear of rights in their own time
      await using bus = await untilSeen();
      const batch = { source: 'node-1', epoch: 1, sequence: 1, records: [stepRecord(1)] };
      await expect(bus.publish(batch, signal)).rejects.toMatchObject({ code: 'LW-KAFKA-AUTH' });
      const reader = consuming(bus);
      const isTold = (): boolean =>
        place.events.some(({ kind, reason }) => kind === 'kafka_consumer_failed' && reason.includes('Kafka refused'));
      await until('the reader is refused', isTold);
      const [frames = ''] = topics;
      const rules: Rule[] = [
        ['TOPIC', frames, 'WRITE'],
        ['TOPIC', frames, 'READ'],
        ['GROUP', `${topic_prefix}workers`, 'READ'],
      ];
      await allow(cluster, ca, rules);
      while (!(await bus.publish(batch, signal).catch(() => null)));
      await until('the frame', () => reader.frames.length >= 1);
      await reader.end();
    });

    test(`${driver}: a certificate that no authority of ours signed is refused`, async () => {
      const opened = openKafkaBus({ ...login(ADMIN, 'plain'), tls: true, scratch_dir: directory.path });
      await expect(opened).rejects.toMatchObject({ code: 'LW-UNREACHABLE' });
    });
  }
});
