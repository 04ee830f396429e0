import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import { steps } from '../contract/records.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { writeRequest } from '../formats/remote-write-messages.ts';
import { compressSnappy } from '../formats/snappy-writer.ts';
import { ClickHouseDouble } from '../store/clickhouse-double.ts';
import { startKafka, whyNoKafka } from './kafka-broker.ts';
import { eventually, get, pause, refusedService, type Service, startService } from './running-service.ts';

// The fleet as one runs it: gateway, worker and console as processes of their own over a real Kafka broker, a real
// PostgreSQL and the stand-in for ClickHouse (real client, real engine; see docs/how-to/run-on-clickhouse.md).

const missing = whyNoKafka() ?? POSTGRES_MISSING;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
const start_ms = Math.floor(Date.now() / 1_000) * 1_000 - 600_000;

type List<Item> = { readonly items: readonly Item[] };
type Account = {
  readonly source: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly sequences_missing: number;
  readonly oldest_in_flight_ms: number | null;
};

type Fleet = { readonly start: (role: string) => Promise<Service> };

async function configured(directory: string, shared: object): Promise<Fleet> {
  return {
    start: async (role) => {
      const own = path.join(directory, role);
      await mkdir(own, { recursive: true });
      return startService(own, { server: { port: 0 }, ...shared }, ['--role', role]);
    },
  };
}

/** A sender that repeats each batch until it is acknowledged, whatever happens to the gateway. */
async function sendAll(gateway: () => Service, batches: number): Promise<number> {
  let rows = 0;
  for (let sequence = 1; sequence <= batches; sequence++) {
    const records = steps(sequence * 20, sequence * 20 + 20);
    rows += records.length;
    const body = records.map((record) => JSON.stringify(record)).join('\n');
    const headers = {
      'content-type': 'application/x-ndjson',
      'x-leeway-source': 'node-1',
      'x-leeway-epoch': '7',
      'x-leeway-sequence': String(sequence),
    };
    await untilAcknowledged(() => fetch(`${gateway().url}/v1/events`, { method: 'POST', headers, body }));
  }
  return rows;
}

async function writeAll(gateway: () => Service, requests: number): Promise<number> {
  for (let request = 0; request < requests; request++) {
    const series = ['a', 'b'].map((instance) => ({
      labels: [['__name__', 'load'] as const, ['instance', instance] as const],
      samples: Array.from({ length: 50 }, (_, row) => [start_ms + (request * 50 + row) * 10, row / 10] as const),
    }));
    const body = compressSnappy(writeRequest(...series));
    const headers = {
      'content-type': 'application/x-protobuf',
      'content-encoding': 'snappy',
      'x-leeway-source': 'prom-1',
      'x-leeway-epoch': '7',
      'x-leeway-sequence': String(request + 1),
    };
    await untilAcknowledged(() => fetch(`${gateway().url}/api/v1/write`, { method: 'POST', headers, body }));
  }
  return requests * 100;
}

async function untilAcknowledged(attempt: () => Promise<Response>): Promise<void> {
  for (let time = 0; time < 300; time++) {
    const status = await attempt().then(
      (answer) => answer.status,
      () => 0, // the gateway is down: its successor gets the same batch
    );
    if (status === 200 || status === 204) return;
    if (status >= 400 && status < 500 && status !== 429) throw new Error(`refused with ${status}`);
    await pause(200);
  }
  throw new Error('never acknowledged');
}

