import { readdir, readFile, rm, utimes, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Delivery, NoteAside, QuarantinedFrame } from '../../src/core/ports.ts';
import { assertAcknowledged } from '../../src/transport/kafka-driver.ts';
import type { KafkaEvent } from '../../src/transport/kafka-event.ts';
import { scanFrames } from '../../src/transport/frame.ts';
import { frameMessages, type HeldFrame, readMessage } from '../../src/transport/kafka-frames.ts';
import { GroupMember } from '../../src/transport/kafka-member.ts';
import { prepareScratch, systemScratch, writeDelivery } from '../../src/transport/kafka-scratch.ts';
import { KafkaWorker } from '../../src/transport/kafka-worker.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { forgedFrame } from './forged-frame.ts';
import { MemoryKafka } from './memory-kafka.ts';

const TOPIC = 'frames';
const DEAD = 'dead';

async function until(what: string, holds: () => boolean): Promise<void> {
  for (let waited_ms = 0; !holds(); waited_ms += 5) {
    if (waited_ms > 5_000) throw new Error(`still not: ${what}`);
    await sleep(5);
  }
}

type Answer = (delivery: Delivery) => Outcome | Promise<Outcome>;

/** A worker at a memory broker whose two partitions hold `counts` frames. */
async function workplace(
  counts: readonly [number, number],
  answer: Answer = () => ok(undefined),
  buffer_bytes_max = 1e6,
  noteAside: NoteAside = () => Promise.resolve(),
) {
  const directory = await scratchDirectory();
  const kafka = new MemoryKafka();
  for (const [partition, count] of counts.entries())
    for (let sequence = 1; sequence <= count; sequence++) {
      const batch = { source: `node-${partition}`, epoch: 1, sequence, records: [stepRecord(sequence)] };
      for (const { table, value } of frameMessages(batch))
        await kafka.produce(TOPIC, [{ partition, key: Buffer.from(batch.source), value, headers: { table } }]);
    }
  const events: KafkaEvent[] = [];
  const worker = new KafkaWorker({
    driver: kafka,
    topic: TOPIC,
    group: 'workers',
    dead_letters: { topic: DEAD, partitions: 1 },
    clock: systemClock,
    scratch_dir: directory.path,
    scratch_prefix: 'kafka-test',
    stream_first: 0,
    delivery: { rows_max: 1_000, bytes_max: 1e6, wait_ms: 5 },
    buffer_bytes_max,
    stall_ms: 400,
    onEvent: (event) => void events.push(event),
  });
  const stop = new AbortController();
  const handled: string[][] = [];
  const consumed = worker.consume(
    async (delivery) => {
      const outcome = await answer(delivery);
      handled.push(delivery.frames.map((frame) => `${frame.source} ${frame.sequence}`));
      return outcome;
    },
    stop.signal,
    noteAside,
  );
  await until('it has joined', () => kafka.members.length === 1);
  return {
    kafka,
    events,
    worker,
    handled,
    stop,
    consumed,
    kinds: () => events.map((event) => event.kind),
    [Symbol.asyncDispose]: async (): Promise<void> => {
      stop.abort();
      await consumed;
      await directory[Symbol.asyncDispose]();
    },
  };
}

/** What was told of the first gap; the topic has two partitions, streams 0 and 1. */
function gapOf(events: readonly KafkaEvent[]): string | undefined {
  return events.find(({ kind }) => kind === 'kafka_gap')?.reason;
}

/** A gate that a store waits at. */
function gate(): { readonly opened: Promise<void>; readonly open: () => void } {
  const { promise: opened, resolve: open } = Promise.withResolvers<void>();
  return { opened, open };
}

