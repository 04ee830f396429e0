import { existsSync, readFileSync } from 'node:fs';
import { createServer, type RequestListener, type Server } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { expect, test } from 'vitest';
import { collector } from '../../collectors/prometheus.ts';
import { type Clock, ManualClock, systemClock } from '../../src/core/clock.ts';
import { describeCollector, openAt, type Place } from '../contract/collector.ts';

const signal = new AbortController().signal;

type Exporter = { readonly url: string; readonly server: Server } & AsyncDisposable;

/** An exporter on loopback that answers with `respond`. */
async function exporter(respond: RequestListener | string): Promise<Exporter> {
  const server = createServer(
    typeof respond === 'string' ? (_request, response) => void response.end(respond) : respond,
  );
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo; // a TCP address, since it listens on a port
  return {
    url: `http://127.0.0.1:${port}/metrics`,
    server,
    [Symbol.asyncDispose]: async () => {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    },
  };
}

/** An address at which nobody listens any more. */
async function closedAddress(): Promise<string> {
  await using source = await exporter('');
  return source.url;
}

const GPU = 'gpu="3",UUID="GPU-1",device="nvidia3",modelName="H100",Hostname="worker-7"';

/** dcgm-exporter's text of one GPU with some families replaced or added. */
function dcgm(values: Readonly<Record<string, string>> = {}): string {
  const all = {
    DCGM_FI_DEV_SM_CLOCK: '1980',
    DCGM_FI_DEV_MAX_SM_CLOCK: '1980',
    DCGM_FI_DEV_GPU_TEMP: '63',
    DCGM_FI_DEV_POWER_USAGE: '612.34',
    DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION: '128996013',
    DCGM_FI_DEV_GPU_UTIL: '97',
    DCGM_FI_PROF_SM_ACTIVE: '0.81',
    DCGM_FI_DEV_FB_USED: '40000',
    DCGM_FI_DEV_FB_TOTAL: '81559',
    DCGM_FI_DEV_ECC_DBE_VOL_TOTAL: '2',
    DCGM_FI_DEV_XID_ERRORS: '79',
    DCGM_FI_DEV_CLOCK_THROTTLE_REASONS: '68', // 0x4 software power cap + 0x40 hardware thermal
    ...values,
  };
  return Object.entries(all)
    .map(([name, value]) => `# TYPE ${name} gauge\n${name}{${GPU}} ${value}\n`)
    .join('');
}

async function place(targets: readonly object[], clock: Clock = systemClock): Promise<Place> {
  return {
    settings: { targets },
    clock,
    feed: async () => undefined,
    isHeld: async () => false, // nothing is kept between two readings
    [Symbol.asyncDispose]: async () => undefined,
  };
}

describeCollector({
  collector,
  present: async () => {
    const source = await exporter(dcgm());
    return { ...(await place([{ url: source.url }])), [Symbol.asyncDispose]: () => source[Symbol.asyncDispose]() };
  },
  absent: () => place([]),
});

test('dcgm-exporter becomes a gpu record in the units of the contract', async () => {
  await using source = await exporter(dcgm());
  const at = await place([{ url: source.url }]);
  await using opened = await openAt(collector, at);
  const before_ms = systemClock.now_ms();
  const outcome = await opened.collect(signal);
  expect(outcome).toEqual({
    kind: 'ok',
    value: [
      {
        type: 'gpu',
        node: 'worker-7',
        gpu: 3,
        at_ms: expect.any(Number),
        utilization: 0.97, // 97 %
        sm_active: 0.81,
        memory_used_bytes: 41_943_040_000, // 40,000 MiB
        memory_total_bytes: 85_520_809_984, // 81,559 MiB
        sm_clock_mhz: 1980,
        sm_clock_max_mhz: 1980,
        temperature_c: 63,
        power_w: 612.34,
        energy_j: 128_996.013, // 128,996,013 mJ
        ecc_uncorrected: 2,
        xid: 79,
        throttle: ['sw_power_cap', 'hw_thermal'],
      },
    ],
  });
  const [record] = outcome.kind === 'ok' ? outcome.value : [];
  expect(Reflect.get(record ?? {}, 'at_ms')).toBeGreaterThanOrEqual(before_ms);
});

test('blank sentinels and values out of range are absent with their reason; Xid 0 means that there was none', async () => {
  await using source = await exporter(
    dcgm({
      DCGM_FI_DEV_GPU_TEMP: '9223372036854775794', // not supported
      DCGM_FI_DEV_POWER_USAGE: '9223372036854775795', // not permissioned
      DCGM_FI_DEV_GPU_UTIL: '250', // above 100 %
      DCGM_FI_DEV_XID_ERRORS: '0',
    }),
  );
  await using opened = await openAt(collector, await place([{ url: source.url }]));
  const outcome = await opened.collect(signal);
  const [record = {}] = outcome.kind === 'ok' ? outcome.value : [];
  expect(record).toMatchObject({
    quality: { temperature_c: 'unsupported', power_w: 'no_permission', utilization: 'lost' },
  });
  for (const field of ['temperature_c', 'power_w', 'utilization', 'xid']) expect(record).not.toHaveProperty(field);
});

