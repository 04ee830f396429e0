import { afterAll, beforeAll, describe, test } from 'vitest';
import { busContract } from '../contract/bus.ts';
import { type KafkaCluster, startKafka, whyNoKafka } from './kafka-broker.ts';
import { kafkaOptions, kafkaSubject } from './kafka-subject.ts';

const why = whyNoKafka();
const DRIVERS = ['kafkajs', 'platformatic'] as const;

test.skipIf(why === null)(`SKIPPED, the Kafka bus is not tested: ${why}`, ({ skip }) => skip());

describe.skipIf(why !== null)('Kafka bus', () => {
  let cluster: KafkaCluster;

  beforeAll(async () => {
    cluster = await startKafka();
  }, 120_000);
  afterAll(() => cluster[Symbol.asyncDispose]());

  for (const driver of DRIVERS)
    busContract(driver, () => kafkaSubject(kafkaOptions(cluster.brokers, driver)), { remembers: false });
});