test.concurrent('offsets of a partition that was given away while its rows were being stored are not committed', async () => {
  const store = gate();
  await using place = await workplace([2, 2], async () => {
    await store.opened;
    return ok(undefined);
  });
  const { kafka } = place;
  const { handlers, commits } = kafka.member;
  handlers.onAssigned([0, 1]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  handlers.onMessages(1, kafka.fetch(TOPIC, 1));
  await until('a delivery is in hand', () => place.worker.tallies.held[1]?.list().length === 2);
  handlers.onAssigned([1]);
  store.open();
  await until('partition 1 is committed', () => kafka.committed.get(1) === 2n);
  for (const commit of commits) expect(commit.has(0)).toBe(false);
});

test.concurrent('of a refused delivery nothing more is handed over of a partition that was given away meanwhile', async () => {
  let lose: () => void = () => undefined;
  await using place = await workplace([1, 3], ({ frames }) => {
    if (frames.length < 4) return ok(undefined);
    lose();
    return reject('LW-STORE', 'one of them is bad');
  });
  const { kafka } = place;
  const { handlers } = kafka.member;
  lose = () => handlers.onAssigned([1]);
  handlers.onAssigned([0, 1]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  handlers.onMessages(1, kafka.fetch(TOPIC, 1));
  await until('partition 1 is committed', () => kafka.committed.get(1) === 3n);
  expect(place.handled[0]).toHaveLength(4);
  // partition 0 is somebody else's now, who may be further
  expect(place.handled.slice(1).flat()).toEqual(['node-1 1', 'node-1 2', 'node-1 3']);
});

test.concurrent('a commit that is answered after a rebalance is made again: another coordinator may have forgotten it', async () => {
  await using place = await workplace([2, 0]);
  const { kafka } = place;
  const { handlers } = kafka.member;
  const answer = gate();
  kafka.onCommit = () => answer.opened;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('the coordinator has the commit', () => kafka.committed.get(0) === 2n);
  kafka.committed.delete(0);
  kafka.onCommit = () => Promise.resolve();
  handlers.onAssigned([0]);
  answer.open();
  await until('the group has it again', () => kafka.committed.get(0) === 2n);
});

test.concurrent('a member that was taken for dead goes on where the others have come to: it does not put the group back', async () => {
  const store = gate();
  await using place = await workplace([6, 0], async () => {
    await store.opened;
    return ok(undefined);
  });
  const { kafka } = place;
  const { handlers, commits } = kafka.member;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 3));
  await until('a delivery is in hand', () => place.worker.tallies.held[1]?.list().length === 1);
  kafka.committed.set(0, 5n); // its session was over: another member has stored five
  handlers.onAssigned([0]);
  store.open();
  await until('what it had in hand is stored', () => place.handled.length === 1);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 5, 6));
  await until('all are committed', () => kafka.committed.get(0) === 6n);
  for (const commit of commits) expect(commit.get(0)).toBeGreaterThanOrEqual(5n);
  expect([kafka.members.length, place.kinds()]).toEqual([1, []]);
});

test.concurrent('messages that arrive before it is known again where the group stands wait for that', async () => {
  await using place = await workplace([6, 0]);
  const { kafka } = place;
  const { handlers } = kafka.member;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 1));
  await until('one is committed', () => kafka.committed.get(0) === 1n);
  kafka.committed.set(0, 4n);
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 4, 5)); // at once
  handlers.onAssigned([0]); // the same again, as a client that joins twice says it
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 5, 6));
  await until('all are committed', () => kafka.committed.get(0) === 6n);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 5', 'node-0 6']);
  expect([kafka.members.length, place.kinds()]).toEqual([1, []]);
});

test.concurrent('a group that was put back by a late commit is told again, also when nothing new comes', async () => {
  await using place = await workplace([4, 0]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('all are committed', () => kafka.committed.get(0) === 4n);
  kafka.committed.set(0, 1n); // of a member that was frozen, whose client said it in the name of the new generation
  await until('the group stands there again', () => kafka.committed.get(0) === 4n);
  kafka.committed.delete(0); // a coordinator that has forgotten
  await until('and again', () => kafka.committed.get(0) === 4n);
  expect([kafka.members.length, place.kinds()]).toEqual([1, ['kafka_commit_failed', 'kafka_commit_failed']]);
  expect(place.events[0]?.reason).toBe('the group was put back from offset 4 of partition 0 to 1');
});

test.concurrent('messages that a rebalance brings again are not stored again, and the commit is said again to the new generation', async () => {
  await using place = await workplace([3, 0]);
  const { kafka } = place;
  const { handlers, commits } = kafka.member;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 2));
  await until('two are committed', () => kafka.committed.get(0) === 2n);
  const before = commits.length;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 3)); // from the beginning, as if nothing had been committed
  await until('three are committed', () => kafka.committed.get(0) === 3n);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 2', 'node-0 3']);
  expect(commits.length).toBeGreaterThan(before);
});