test('an instance of MIG is no GPU: the whole one stays, its utilization is mig_unsupported', async () => {
  const instance = `DCGM_FI_PROF_SM_ACTIVE{${GPU},GPU_I_ID="2",GPU_I_PROFILE="1g.10gb"} 0.5\n`;
  const whole = `DCGM_FI_DEV_GPU_TEMP{${GPU}} 40\n`;
  await using source = await exporter(instance + whole);
  await using opened = await openAt(collector, await place([{ url: source.url }]));
  expect(await opened.collect(signal)).toMatchObject({
    kind: 'ok',
    value: [{ gpu: 3, temperature_c: 40, quality: { utilization: 'mig_unsupported', sm_active: 'mig_unsupported' } }],
  });
});

test('a model server becomes inference records, a window a scrape and one scrape late', async () => {
  let requests = 0;
  await using source = await exporter((_request, response) => {
    requests += 10;
    const labels = '{model_name="opt",finished_reason="stop"}';
    response.end(`# TYPE vllm:request_success_total counter\nvllm:request_success_total${labels} ${requests}\n`);
  });
  const clock = new ManualClock();
  await using opened = await openAt(collector, await place([{ url: source.url }], clock));
  const taken = [];
  for (let scrape = 0; scrape < 4; scrape++) {
    const outcome = await opened.collect(signal);
    taken.push(outcome.kind === 'ok' ? outcome.value : outcome);
    await clock.advance(10_000);
  }
  const window = {
    type: 'inference',
    model: 'opt',
    replica: new URL(source.url).host,
    window_ms: 10_000,
    requests: 10,
  };
  expect(taken).toEqual([[], [], [expect.objectContaining(window)], [expect.objectContaining(window)]]);
});

test('a device shared by several pods is one record, and a value of long ago is stale', async () => {
  const clock = new ManualClock();
  const at = (age_ms: number): string => String(clock.now_ms() - age_ms);
  await using source = await exporter(
    `DCGM_FI_DEV_GPU_TEMP{${GPU},pod="a"} 40 ${at(10)}\nDCGM_FI_DEV_GPU_TEMP{${GPU},pod="b"} 40 ${at(10)}\nDCGM_FI_DEV_POWER_USAGE{${GPU}} 70 ${at(300_001)}\n`,
  );
  await using opened = await openAt(collector, await place([{ url: source.url }], clock));
  expect(await opened.collect(signal)).toEqual({
    kind: 'ok',
    value: [
      {
        type: 'gpu',
        node: 'worker-7',
        gpu: 3,
        at_ms: clock.now_ms() - 10,
        temperature_c: 40,
        quality: { power_w: 'stale' },
      },
    ],
  });
});

/** node-exporter's text: two cores that spent `seconds` idle, waiting and busy each. */
function node(idle: number, iowait: number, user: number): string {
  const core = (cpu: number): string =>
    `node_cpu_seconds_total{cpu="${cpu}",mode="idle"} ${idle}\nnode_cpu_seconds_total{cpu="${cpu}",mode="iowait"} ${iowait}\nnode_cpu_seconds_total{cpu="${cpu}",mode="user"} ${user}\n`;
  return `${core(0)}${core(1)}node_cpu_guest_seconds_total{cpu="0",mode="user"} 9\nnode_memory_MemTotal_bytes 1.024e+09\nnode_memory_MemAvailable_bytes 2.4e+07\nnode_uname_info{nodename="worker-9",sysname="Linux"} 1\n`;
}

test('node-exporter becomes a host record from the second scrape on', async () => {
  let text = node(100, 5, 10);
  await using source = await exporter((_request, response) => void response.end(text));
  await using opened = await openAt(collector, await place([{ url: source.url }]));
  expect(await opened.collect(signal)).toEqual({ kind: 'ok', value: [] });
  text = node(106.03, 6, 13.03); // 6.03 idle, 1 waiting, 3.03 busy of 10.06 s on each core
  const outcome = await opened.collect(signal);
  expect(outcome).toMatchObject({
    kind: 'ok',
    value: [{ type: 'host', node: 'worker-9', memory_used_bytes: 1_000_000_000 }],
  });
  const [host = {}] = outcome.kind === 'ok' ? outcome.value : [];
  expect(Reflect.get(host, 'cpu_utilization')).toBeCloseTo(3.03 / 10.06, 9);
  expect(Reflect.get(host, 'iowait')).toBeCloseTo(1 / 10.06, 9);
});

