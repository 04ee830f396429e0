import { webhook } from '../../alerts/sinks/webhook.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { systemClock } from '../../src/core/clock.ts';
import { seededRandom } from '../../src/core/random.ts';
import { createCourier } from '../../src/pipeline/deliver.ts';
import { enqueue } from '../../src/pipeline/outbox.ts';
import { createHttpClient } from '../../src/transport/http-client.ts';
import { signWebhook } from '../../src/transport/webhook-signature.ts';

// A courier in a process of its own, to be killed: node courier-host.ts <data_dir> <port>. Queues one notification, once.
const [data_dir = '', port = ''] = process.argv.slice(2);
const control = await openSqliteControl({ data_dir, clock: systemClock });
const event = {
  type: 'leeway.incident.opened',
  subject: 'incident/1',
  event: '1',
  at_ms: systemClock.now_ms(),
  data: {},
};
const rest = { severity: null, incident_id: null, decision_id: null, expires_at_ms: null };
await control.transaction((tx) => enqueue(tx, { ...event, ...rest }, ['ops']));
const timeout_ms = 100;
const courier = createCourier({
  control,
  clock: systemClock,
  random: seededRandom(1),
  door: createHttpClient({
    egress: { allow_hosts: ['127.0.0.1'], allow_cidrs: [], allow_http: true },
    clock: systemClock,
    timeout_ms: 5000,
  }),
  destinations: [
    {
      id: 'ops',
      definition: webhook,
      settings: { url: `http://127.0.0.1:${port}/` },
      types: ['*'],
      min_severity: 'warn',
    },
  ],
  readSecret: async () => [],
  sign: signWebhook,
  installation: 'test',
  policy: { timeout_ms, retry_base_ms: 100, retry_max_ms: 1000, retry_for_ms: 60_000 },
  onAttempt: ({ row }) => process.stdout.write(`${row.state} ${row.attempts}\n`),
  onDisabled: async () => undefined,
  onError: (error) => process.stderr.write(`${String(error)}\n`),
});
await courier.run(new AbortController().signal);
