/**
 * A worker that can be frozen with rows in hand: it says `in hand` at its first delivery, goes on a moment later (after it
 * was woken, when it was stopped) and prints every frame as stored. Arguments: driver, broker, topic prefix, scratch directory.
 */
import { writeSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { systemClock } from '../../src/core/clock.ts';
import { ok } from '../../src/core/outcome.ts';
import { openKafkaBus } from '../../src/transport/kafka-bus.ts';

const [, , driver, broker = '', topic_prefix = '', scratch_dir = ''] = process.argv;
const bus = await openKafkaBus({
  driver: driver === 'platformatic' ? 'platformatic' : 'kafkajs',
  brokers: [broker],
  topic_prefix,
  scratch_dir,
  clock: systemClock,
  session_timeout_ms: 1_500,
  heartbeat_ms: 300,
  onEvent: ({ kind }) => writeSync(2, `${kind}\n`),
});
let isFirst = true;
await bus.consume(async ({ frames }) => {
  if (isFirst) {
    isFirst = false;
    writeSync(1, 'in hand\n');
    await sleep(300);
  }
  writeSync(1, frames.map((frame) => `stored ${frame.source} ${frame.sequence}\n`).join(''));
  return ok(undefined);
}, new AbortController().signal);