test('families without a record are counted and not kept', async () => {
  await using source = await exporter(`${dcgm()}vllm:num_requests_running 3\npython_gc_total{generation="0"} 7\n`);
  await using opened = await openAt(collector, await place([{ url: source.url }]));
  const outcome = await opened.collect(signal);
  expect(outcome.kind === 'ok' ? outcome.value.length : 0).toBe(1);
  expect(opened.rejected?.()).toEqual({ 'LW-DECODE-UNKNOWN-FIELD': 2 });
});

test('the name of the machine is the one configured, else the exporter’s, else the host of the address', async () => {
  await using named = await exporter(dcgm());
  await using nameless = await exporter('DCGM_FI_DEV_GPU_TEMP{gpu="0",UUID="GPU-1"} 40\n');
  const targets = [{ url: named.url, node: 'mine' }, { url: named.url }, { url: nameless.url }];
  await using opened = await openAt(collector, await place(targets));
  const outcome = await opened.collect(signal);
  const nodes = outcome.kind === 'ok' ? outcome.value.map((record) => String(Reflect.get(record, 'node'))) : [];
  expect(new Set(nodes)).toEqual(new Set(['127.0.0.1', 'mine', 'worker-7']));
});

test('a target that fails costs only itself, under the reason of its failure', async () => {
  await using good = await exporter(dcgm());
  await using busy = await exporter((_request, response) => void response.writeHead(503).end('busy'));
  await using moved = await exporter(
    (_request, response) => void response.writeHead(302, { location: good.url }).end(),
  );
  await using nonsense = await exporter('<html>not metrics</html>\n');
  await using broken = await exporter((_request, response) => {
    response.write('DCGM_FI');
    response.destroy();
  });
  await using silent = await exporter(() => undefined);
  await using endless = await exporter((_request, response) => {
    const chunk = '# filler\n'.repeat(100_000);
    const more = (): void => {
      while (!response.destroyed && response.write(chunk));
    };
    response.on('drain', more);
    more();
  });
  const bad = [busy, moved, nonsense, broken, endless].map(({ url }) => ({ url }));
  const targets = [
    { url: 'http://127.0.0.1:1/metrics' },
    ...bad,
    { url: silent.url, timeout_ms: 50 },
    { url: good.url },
  ];
  await using opened = await openAt(collector, await place(targets));
  expect(await opened.collect(signal)).toMatchObject({ kind: 'ok', value: [{ node: 'worker-7' }] });
  expect(opened.rejected?.()).toEqual({
    'LW-UNREACHABLE': 4, // nobody listens, 503, a redirect, a broken answer
    'LW-INPUT': 1,
    'LW-BODY-SIZE': 1,
    'LW-TIMEOUT': 1,
  });
});

test('only when no target answers is the reading a failure, with the address in its reason', async () => {
  const url = await closedAddress();
  await using opened = await openAt(collector, await place([{ url }]));
  expect(await opened.collect(signal)).toMatchObject({
    kind: 'retry',
    code: 'LW-UNREACHABLE',
    reason: `${url}: no answer (ECONNREFUSED)`,
  });
});

test('the end of the service ends a scrape that is under way', async () => {
  const stop = new AbortController();
  await using silent = await exporter(() => stop.abort());
  await using opened = await openAt(collector, await place([{ url: silent.url }]));
  expect(await opened.collect(stop.signal)).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
});

const CAPTURE = path.resolve(import.meta.dirname, '../../../shared/data/collectors/prometheus/dcgm-exporter_t4.txt');
const isThere = existsSync(CAPTURE);

test.skipIf(!isThere)(
  'a real dcgm-exporter text: values of three devices, none for those without a GPU label',
  async () => {
    await using source = await exporter(readFileSync(CAPTURE, 'utf8'));
    await using opened = await openAt(collector, await place([{ url: source.url }]));
    const outcome = await opened.collect(signal);
    const records = outcome.kind === 'ok' ? outcome.value : [];
    // as printed: T4 of host 424773df46e0 with 300 MHz, 25 °C, 8.969 W, 128,996,013 mJ, 0 %, 0 MiB
    expect(records[0]).toMatchObject({
      node: '424773df46e0',
      gpu: 0,
      sm_clock_mhz: 300,
      temperature_c: 25,
      power_w: 8.969,
      energy_j: 128_996.013,
      utilization: 0,
      memory_used_bytes: 0,
    });
    expect(records.map((record) => Reflect.get(record, 'node'))).not.toContain('127.0.0.1');
  },
);

test.skipIf(isThere)('SKIPPED: a capture of dcgm-exporter is not beside the repository', () => undefined);
