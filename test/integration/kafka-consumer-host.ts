/**
 * A worker that dies at the worst moment: it takes a delivery, prints its frames as stored, and is killed before it can
 * commit. Arguments: driver, broker, topic prefix, scratch directory.
 */
import { writeSync } from 'node:fs';
import { systemClock } from '../../src/core/clock.ts';
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
});
await bus.consume((delivery) => {
  writeSync(1, delivery.frames.map((frame) => `${frame.sequence} ${frame.lineage}\n`).join(''));
  process.kill(process.pid, 'SIGKILL');
  return new Promise(() => undefined);
}, new AbortController().signal);
