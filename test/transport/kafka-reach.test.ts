import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';
import { heartbeat } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { MemoryKafka } from './memory-kafka.ts';

const signal = new AbortController().signal;

async function opened() {
  const resources = new AsyncDisposableStack();
  const { path: scratch_dir } = resources.use(await scratchDirectory());
  const [driver, clock] = [new MemoryKafka(), new ManualClock()];
  const bus = resources.use(await openKafkaBus({ driver, brokers: ['kafka:9092'], scratch_dir, clock }));
  const reach = (): Promise<string> =>
    (bus.reach?.(signal) ?? Promise.reject(new Error('no reach'))).then(
      () => 'reached',
      (error: unknown) => (error instanceof LeewayError ? error.code : String(error)),
    );
  return { driver, clock, bus, reach, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

test('Kafka is within reach while brokers list the topic, and not when none answers or the topic is gone', async () => {
  await using place = await opened();
  const { driver, reach } = place;
  const listed = driver.partitions.bind(driver);
  expect(await reach()).toBe('reached');
  driver.partitions = () => Promise.reject(new LeewayError('LW-UNREACHABLE', 'no broker'));
  expect(await reach()).toBe('LW-UNREACHABLE');
  driver.partitions = () => Promise.resolve(new Map());
  expect(await reach()).toBe('LW-KAFKA-TOPIC');
  driver.partitions = listed;
  expect(await reach()).toBe('reached');
});

test('brokers that answer and acknowledge no batch for more than five seconds are out of reach until one is', async () => {
  await using place = await opened();
  const { driver, clock, bus, reach } = place;
  let acknowledge = (): void => undefined;
  driver.onProduce = () => new Promise<void>((resolve) => void (acknowledge = resolve));
  const published = bus.publish({ source: 'node-1', epoch: 1, sequence: 1, records: [heartbeat(1)] }, signal);
  await clock.advance(5_000);
  expect(await reach()).toBe('reached');
  await clock.advance(1);
  expect(await reach()).toBe('LW-UNREACHABLE');
  acknowledge();
  expect(await published).toEqual({ repeated: false });
  expect(await reach()).toBe('reached');
});
