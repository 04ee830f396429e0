import { systemClock } from '../../src/core/clock.ts';
import { type KafkaBusOptions, openKafkaBus } from '../../src/transport/kafka-bus.ts';
import type { KafkaEvent } from '../../src/transport/kafka-event.ts';
import type { Bus } from '../../src/core/ports.ts';
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
