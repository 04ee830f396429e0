import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import { ok, type Outcome } from '../../src/core/outcome.ts';
import { type KafkaBusOptions, openKafkaBus } from '../../src/transport/kafka-bus.ts';
import type { KafkaEvent } from '../../src/transport/kafka-event.ts';
import type { Bus, Delivery, FrameHeader } from '../../src/core/ports.ts';
import type { KafkaIn } from '../../src/transport/kafka-driver.ts';
import { kafkajsDriver } from '../../src/transport/kafkajs-driver.ts';
import type { BusSubject } from '../contract/bus.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

let topics = 0;

/** Settings under which tests need not wait long; 6 partitions. */
export function kafkaOptions(brokers: readonly string[], driver: KafkaBusOptions['driver']): KafkaBusOptions {
  return {
    driver,
    brokers,
    topic_prefix: `test-${++topics}.`,
    create_topics: { partitions: 6, replication: Math.min(3, brokers.length) },
    scratch_dir: '',
    clock: systemClock,
    delivery_wait_ms: 20,
    session_timeout_ms: 6_000,
    heartbeat_ms: 300,
    stall_ms: 8_000,
  };
}

/** A place of topics of its own, in which buses are opened and what they tell is kept. */
export type KafkaSubject = BusSubject & {
  readonly options: KafkaBusOptions;
  readonly events: KafkaEvent[];
  readonly openWith: (changes: Partial<KafkaBusOptions>) => Promise<Bus>;
};

export async function kafkaSubject(options: KafkaBusOptions): Promise<KafkaSubject> {
  const directory = await scratchDirectory();
  const events: KafkaEvent[] = [];
  const settings = { ...options, scratch_dir: directory.path, onEvent: (event: KafkaEvent) => void events.push(event) };
  return {
    options: settings,
    events,
    open: () => openKafkaBus(settings),
    openWith: (changes) => openKafkaBus({ ...settings, ...changes }),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

/** Waits until `holds`, looking every 20 ms; fails after `limit_ms`. */
export async function until(what: string, holds: () => boolean, limit_ms = 30_000): Promise<void> {
  const started_ms = performance.now();
  while (!holds()) {
    if (performance.now() - started_ms > limit_ms) throw new Error(`still not after ${limit_ms} ms: ${what}`);
    await sleep(20);
  }
}

/** A bus being consumed: what was delivered, and an end to it. */
export type Consumption = {
  readonly deliveries: Delivery[];
  readonly frames: FrameHeader[];
  readonly end: () => Promise<void>;
};

/** Consumes `bus` until told to end; `answer` says what becomes of a delivery (default: stored). */
export function consuming(
  bus: Bus,
  answer: (delivery: Delivery) => Outcome | Promise<Outcome> = () => ok(undefined),
): Consumption {
  const stop = new AbortController();
  const deliveries: Delivery[] = [];
  const frames: FrameHeader[] = [];
  const consumed = bus.consume(async (delivery) => {
    const outcome = await answer(delivery);
    deliveries.push(delivery);
    if (outcome.kind === 'ok') frames.push(...delivery.frames);
    return outcome;
  }, stop.signal);
  const end = async (): Promise<void> => {
    stop.abort();
    await consumed;
  };
  return { deliveries, frames, end };
}

/** Sequences of each source in the order in which they were first delivered. */
export function sequencesBySource(frames: readonly FrameHeader[]): Map<string, number[]> {
  const seen = new Map<string, Set<number>>();
  for (const { source, sequence } of frames) {
    const known = seen.get(source) ?? new Set();
    seen.set(source, known.add(sequence));
  }
  return new Map([...seen].map(([source, sequences]) => [source, [...sequences]]));
}

/** The first `count` messages of a topic, read by a group of its own. */
export async function readTopic(brokers: readonly string[], topic: string, count: number): Promise<KafkaIn[]> {
  const driver = kafkajsDriver({ brokers, tls: false, sasl: null, session_timeout_ms: 6_000, heartbeat_ms: 300 });
  const found: KafkaIn[] = [];
  const consumer = await driver.consume(topic, `reader-${topic}-${++topics}`, {
    onAssigned: () => undefined,
    onMessages: (_, messages) => void found.push(...messages),
    onFailed: (error) => {
      throw error;
    },
  });
  await until(`${count} messages in ${topic}`, () => found.length >= count, 10_000);
  await consumer.close();
  await driver.close();
  return found;
}
