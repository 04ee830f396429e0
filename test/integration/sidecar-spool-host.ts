// What a sidecar does with records, without its collectors: publishes steps from argv[4] on into the spool of argv[2], says
// `durable <step>` after each batch, and forwards to the gateway at argv[3]. Killed by its parent at any time. Ends by itself at
// step argv[5], when the gateway has everything; says `epoch <n>` first. argv[6]: bytes of the spool, whose oldest are dropped.
import path from 'node:path';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { Forwarder } from '../../src/transport/forward.ts';
import { forwardDisk } from '../../src/transport/forward-disk.ts';
import { openGatewayLink } from '../../src/transport/forward-link.ts';
import { ForwardLog } from '../../src/transport/forward-log.ts';
import { ForwardSpool } from '../../src/transport/forward-spool.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { heartbeat, stepRecord } from '../contract/records.ts';

const [data_dir = '', url = '', from = '', to = '', quota = '67108864'] = process.argv.slice(2);
const never = new AbortController().signal;
const disk = forwardDisk(true);
const log = await ForwardLog.open(disk, path.join(data_dir, 'spool'), () => Math.floor(Math.random() * 2 ** 50));
process.stdout.write(`epoch ${log.epoch}\n`);
const spool = await openSpool({
  data_dir,
  bytes_max: Number(quota),
  policy: 'drop_oldest',
  fsync: true,
  clock: systemClock,
  known: { sequences: log.known(), lineage_max: 0n },
  disk,
  close_ms: 20,
});
const bus = new ForwardSpool(spool, log);
const link = await openGatewayLink({
  url,
  readToken: async () => null,
  clock: systemClock,
  onEvent: ({ reason }) => void process.stderr.write(`${reason}\n`),
});
const end = new AbortController();
const forwarder = new Forwarder({
  bus,
  log,
  disk,
  link,
  clock: systemClock,
  random: systemRandom,
  run: String(process.pid),
  losses: () => [],
  cut: end.signal,
  onEvent: ({ reason }) => void process.stderr.write(`${reason}\n`),
});
const forwarding = forwarder.run(end.signal);
for (let step = Number(from); step < Number(to); step += 2) {
  // two types of records, so that a batch is two frames that travel alone
  const at_ms = Date.now(); // a store keeps raw rows for 14 days
  const records = [stepRecord(step), heartbeat(step), stepRecord(step + 1)].map((record) => ({ ...record, at_ms }));
  await bus.publish({ source: 'host@test', records }, never);
  process.stdout.write(`durable ${step + 1}\n`);
  await systemClock.sleep(2, never);
}
while (bus.backlog().frames > 0) await systemClock.sleep(10, never);
end.abort();
await forwarding;
await bus[Symbol.asyncDispose]();
link[Symbol.dispose]();