describe.skipIf(missing !== null)(`the fleet ${missing ?? `(seed ${seed})`}`, () => {
  test('gateway, worker and broker are killed at random while records and samples come: all is stored once', async () => {
    await using directory = await scratchDirectory();
    await using kafka = await startKafka();
    await using postgres = await PostgresServer.start();
    await using clickhouse = await ClickHouseDouble.start(directory.path);
    const url_file = path.join(directory.path, 'postgres-url');
    const password_file = path.join(directory.path, 'clickhouse-password');
    await writeFile(url_file, postgres.url);
    await writeFile(password_file, 'w');
    const fleet = await configured(directory.path, {
      bus: { kind: 'kafka', brokers: kafka.brokers, create_topics: { partitions: 3, replication: 1 } },
      store: { kind: 'clickhouse', url: clickhouse.url, username: 'writer', password_file },
      control: { kind: 'postgres', url_file },
    });
    const gateway = await fleet.start('gateway');
    await using console = await fleet.start('console');
    // nobody stores yet: the console knows what is on its way all the same
    const first = await eventually('something in flight', async () => {
      const sent = await sendAll(() => gateway, 3);
      const { items } = await get<List<Account>>(console, '/api/v1/delivery');
      return items[0]?.in_flight === sent && items[0];
    });
    expect(first).toMatchObject({ source: 'node-1', emitted: 60, stored: 0, in_flight: 60 });
    expect(first.oldest_in_flight_ms).toBeGreaterThan(0);
    const { delivery } = await get<{ delivery: { in_flight: number; lag_ms: number } }>(console, '/api/v1/overview');
    expect(delivery.in_flight).toBe(60);
    expect(delivery.lag_ms).toBeGreaterThan(0);
    const running = { gateway, worker: await fleet.start('worker') };
    const random = seededRandom(seed);
    const sending = Promise.all([sendAll(() => running.gateway, 60), writeAll(() => running.gateway, 60)]);
    const state = { sent: false };
    void sending.finally(() => {
      state.sent = true;
    });
    for (let kills = 0; kills < 6 && !state.sent; kills++) {
      await pause(300 + integerBelow(random, 1_500));
      const victim = (['gateway', 'worker', 'broker'] as const)[integerBelow(random, 3)] ?? 'worker';
      if (victim === 'broker') {
        await kafka.kill();
        await kafka.restart();
        continue;
      }
      running[victim].kill('SIGKILL');
      await running[victim].ended;
      running[victim] = await fleet.start(victim);
    }
    const [records, samples] = await sending;
    // two series are announced once by each gateway that saw them, and are rows too
    const accounts = await eventually(
      'everything stored',
      async () => {
        const { items } = await get<List<Account>>(console, '/api/v1/delivery');
        const of = (source: string) => items.find((item) => item.source === source);
        const [events, written] = [of('node-1'), of('prom-1')];
        return events?.stored === records && (written?.stored ?? 0) >= samples && { events, written };
      },
      60_000,
    );
    const whole = { emitted: records, stored: records, in_flight: 0, sequences_missing: 0 };
    expect(accounts.events).toMatchObject(whole);
    expect(accounts.written).toMatchObject({ sequences_missing: 0, stored: samples + 2, in_flight: 0 });
    const { items } = await get<List<{ id: string }>>(console, '/api/v1/series?metric=load');
    expect(items).toHaveLength(2);
    const { items: sources } = await get<List<{ source: string; accepted: number }>>(console, '/api/v1/sources');
    expect(sources.map(({ source, accepted }) => [source, accepted])).toContainEqual(['node-1', records]);
    await eventually('the account in the metrics of the worker', async () => {
      const line = `leeway_delivery_stored_records{source="node-1"} ${records}\n`;
      return (await (await fetch(`${running.worker.url}/metrics`)).text()).includes(line);
    });
    await kafka.kill();
    const statuses = () =>
      Promise.all(
        [running.gateway, running.worker, console].map(async ({ url }) => (await fetch(`${url}/readyz`)).status),
      );
    expect(await statuses()).toEqual([503, 503, 200]); // a console needs no Kafka
    for (const { url } of [running.gateway, console]) expect((await fetch(`${url}/metrics`)).status).toBe(200);
    await kafka.restart();
    await eventually('ready with Kafka', async () => (await statuses()).every((status) => status === 200));
    await postgres.stop();
    expect(await statuses()).toEqual([200, 503, 503]); // a gateway acknowledges without PostgreSQL …
    expect(await sendAll(() => running.gateway, 1)).toBe(20); // … and does
    const shown = await (await fetch(`${running.worker.url}/metrics`)).text();
    expect(shown).toMatch(/^leeway_frames_stored_total [1-9]/m);
    expect(shown).not.toContain('leeway_incidents{');
    expect(shown).toMatch(/^leeway_scrape_errors_total\{reading="incidents"\} [1-9]/m);
    await postgres.restart();
    await eventually('ready with PostgreSQL', async () => (await statuses()).every((status) => status === 200));
    for (const service of [running.gateway, running.worker]) {
      service.kill('SIGTERM');
      expect((await service.ended).code).toBe(0);
    }
  }, 180_000);
});

test('a role that shares its work is refused with every door that cannot be shared', async () => {
  await using directory = await scratchDirectory();
  const { code, err } = await refusedService(directory.path, { server: { port: 0 } }, ['--role', 'worker']);
  expect(code).toBe(2);
  expect(err.trim().split('\n')).toEqual([
    expect.stringMatching(/^error\[LW-CONFIG\]: bus\.kind: got "embedded", expected "kafka" with --role worker/),
    expect.stringMatching(/^error\[LW-CONFIG\]: store\.kind: got "embedded", expected "clickhouse" with --role worker/),
    expect.stringMatching(/^error\[LW-CONFIG\]: control\.kind: got "sqlite", expected "postgres" with --role worker/),
  ]);
});