test.concurrent('a partition that was lost and comes back begins at what the group has committed, not where this member was', async () => {
  await using place = await workplace([4, 0]);
  const { kafka } = place;
  const { handlers } = kafka.member;
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 2));
  await until('two are committed', () => kafka.committed.get(0) === 2n);
  handlers.onAssigned([]);
  kafka.committed.set(0, 1n); // another member, which had read less, was the last to commit
  handlers.onAssigned([0]);
  handlers.onMessages(0, kafka.fetch(TOPIC, 0, 1, 4));
  await until('all are committed', () => kafka.committed.get(0) === 4n);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 2', 'node-0 2', 'node-0 3', 'node-0 4']);
});

test.concurrent('a client that skips messages is replaced; messages that are gone from the topic are told and passed over', async () => {
  await using place = await workplace([5, 0]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 2, 5));
  await until('a second consumer', () => kafka.members.length === 2);
  expect([kafka.members[0]?.isClosed, kafka.committed.size]).toEqual([true, 0]);
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 2, 5));
  await until('the rest is committed', () => kafka.committed.get(0) === 5n);
  expect(place.kinds()).toContain('kafka_gap');
  expect(place.handled.flat()).toEqual(['node-0 3', 'node-0 4', 'node-0 5']);
});

test.concurrent('many gaps of a topic, one behind the other, cost one consumer: the next one is believed in all of them', async () => {
  await using place = await workplace([60, 0]);
  const { kafka } = place;
  const left = kafka.fetch(TOPIC, 0).filter(({ offset }) => offset % 3n !== 2n); // as the marks of transactions leave it
  for (const members of [1, 2]) {
    await until(`consumer ${members}`, () => kafka.members.length === members);
    const { handlers } = kafka.member;
    handlers.onAssigned([0]);
    await until('it is known where the group goes on', () => place.worker.frames === 60);
    for (const message of left) handlers.onMessages(0, [message]);
  }
  await until('the rest is committed', () => kafka.committed.get(0) === 59n);
  expect(new Set(place.handled.flat()).size).toBe(40);
  expect([kafka.members.length, place.kinds().filter((kind) => kind === 'kafka_gap').length]).toEqual([2, 19]);
});

test.concurrent('a client that goes on after what it had brought, when a partition comes back, is not believed that the rest is gone', async () => {
  await using place = await workplace([5, 0]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 2, 5)); // 0 and 1 are skipped once
  await until('a second consumer', () => kafka.members.length === 2);
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 2));
  kafka.member.handlers.onAssigned([]); // before they are stored
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 2, 5)); // the group still stands at 0
  await until('a third consumer', () => kafka.members.length === 3);
  expect(place.kinds()).not.toContain('kafka_gap');
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 5));
  await until('all are committed', () => kafka.committed.get(0) === 5n);
  expect(new Set(place.handled.flat()).size).toBe(5);
});

test.concurrent('messages that retention removed before they were read are told and passed over, also when nothing new comes', async () => {
  await using place = await workplace([5, 5]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 2));
  await until('two are committed', () => kafka.committed.get(0) === 2n);
  kafka.low = 5n;
  await until('the rest is passed over', () => kafka.committed.get(0) === 5n);
  expect([place.kinds().includes('kafka_gap'), place.worker.frames, kafka.members.length]).toEqual([true, 0, 1]);
});

