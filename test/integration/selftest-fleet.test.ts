import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { SelftestReport } from '../../src/cli/selftest/report.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { ClickHouseDouble } from '../store/clickhouse-double.ts';
import { startKafka, whyNoKafka } from './kafka-broker.ts';
import { LeewayProcess, pause, runLeeway } from './leeway-process.ts';
import { type Service, startService } from './running-service.ts';

// The selftest as a person runs it on a fleet: records to the gateway, everything read back from the console, while the worker
// and the gateway are killed and started again.

const missing = whyNoKafka() ?? POSTGRES_MISSING;

test.skipIf(missing === null)(`SKIPPED, the selftest of a fleet is not tested: ${missing}`, ({ skip }) => skip());

test.skipIf(missing !== null)(
  'leeway selftest proves a fleet from gateway to console while gateway and worker are killed',
  async () => {
    await using directory = await scratchDirectory();
    await using kafka = await startKafka();
    await using postgres = await PostgresServer.start();
    await using clickhouse = await ClickHouseDouble.start(directory.path);
    const url_file = path.join(directory.path, 'postgres-url');
    const password_file = path.join(directory.path, 'clickhouse-password');
    await writeFile(url_file, postgres.url);
    await writeFile(password_file, 'w');
    const shared = {
      bus: { kind: 'kafka', brokers: kafka.brokers, create_topics: { partitions: 3, replication: 1 } },
      store: { kind: 'clickhouse', url: clickhouse.url, username: 'writer', password_file },
      control: { kind: 'postgres', url_file },
    };
    const start = async (role: string, port = 0): Promise<Service> => {
      const own = path.join(directory.path, role);
      await mkdir(own, { recursive: true });
      return startService(own, { server: { port }, ...shared }, ['--role', role]);
    };
    const running = { gateway: await start('gateway'), worker: await start('worker') };
    await using console = await start('console');
    const { url } = running.gateway;
    const argv = ['selftest', '--url', url, '--batches', '150', '--format', 'json'];

    const blind = await runLeeway([...argv, '--timeout', '5'], directory.path);
    expect([blind.code, blind.err]).toEqual([7, expect.stringContaining('a gateway keeps no rows: the console does')]);

    await using selftest = new LeewayProcess([...argv, '--read-url', console.url], directory.path);
    for (const role of ['worker', 'gateway', 'worker'] as const) {
      await pause(1_500);
      running[role].kill('SIGKILL');
      await running[role].ended;
      running[role] = await start(role, role === 'gateway' ? Number(new URL(url).port) : 0);
    }
    const { code } = await selftest.exited;
    for (const service of Object.values(running)) await service[Symbol.asyncDispose]();
    expect(code, selftest.err + selftest.out).toBe(0);
    const report = JSON.parse(selftest.out) as SelftestReport; // the command's own document
    expect(report).toMatchObject({
      proven: true,
      sent: { batches: 151 },
      account: { in_flight: 0, declared_loss: {}, sequences_missing: 0, sequence_max: 151 },
      read_back: { missing: 0, doubled: 0, changed: 0, foreign: 0 },
    });
    globalThis.console.log(
      `fleet: ${report.account?.stored} stored, ${report.sent.retried_batches} batches sent again after failures, ` +
        `${report.account?.duplicates_absorbed} duplicates absorbed, settled after ${report.settled_after_ms} ms`,
    );
  },
  180_000,
);
