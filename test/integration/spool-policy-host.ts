import { writeSync } from 'node:fs';
import { systemClock } from '../../src/core/clock.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { steps } from '../contract/records.ts';

// A process that fills a spool of a small quota under drop_oldest or drop_newest for ever and says which batches were
// acknowledged: to be killed.
const [data_dir = '', policy = '', epoch = ''] = process.argv.slice(2);
if (policy !== 'drop_oldest' && policy !== 'drop_newest') throw new Error(`no such policy: ${policy}`);
const known = { sequences: [], lineage_max: 0n };
const limits = { bytes_max: 60_000, segment_bytes_max: 9_000, close_ms: 0, fsync: true };
const bus = await openSpool({ data_dir, clock: systemClock, known, policy, ...limits });
const never = new AbortController().signal;
for (let sequence = 1; ; sequence++) {
  const batch = { source: 'node-1', epoch: Number(epoch), sequence, records: steps(sequence * 10, sequence * 10 + 10) };
  await bus.publish(batch, never);
  writeSync(1, `${sequence}\n`);
}