test.concurrent('a topic that was created anew is read from its beginning, not taken for repeats of the old one', async () => {
  await using place = await workplace([5, 0]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('five are committed', () => kafka.committed.get(0) === 5n);
  const [first, second] = kafka.topics.get(TOPIC) ?? [];
  kafka.topics.set(
    TOPIC,
    [first, second].filter((message) => message !== undefined),
  );
  kafka.committed.clear();
  await until('a second consumer', () => kafka.members.length === 2);
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('two are committed', () => kafka.committed.get(0) === 2n);
  expect(place.handled.flat().slice(5)).toEqual(['node-0 1', 'node-0 2']);
  expect(gapOf(place.events)).toMatch(
    /^partition 0 ends at 2, after offset 5 was read.* bus\.stream_first 2 or more$/u,
  );
});

test.concurrent('a group that stands behind the end of a partition goes on at its beginning: the new messages are no repeats', async () => {
  await using place = await workplace([2, 0]);
  const { kafka } = place;
  kafka.committed.set(0, 5n); // of five messages, before the topic was created anew
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('two are committed', () => kafka.committed.get(0) === 2n);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 2']);
  expect(gapOf(place.events)).toMatch(
    /^partition 0 ends at 2, before the group's offset 5.* bus\.stream_first 2 or more$/u,
  );
});

test.concurrent('an end that is said too small for a moment does not put the group back', async () => {
  await using place = await workplace([7, 0]);
  const { kafka } = place;
  kafka.committed.set(0, 5n);
  kafka.hidden = 4; // what a new leader knows to be replicated
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 5, 7));
  await sleep(200);
  kafka.hidden = 0;
  await until('all are committed', () => kafka.committed.get(0) === 7n);
  expect(place.handled.flat()).toEqual(['node-0 6', 'node-0 7']);
  expect(place.kinds()).not.toContain('kafka_gap');
});

test.concurrent('lag without progress replaces the consumer', async () => {
  await using place = await workplace([2, 0]);
  place.kafka.member.handlers.onAssigned([0]);
  await until('a second consumer', () => place.kafka.members.length === 2);
  expect(place.kinds()).toContain('kafka_consumer_stalled');
});

test.concurrent('partitions that are added to the topic have the group shared out again, once', async () => {
  await using place = await workplace([1, 1]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0, 1]);
  await until('the topic was looked at', () => place.worker.frames === 2);
  kafka.partitions_count = 4;
  await until('a second consumer', () => kafka.members.length === 2);
  expect(place.events).toEqual([
    { kind: 'kafka_consumer_failed', reason: 'frames has 4 partitions, 2 before: joining again' },
  ]);
  const [message] = kafka.fetch(TOPIC, 1);
  if (message === undefined) throw new Error('a message');
  await kafka.produce(TOPIC, [
    { partition: 3, key: Buffer.from('n'), value: message.value ?? Buffer.alloc(0), headers: { table: 'step' } },
  ]);
  kafka.member.handlers.onAssigned([0, 1, 2, 3]);
  for (const partition of [0, 1, 3]) kafka.member.handlers.onMessages(partition, kafka.fetch(TOPIC, partition));
  await until('all are committed', () => [0, 1, 3].every((partition) => kafka.committed.get(partition) === 1n));
  kafka.partitions_count = 2; // a broker that has not heard of it yet
  await sleep(150);
  kafka.partitions_count = 4;
  await sleep(300); // three looks
  expect(kafka.members).toHaveLength(2);
});

test.concurrent('messages that wait for another member do not replace a consumer that has handled its own', async () => {
  await using place = await workplace([1, 2]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('it is committed', () => kafka.committed.get(0) === 1n);
  await sleep(900); // more than twice the time of a stall
  expect([kafka.members.length, place.kinds(), place.worker.frames]).toEqual([1, [], 2]);
});

test.concurrent('a member without partitions is replaced when nobody handles what waits, and left alone while somebody does', async () => {
  await using place = await workplace([1, 40]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([]);
  for (let offset = 1n; offset <= 20n; offset++) {
    kafka.committed.set(1, offset); // the other member is at work
    await sleep(50);
  }
  expect(kafka.members.length).toBe(1);
  await until('a second consumer', () => kafka.members.length === 2);
  expect(place.kinds()).toContain('kafka_consumer_stalled');
});

test.concurrent('a store that is busy for longer is no stall, and a consumer without lag is none', async () => {
  const store = gate();
  await using place = await workplace([2, 0], async () => {
    await store.opened;
    return ok(undefined);
  });
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await sleep(600);
  store.open();
  await until('all are committed', () => kafka.committed.get(0) === 2n);
  await sleep(600);
  expect([kafka.members.length, place.kinds()]).toEqual([1, []]);
});

test.concurrent('four commits that fail replace the consumer, and the new one says the same', async () => {
  await using place = await workplace([1, 0]);
  const { kafka } = place;
  kafka.fail.commit = 4;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('a second consumer', () => kafka.members.length === 2);
  kafka.member.handlers.onAssigned([0]);
  await until('it is committed', () => kafka.committed.get(0) === 1n);
  expect(place.handled.flat()).toEqual(['node-0 1']);
});

test.concurrent('a refused frame is not passed over before the dead-letter topic has it', async () => {
  await using place = await workplace([1, 0], () => reject('LW-STORE', 'bad'));
  const { kafka } = place;
  kafka.fail.produce = 2;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until(
    'two attempts failed',
    () => place.kinds().filter((kind) => kind === 'kafka_dead_letter_failed').length === 2,
  );
  expect(kafka.committed.get(0) ?? 0n).toBe(0n);
  await until('it is committed', () => kafka.committed.get(0) === 1n);
  expect(kafka.topics.get(DEAD)).toHaveLength(1);
});

test.concurrent('a refused frame is not passed over before it is noted, also where that ends with the bus', async () => {
  const noted: QuarantinedFrame[] = [];
  let isAway = true;
  const noteAside: NoteAside = async (frame) => {
    if (isAway) throw new LeewayError('LW-CONTROL-GONE', 'no control store');
    noted.push(frame);
  };
  const bad = (): Outcome => reject('LW-STORE', 'bad');
  await using place = await workplace([2, 0], bad, 1e6, noteAside);
  const { kafka } = place;
  const isNotNoted = () => place.kinds().includes('kafka_dead_letter_failed');
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 1));
  await until('an attempt failed', isNotNoted);
  expect(kafka.topics.get(DEAD)).toHaveLength(1);
  expect(kafka.committed.get(0) ?? 0n).toBe(0n);
  isAway = false;
  await until('it is committed', () => kafka.committed.get(0) === 1n);
  expect(noted).toMatchObject([{ source: 'node-0', epoch: 1, sequence: 1, parts: 1, records: 1 }]);
  isAway = true;
  place.events.length = 0;
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 1, 2));
  await until('an attempt failed', isNotNoted);
  place.stop.abort();
  await place.consumed;
  // the next member of the group reads it again
  expect(kafka.committed.get(0)).toBe(1n);
  expect(noted).toHaveLength(1);
});

test.concurrent('a frame that lies about its rows becomes a dead letter, and what follows it is stored', async () => {
  await using place = await workplace([3, 0]);
  const { kafka } = place;
  const [first, lying, ...rest] = kafka.fetch(TOPIC, 0);
  if (first === undefined || lying === undefined) throw new Error('three messages');
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, [
    first,
    { ...lying, value: forgedFrame('step', { rows: 0xff_ff_ff_f0 }, Buffer.alloc(64, 1)) },
    ...rest,
  ]);
  await until('all are committed', () => kafka.committed.get(0) === 3n);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 3']);
  expect(kafka.topics.get(DEAD)?.map(({ headers }) => headers['offset'])).toEqual(['1']);
});

test.concurrent('a refused frame is declared once until its replay is stored, in whatever place', async () => {
  const answers = [reject('LW-STORE', 'bad'), reject('LW-STORE', 'still bad'), ok(undefined)];
  await using place = await workplace([1, 0], () => answers.shift() ?? ok(undefined));
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  const quarantined = () => place.worker.tallies.quarantined.list();
  const declared = { source: 'node-0', epoch: 1, records: 1 };
  const replays = [
    [1n, [declared]],
    [2n, [declared]],
    [3n, []],
  ] as const;
  for (const [committed, expected] of replays) {
    const last = kafka.fetch(TOPIC, 0).at(-1);
    kafka.member.handlers.onMessages(0, last === undefined ? [] : [last]);
    await until(`offset ${committed} is committed`, () => kafka.committed.get(0) === committed);
    expect(quarantined()).toEqual(expected);
    const [first] = kafka.topics.get(TOPIC) ?? [];
    if (first !== undefined) await kafka.produce(TOPIC, [first]);
  }
});

test.concurrent('a delivery that is retried is given up when its partitions are somebody else’s', async () => {
  await using place = await workplace([1, 0], () => retry('LW-STORE', 'busy', 5));
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('three attempts', () => place.handled.length >= 3);
  kafka.member.handlers.onAssigned([]);
  await until('nothing is held', () => place.worker.bytes === 0);
  const attempts = place.handled.length;
  await sleep(50);
  expect([place.handled.length, kafka.committed.size]).toEqual([attempts, 0]);
});

test.concurrent('fetching pauses while the store is behind and goes on when there is room', async () => {
  const store = gate();
  await using place = await workplace(
    [20, 0],
    async () => {
      await store.opened;
      return ok(undefined);
    },
    2_000, // about four frames of 500 bytes
  );
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('it is paused', () => kafka.member.isPaused);
  store.open();
  await until('all are committed', () => kafka.committed.get(0) === 20n);
  await until('it goes on', () => !kafka.member.isPaused);
});

test.concurrent('fetching pauses for messages that hold no frame while the dead-letter topic is slow, too', async () => {
  await using place = await workplace([4, 0], () => ok(undefined), 4_000);
  const { kafka } = place;
  const letters = gate();
  kafka.onProduce = () => letters.opened;
  kafka.member.handlers.onAssigned([0]);
  const bad = kafka.fetch(TOPIC, 0).map((message) => ({ ...message, value: Buffer.alloc(1_000) }));
  kafka.member.handlers.onMessages(0, bad.slice(0, 2)); // 1,000 bytes, 15 of key and header, 512 for its objects each
  await until('a letter is on its way', () => kafka.calls.length > 4);
  expect(kafka.member.isPaused).toBe(false);
  kafka.member.handlers.onMessages(0, bad.slice(2)); // one is on its way, three of 1,527 bytes wait
  expect(kafka.member.isPaused).toBe(true);
  letters.open();
  await until('all are passed over', () => kafka.committed.get(0) === 4n);
  await until('it goes on', () => !kafka.member.isPaused);
  expect(kafka.topics.get(DEAD)).toHaveLength(4);
});

test.concurrent('fetching pauses for messages that come before the group’s offset is known, too', async () => {
  await using place = await workplace([8, 0], () => ok(undefined), 4_000); // each 450 bytes and 512 for its objects
  const { kafka } = place;
  const brokers = gate();
  kafka.onPositions = () => brokers.opened;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 0, 2));
  expect(kafka.member.isPaused).toBe(false);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0, 2, 8));
  expect(kafka.member.isPaused).toBe(true);
  brokers.open();
  await until('all are committed', () => kafka.committed.get(0) === 8n);
  await until('it goes on', () => !kafka.member.isPaused);
  expect(kafka.members).toHaveLength(1);
});

test.concurrent('a consumer that dies is replaced, and what it had brought is stored once', async () => {
  await using place = await workplace([2, 0]);
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('both are committed', () => kafka.committed.get(0) === 2n);
  const { LeewayError } = await import('../../src/core/errors.ts');
  kafka.member.handlers.onFailed(new LeewayError('LW-UNREACHABLE', 'gone'));
  await until('a second consumer', () => kafka.members.length === 2);
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await sleep(50);
  expect(place.handled.flat()).toEqual(['node-0 1', 'node-0 2']);
  expect(place.kinds()).toContain('kafka_consumer_failed');
});

test.concurrent('a join that never ends does not keep the bus from ending, and is undone when it comes after all', async () => {
  const kafka = new MemoryKafka();
  const { promise: coordinator, resolve: answer } = Promise.withResolvers<void>();
  kafka.onConsume = () => coordinator;
  const member = new GroupMember({
    driver: kafka,
    topic: TOPIC,
    group: 'workers',
    clock: systemClock,
    stream_first: 0,
    stall_ms: 400,
    onMessage: () => undefined,
    onEarly: () => undefined,
    onAssigned: () => undefined,
    isBusy: () => false,
    onEvent: () => undefined,
  });
  const stop = new AbortController();
  const ended = member.run(stop.signal);
  stop.abort();
  await ended;
  answer();
  await until('it has left again', () => kafka.members[0]?.isClosed === true);
  expect(kafka.members).toHaveLength(1);
});

test.concurrent('a write counts only when every partition that it names was acknowledged', () => {
  const message = (partition: number) => ({ partition, key: Buffer.alloc(0), value: Buffer.alloc(0), headers: {} });
  expect(() => assertAcknowledged(TOPIC, [message(0), message(1)], new Set([0, 1]))).not.toThrow();
  expect(() => assertAcknowledged(TOPIC, [message(0), message(1)], new Set([0]))).toThrow(
    expect.objectContaining({ code: 'LW-UNREACHABLE' }),
  );
});

test.concurrent('files that killed workers left behind are removed after a day, others are not touched', async () => {
  await using directory = await scratchDirectory();
  const at = (name: string): string => path.join(directory.path, name);
  for (const name of ['kafka-old.native', 'kafka-new.native', 'other']) await writeFile(at(name), '');
  const now_ms = Date.now();
  const long_ago = new Date(now_ms - 86_400_001);
  for (const name of ['kafka-old.native', 'other']) await utimes(at(name), long_ago, long_ago);
  const [one, two] = [
    await prepareScratch(systemScratch(), directory.path, now_ms),
    await prepareScratch(systemScratch(), directory.path, now_ms),
  ];
  expect((await readdir(directory.path)).toSorted((a, b) => a.localeCompare(b))).toEqual(['kafka-new.native', 'other']);
  expect(one).not.toBe(two);
  await expect(prepareScratch(systemScratch(), at('other'), now_ms)).rejects.toMatchObject({ code: 'LW-DATA-DIR' });
});

test.concurrent('a delivery that the store cannot read is written again, in a directory that somebody removed', async () => {
  const rows: number[] = [];
  await using place = await workplace([3, 0], async ({ path: file, table }) => {
    try {
      rows.push(scanFrames(await readFile(file), table).frames.length);
      if (rows.length > 1) return ok(undefined);
      await rm(path.dirname(file), { recursive: true }); // as a cleaner of temporary files does
      return retry('LW-SPOOL-IO', 'the file is gone', 1);
    } catch (error) {
      return retry('LW-SPOOL-IO', String(error), 1);
    }
  });
  const { kafka } = place;
  kafka.member.handlers.onAssigned([0]);
  kafka.member.handlers.onMessages(0, kafka.fetch(TOPIC, 0));
  await until('all are committed', () => kafka.committed.get(0) === 3n);
  expect(rows).toEqual([3, 3]);
});

test.concurrent('a delivery that a full disk cut short leaves no file behind', async () => {
  await using directory = await scratchDirectory();
  const disk = systemScratch();
  const frames = await heldFrames();
  const full: typeof disk = {
    ...disk,
    create: async (file) => {
      const handle = await disk.create(file);
      const append = async (pieces: readonly Uint8Array[]): Promise<void> => {
        await handle.append(pieces.slice(0, 1)); // a full disk takes what fits
        throw Object.assign(new Error('ENOSPC'), { code: 'ENOSPC' });
      };
      return {
        append,
        sync: () => handle.sync(),
        truncate: (size) => handle.truncate(size),
        close: () => handle.close(),
      };
    },
  };
  await expect(writeDelivery(full, path.join(directory.path, 'kafka-1'), frames)).rejects.toThrow('ENOSPC');
  expect(await readdir(directory.path)).toEqual([]);
});

/** One frame as a worker holds it. */
async function heldFrames(): Promise<HeldFrame[]> {
  const kafka = new MemoryKafka();
  const batch = { source: 'node-0', epoch: 1, sequence: 1, records: [stepRecord(1)] };
  for (const { table, value } of frameMessages(batch))
    await kafka.produce(TOPIC, [{ partition: 0, key: Buffer.from(batch.source), value, headers: { table } }]);
  return kafka.fetch(TOPIC, 0).flatMap((message) => {
    const frame = readMessage(message, { partition: 0, offset: message.offset }, 1n);
    return typeof frame === 'string' ? [] : [frame];
  });
}
