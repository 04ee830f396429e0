import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import type { Outcome } from '../../src/core/outcome.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { CatalogMapper } from '../../src/formats/catalog-mapper.ts';
import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import { exporterRecords } from '../../src/formats/exporter-records.ts';
import { parseExposition } from '../../src/formats/exposition.ts';
import { ScrapedServing } from '../../src/formats/scraped-serving.ts';
import { decodeOtlpMetrics } from '../../src/formats/otlp-metrics.ts';
import { decodeRemoteWrite } from '../../src/formats/remote-write.ts';
import { decodeRemoteWrite2 } from '../../src/formats/remote-write-2.ts';
import { histogramPoint, numberPoint, otlpRequest, type TestMetric } from './otlp-messages.ts';
import { request2, type TestSeries, writeRequest } from './remote-write-messages.ts';
import { freshTarget, taken } from './sample-rows.ts';

const AT = 1_767_225_600_000;
const STALE = 0x7ff0000000000002n;

/** A sender's connection: what its bodies come to, one after the other. */
class Sender {
  readonly #target: SampleTarget;
  readonly #mapper = new CatalogMapper('prometheus-1');

  constructor(options: { series_max?: number } = {}) {
    this.#target = freshTarget(options);
  }

  send(decode: (target: SampleTarget) => Outcome<DecodedSamples>): readonly LeewayRecord[] {
    const { histograms } = taken(decode(this.#target));
    this.#mapper.learn(this.#target.book.drainNew());
    const { gpus, windows } = this.#mapper.take(this.#target.columns.take(), histograms);
    const records = [...gpus, ...windows];
    for (const record of records) expect(validateRecord(record)).toMatchObject({ kind: 'ok' });
    return records;
  }

  write(...series: TestSeries[]): readonly LeewayRecord[] {
    return this.send((target) => decodeRemoteWrite(writeRequest(...series), target));
  }

  otlp(metrics: readonly TestMetric[], resource: Record<string, string> = {}): readonly LeewayRecord[] {
    return this.send((target) => decodeOtlpMetrics(otlpRequest([{ resource, metrics }]), target));
  }
}

/** The samples of a scrape as a Prometheus would send them on: with its labels job and instance. */
function scraped(text: string, at_ms: number): TestSeries[] {
  return parseExposition(text).samples.map(({ name, labels, value }) => ({
    labels: Object.entries({ __name__: name, ...labels, job: 'dcgm', instance: 'fallback:9400' }).toSorted(
      ([a], [b]) => (a < b ? -1 : 1),
    ),
    samples: [[at_ms, Number(value)]],
  }));
}

/** The same as an OpenTelemetry collector would: every family a gauge or a cumulative sum. */
function collected(text: string, at_ms: number): TestMetric[] {
  const point = (labels: Readonly<Record<string, string>>, value: number | bigint) =>
    numberPoint({ attributes: labels, at_ms, value: Number(value) });
  return [...Map.groupBy(parseExposition(text).samples, ({ name }) => name)].map(([name, samples]) => {
    const points = samples.map(({ labels, value }) => point(labels, value));
    return samples[0]?.type === 'counter'
      ? { name, sum: { points, temporality: 2, monotonic: true } }
      : { name, gauge: points };
  });
}

const byName = (records: readonly LeewayRecord[]) =>
  records.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1));

/** A scrape and the three ways of pushing it give the same records. */
function expectSame(text: string): readonly LeewayRecord[] {
  const { gpus } = exporterRecords(text, { at_ms: AT, node: null, fallback_node: 'fallback' });
  const pushed = scraped(text, AT);
  const resource = { 'service.name': 'dcgm', 'service.instance.id': 'fallback:9400' };
  expect(byName(new Sender().send((target) => decodeRemoteWrite(writeRequest(...pushed), target)))).toEqual(
    byName(gpus),
  );
  expect(byName(new Sender().send((target) => decodeRemoteWrite2(request2(...pushed), target)))).toEqual(byName(gpus));
  expect(byName(new Sender().otlp(collected(text, AT), resource))).toEqual(byName(gpus));
  return gpus;
}

const FIELDS: readonly (readonly [string, 'gauge' | 'counter', number])[] = [
  ['DCGM_FI_DEV_SM_CLOCK', 'gauge', 1_980],
  ['DCGM_FI_DEV_MAX_SM_CLOCK', 'gauge', 1_980],
  ['DCGM_FI_DEV_GPU_TEMP', 'gauge', 90],
  ['DCGM_FI_DEV_MEMORY_TEMP', 'gauge', 95],
  ['DCGM_FI_DEV_POWER_USAGE', 'gauge', 700],
  ['DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION', 'counter', 2 ** 40],
  ['DCGM_FI_DEV_GPU_UTIL', 'gauge', 130], // above 100 %: lost
  ['DCGM_FI_PROF_SM_ACTIVE', 'gauge', 1],
  ['DCGM_FI_DEV_FB_USED', 'gauge', 81_559],
  ['DCGM_FI_DEV_FB_TOTAL', 'gauge', 81_559],
  ['DCGM_FI_DEV_ECC_DBE_VOL_TOTAL', 'counter', 5],
  ['DCGM_FI_DEV_XID_ERRORS', 'gauge', 3],
  ['DCGM_FI_DEV_CLOCK_THROTTLE_REASONS', 'gauge', 256],
  ['DCGM_FI_PROF_NVLINK_TX_BYTES', 'gauge', 1e11], // a rate: no field
  ['DCGM_FI_DEV_FB_RESERVED', 'gauge', 600],
];
/** Sentinels whose reason a double keeps; of the 64-bit ones only the first not-supported does. */
const SENTINELS = ['2147483632', '2147483633', '2147483634', '2147483635', '9223372036854775794', '140737488355329'];

/** The text of a node with some GPUs, some instances of MIG, some fields missing and some blank. */
function anyText(seed: number): string {
  const random = seededRandom(seed);
  const lines: string[] = [];
  for (let gpu = 0; gpu < 1 + integerBelow(random, 8); gpu++)
    for (const [name, type, most] of FIELDS) {
      if (integerBelow(random, 5) === 0) continue;
      const blank = integerBelow(random, 12) === 0 ? SENTINELS[integerBelow(random, SENTINELS.length)] : undefined;
      const number = most <= 1 ? random.next() : integerBelow(random, most * 100) / (type === 'counter' ? 1 : 100);
      const whole = name.endsWith('REASONS') || name.endsWith('XID_ERRORS') ? Math.floor(number) : number;
      const mig = integerBelow(random, 10) === 0 ? ',GPU_I_ID="1",GPU_I_PROFILE="1g.10gb"' : '';
      const labels = `gpu="${gpu}",UUID="GPU-${gpu}",modelName="H100",${seed % 2 ? 'H' : 'h'}ostname="worker-7"${mig}`;
      lines.push(`# TYPE ${name} ${type}\n${name}{${labels}} ${blank ?? whole}\n`);
    }
  return lines.join('');
}

describe('dcgm-exporter, scraped or pushed', () => {
  test('gives the same gpu records by remote write 1.0 and 2.0 and OTLP as by a scrape, whatever its values', () => {
    for (let seed = 1; seed <= 25; seed++) {
      try {
        expectSame(anyText(seed));
      } catch (error) {
        throw new Error(`seed ${seed}`, { cause: error });
      }
    }
  });

  const capture = path.join(import.meta.dirname, '../../../shared/data/collectors/prometheus/dcgm-exporter_t4.txt');
  const present = existsSync(capture);
  test.skipIf(!present)(
    `the capture of a T4 gives the records of a scrape${present ? '' : ' (SKIPPED: ../shared/data is missing)'}`,
    () => {
      const gpus = expectSame(readFileSync(capture, 'utf8'));
      expect(gpus.find((record) => Reflect.get(record, 'power_w') === 8.969)).toMatchObject({
        node: '424773df46e0',
        gpu: 0,
        utilization: 0,
        temperature_c: 25,
        sm_clock_mhz: 300,
        energy_j: 128_996.013, // 128,996,013 mJ
      });
    },
  );

  const labels = (name: string, more: Record<string, string> = {}): TestSeries['labels'] =>
    Object.entries({ __name__: name, Hostname: 'n1', UUID: 'GPU-1', gpu: '1', ...more });

  test('samples of several times are a record each; a series that ended or belongs to no device says nothing', () => {
    const records = new Sender().write(
      {
        labels: labels('DCGM_FI_DEV_GPU_TEMP'),
        samples: [
          [AT, 40],
          [AT + 10_000, 41],
        ],
      },
      {
        labels: labels('DCGM_FI_DEV_POWER_USAGE'),
        samples: [
          [AT, 300],
          [AT + 10_000, STALE],
        ],
      },
      { labels: [['__name__', 'DCGM_FI_DEV_GPU_TEMP']], samples: [[AT, 99]] },
      { labels: labels('node_load1'), samples: [[AT, 1]] },
    );
    expect(records).toEqual([
      { type: 'gpu', node: 'n1', gpu: 1, at_ms: AT, temperature_c: 40, power_w: 300 },
      { type: 'gpu', node: 'n1', gpu: 1, at_ms: AT + 10_000, temperature_c: 41 },
    ]);
  });

  test('the same body again gives the same records, and a machine without a name is where it was scraped', () => {
    const sender = new Sender();
    const body: TestSeries = {
      labels: [
        ['__name__', 'DCGM_FI_DEV_GPU_UTIL'],
        ['gpu', '0'],
        ['instance', '10.0.0.7:9400'],
      ],
      samples: [[AT, 50]],
    };
    const once = sender.write(body);
    expect(once).toEqual([{ type: 'gpu', node: '10.0.0.7', gpu: 0, at_ms: AT, utilization: 0.5 }]);
    expect(sender.write(body)).toEqual(once);
  });

  test('values that a double cannot hold exactly are still told apart where OTLP sends integers', () => {
    const gauge = (value: bigint) => [numberPoint({ attributes: { gpu: '0', Hostname: 'n1' }, at_ms: AT, value })];
    const records = new Sender().otlp([
      { name: 'DCGM_FI_DEV_GPU_TEMP', gauge: gauge(9_223_372_036_854_775_794n) }, // not supported
      { name: 'DCGM_FI_DEV_POWER_USAGE', gauge: gauge(9_223_372_036_854_775_795n) }, // not permissioned
    ]);
    expect(records).toEqual([
      {
        type: 'gpu',
        node: 'n1',
        gpu: 0,
        at_ms: AT,
        quality: { temperature_c: 'unsupported', power_w: 'no_permission' },
      },
    ]);
  });

  test('series over the cap are no GPU: the overflow series has no device', () => {
    const sender = new Sender({ series_max: 1 });
    const records = sender.write(
      { labels: labels('up'), samples: [[AT, 1]] },
      { labels: labels('DCGM_FI_DEV_GPU_TEMP'), samples: [[AT, 40]] },
    );
    expect(records).toEqual([]);
  });
});

describe('hw.* of OpenTelemetry', () => {
  const host = { 'host.name': 'worker-3' };
  const id = { 'hw.id': 'GPU-7', 'hw.type': 'gpu' };
  const point = (attributes: Record<string, string>, value: number) => numberPoint({ attributes, at_ms: AT, value });
  const sum = (temporality: number, monotonic: boolean, ...points: ReturnType<typeof point>[]) => ({
    points,
    temporality,
    monotonic,
  });

  test('becomes a gpu record in the units of the contract; units that are declared are obeyed', () => {
    const records = new Sender().otlp(
      [
        {
          name: 'hw.gpu.utilization',
          unit: '1',
          gauge: [point({ ...id, 'hw.gpu.task': 'general' }, 0.25), point({ ...id, 'hw.gpu.task': 'encoder' }, 0.9)],
        },
        { name: 'hw.gpu.memory.usage', unit: 'MiBy', sum: sum(2, false, point(id, 1_000)) },
        { name: 'hw.gpu.memory.limit', unit: 'By', sum: sum(2, false, point(id, 85e9)) },
        { name: 'hw.power', unit: 'W', gauge: [point(id, 512.5)] },
        {
          name: 'hw.temperature',
          unit: 'Cel',
          gauge: [
            point({ ...id, 'hw.sensor_location': 'memory' }, 88),
            point({ ...id, 'hw.sensor_location': 'gpu' }, 61),
          ],
        },
        { name: 'hw.energy', unit: 'J', sum: sum(2, true, point(id, 12_345)) },
        {
          name: 'hw.errors',
          unit: '{error}',
          sum: sum(
            2,
            true,
            point({ ...id, 'error.type': 'uncorrected' }, 2),
            point({ ...id, 'error.type': 'corrected' }, 9),
          ),
        },
        { name: 'hw.gpu.io', unit: 'By', sum: sum(2, true, point({ ...id, 'network.io.direction': 'transmit' }, 7e9)) },
        { name: 'hw.gpu.speed', unit: 'MHz', gauge: [point({ ...id, clock_domain: 'sm' }, 1_410)] },
      ],
      host,
    );
    expect(records).toEqual([
      {
        type: 'gpu',
        node: 'worker-3',
        gpu: 'GPU-7',
        at_ms: AT,
        utilization: 0.25,
        memory_used_bytes: 1_048_576_000, // 1,000 MiB
        memory_total_bytes: 85e9,
        power_w: 512.5,
        temperature_c: 61,
        energy_j: 12_345,
        ecc_uncorrected: 2,
        pcie_tx_bytes: 7e9,
        sm_clock_mhz: 1_410,
      },
    ]);
  });

  test('other hardware, other units and changes of a level stay series', () => {
    const disk = { 'hw.id': 'nvme0', 'hw.type': 'physical_disk' };
    const records = new Sender().otlp([
      { name: 'hw.temperature', unit: 'Cel', gauge: [point(disk, 40)] },
      { name: 'hw.power', unit: 'W', gauge: [point({ 'hw.id': 'psu-1' }, 40)] },
      { name: 'hw.gpu.memory.usage', unit: 'By', sum: sum(1, false, point(id, 4_096)) },
      {
        name: 'hw.gpu.interconnect.io',
        unit: 'By',
        sum: sum(2, true, point({ ...id, link: '3', 'network.io.direction': 'transmit' }, 1)),
      },
    ]);
    expect(records).toEqual([]);
    const fahrenheit = { name: 'hw.temperature', unit: '[degF]', gauge: [point(id, 104)] };
    expect(new Sender().otlp([fahrenheit])).toEqual([]);
  });

  test('changes of a counter are summed to the total that the record holds; a point told again is not added twice', () => {
    const sender = new Sender();
    const energy = (at_ms: number, joules: number) =>
      sender.otlp(
        [{ name: 'hw.energy', unit: 'J', sum: sum(1, true, numberPoint({ attributes: id, at_ms, value: joules })) }],
        host,
      );
    const totals = [energy(AT, 100), energy(AT + 1_000, 20), energy(AT + 1_000, 20), energy(AT + 2_000, 3)];
    expect(totals.map(([record]) => Reflect.get(record ?? {}, 'energy_j'))).toEqual([100, 120, 120, 123]);
  });

  test('the spelling of Prometheus means the same, and readings within a moment are one record', () => {
    const named = (name: string, at_ms: number, value: number): TestSeries => ({
      labels: Object.entries({ __name__: name, host_name: 'worker-3', hw_id: 'GPU-7', hw_type: 'gpu' }),
      samples: [[at_ms, value]],
    });
    const records = new Sender().write(
      named('hw_gpu_utilization_ratio', AT, 0.5),
      named('hw_gpu_memory_usage_bytes', AT + 3, 1e9),
      named('hw_energy_joules_total', AT + 3, 77),
      named('hw_power_watts', AT + 4, 90),
      named('hw_power_watts', AT + 1_004, 91),
    );
    expect(records).toEqual([
      {
        type: 'gpu',
        node: 'worker-3',
        gpu: 'GPU-7',
        at_ms: AT + 4,
        utilization: 0.5,
        memory_used_bytes: 1e9,
        energy_j: 77,
        power_w: 90,
      },
      { type: 'gpu', node: 'worker-3', gpu: 'GPU-7', at_ms: AT + 1_004, power_w: 91 },
    ]);
  });
});

describe('serving', () => {
  const vllm = (at_ms: number, count: number, within: number, seconds: number): TestSeries[] => {
    const of = (name: string, value: number, more: Record<string, string> = {}): TestSeries => ({
      labels: Object.entries({ __name__: name, instance: 'pod-1:8000', model_name: 'opt', ...more }).toSorted(
        ([a], [b]) => (a < b ? -1 : 1),
      ),
      samples: [[at_ms, value]],
    });
    return [
      of('vllm:e2e_request_latency_seconds_bucket', within, { le: '0.5' }),
      of('vllm:e2e_request_latency_seconds_bucket', count, { le: '+Inf' }),
      of('vllm:e2e_request_latency_seconds_sum', seconds),
      of('vllm:e2e_request_latency_seconds_count', count),
      of('vllm:request_success_total', count - 1, { finished_reason: 'stop' }),
      of('vllm:request_success_total', 1, { finished_reason: 'error' }),
      of('vllm:generation_tokens_total', 10 * count),
    ];
  };
  const NONE = { bounds: [], counts: [0], sum: 0 };

  test('cumulative counters become one inference record a window, once the next reading begins', () => {
    const sender = new Sender();
    expect(sender.write(...vllm(AT, 100, 60, 50))).toEqual([]); // where counting begins
    expect(sender.write(...vllm(AT + 15_000, 110, 64, 58))).toEqual([]);
    expect(sender.write(...vllm(AT + 30_000, 110, 64, 58))).toEqual([
      {
        type: 'inference',
        model: 'opt',
        version: 'unknown',
        replica: 'pod-1:8000',
        provider: 'vllm',
        at_ms: AT + 15_000,
        window_ms: 15_000,
        requests: 10,
        errors: 0,
        total_ms: { bounds: [500], counts: [4, 6], sum: 8_000 }, // 64 − 60, (110 − 64) − (100 − 60), 58 s − 50 s
        queue_ms: NONE,
        compute_ms: NONE,
      },
    ]);
    const [quiet] = sender.write(...vllm(AT + 45_000, 110, 64, 58));
    expect(quiet).toMatchObject({ at_ms: AT + 30_000, requests: 0, total_ms: { counts: [0, 0], sum: 0 } });
  });

  test('a restart counts from zero, a reading that comes twice or late counts once', () => {
    const sender = new Sender();
    sender.write(...vllm(AT, 100, 60, 50));
    sender.write(...vllm(AT + 15_000, 7, 3, 2)); // restarted
    sender.write(...vllm(AT + 15_000, 7, 3, 2));
    sender.write(...vllm(AT, 100, 60, 50));
    const records = sender.write(...vllm(AT + 30_000, 8, 3, 4));
    expect(records).toEqual([expect.objectContaining({ at_ms: AT + 15_000, requests: 7, errors: 1 })]);
  });

  test('a reading that is cut into requests is one window; one of which a part never came goes into the next', () => {
    const sender = new Sender();
    for (const series of vllm(AT, 100, 60, 50)) sender.write(series);
    for (const series of vllm(AT + 15_000, 110, 64, 58)) sender.write(series);
    const late = vllm(AT + 30_000, 130, 80, 60);
    const first = late.slice(0, 3).flatMap((series) => sender.write(series));
    expect(first).toEqual([expect.objectContaining({ window_ms: 15_000, requests: 10 })]);
    const second = vllm(AT + 45_000, 150, 90, 70).flatMap((series) => sender.write(series));
    expect(second).toEqual([]); // half of the reading at 30 s is missing
    const third = vllm(AT + 60_000, 151, 90, 70).flatMap((series) => sender.write(series));
    expect(third).toEqual([
      expect.objectContaining({
        at_ms: AT + 45_000,
        window_ms: 30_000,
        requests: 40, // 150 − 110
        total_ms: { bounds: [500], counts: [26, 14], sum: 12_000 }, // 90 − 64; 40 − 26; 70 s − 58 s
      }),
    ]);
  });

  test('two Prometheus that read the same server count once; the second takes over when the first is silent', () => {
    const sender = new Sender();
    const from = (replica: string, at_ms: number, count: number) =>
      sender.write(
        ...vllm(at_ms, count, 0, count).map(({ labels, ...rest }) => ({
          ...rest,
          labels: [...labels, ['prometheus_replica', replica] as const],
        })),
      );
    const taken = [0, 1, 2, 3].flatMap((n) => [
      ...from('a', AT + n * 15_000, 100 + n * 10),
      ...from('b', AT + n * 15_000 + 7_000, 104 + n * 10),
    ]);
    expect(taken.map((record) => [Reflect.get(record, 'at_ms') - AT, Reflect.get(record, 'requests')])).toEqual([
      [15_000, 10],
      [30_000, 10],
    ]);
    // a is gone: b counts from its first reading two minutes later on
    const later = [0, 1, 2].flatMap((n) => from('b', AT + 180_000 + n * 15_000, 300 + n * 10));
    expect(later).toEqual([expect.objectContaining({ at_ms: AT + 195_000, window_ms: 15_000, requests: 10 })]);
  });

  test('gen_ai.server.request.duration: explicit buckets, cumulative or delta, with failures by error.type', () => {
    const record = (temporality: number, values: readonly (readonly bigint[])[]): readonly LeewayRecord[] => {
      const sender = new Sender();
      return values.flatMap(([fast = 0n, slow = 0n, failed = 0n], index) => {
        const at_ms = AT + index * 10_000;
        const model = { 'gen_ai.request.model': 'llama', 'gen_ai.provider.name': 'x' };
        const points = [
          histogramPoint({
            attributes: model,
            at_ms,
            count: fast + slow,
            sum: Number(slow),
            counts: [fast, slow],
            bounds: [0.1],
          }),
          histogramPoint({
            attributes: { ...model, 'error.type': 'timeout' },
            at_ms,
            count: failed,
            sum: 0,
            counts: [failed, 0n],
            bounds: [0.1],
          }),
        ];
        return sender.otlp(
          [{ name: 'gen_ai.server.request.duration', unit: 's', histogram: { points, temporality } }],
          {
            'service.name': 'llm',
            'service.version': '2.1',
            'service.instance.id': 'a',
          },
        );
      });
    };
    const cumulative = record(2, [
      [5n, 1n, 0n],
      [8n, 3n, 2n],
      [9n, 9n, 2n],
    ]);
    const delta = record(1, [
      [5n, 1n, 0n],
      [3n, 2n, 2n],
      [1n, 6n, 0n],
    ]);
    expect(cumulative).toEqual([
      expect.objectContaining({
        model: 'llama',
        version: '2.1',
        replica: 'a',
        window_ms: 10_000,
        requests: 7, // 3 + 2 + 2
        errors: 2,
        total_ms: { bounds: [100], counts: [5, 2], sum: 2_000 },
      }),
    ]);
    expect(delta).toEqual(cumulative);
  });

  test('Triton: sums without buckets are means, a batch is inferences ÷ executions', () => {
    const sender = new Sender();
    const reading = (at_ms: number, values: Readonly<Record<string, number>>) =>
      sender.write(
        ...Object.entries(values).map(
          ([name, value]): TestSeries => ({
            labels: Object.entries({ __name__: name, instance: 'triton:8002', model: 'densenet', version: '1' }),
            samples: [[at_ms, value]],
          }),
        ),
      );
    const values = (n: number) => ({
      nv_inference_request_success: 4 * n,
      nv_inference_request_failure: n,
      nv_inference_count: 32 * n,
      nv_inference_exec_count: 4 * n,
      nv_inference_request_duration_us: 40_000 * n,
      nv_inference_queue_duration_us: 4_000 * n,
      nv_inference_compute_input_duration_us: 1_000 * n,
      nv_inference_compute_infer_duration_us: 30_000 * n,
      nv_inference_compute_output_duration_us: 1_000 * n,
      nv_gpu_power_usage: 70,
    });
    const records = [1, 2, 3].flatMap((n) => reading(AT + n * 1_000, values(n)));
    expect(records).toEqual([
      expect.objectContaining({
        model: 'densenet',
        version: '1',
        provider: 'triton',
        requests: 5,
        errors: 1,
        total_ms: { bounds: [], counts: [4], sum: 40 },
        queue_ms: { bounds: [], counts: [4], sum: 4 },
        compute_ms: { bounds: [], counts: [4], sum: 32 },
        batch: { bounds: [], counts: [4], sum: 32 },
      }),
    ]);
  });

  test('NIM, TGI, KServe and BentoML are known by their names; the same words of others are not', () => {
    const at = (n: number, name: string, labels: Record<string, string>): TestSeries => ({
      labels: Object.entries({ __name__: name, instance: 'i', ...labels }).toSorted(([a], [b]) => (a < b ? -1 : 1)),
      samples: [[AT + n * 1_000, n]],
    });
    const sender = new Sender();
    const records = [1, 2, 3].flatMap((n) =>
      sender.write(
        at(n, 'request_success_total', { model_name: 'nim-model' }),
        at(n, 'request_success_total', { app: 'shop' }),
        at(n, 'tgi_request_count', { job: 'tgi-model' }),
        at(n, 'tgi_request_failure', { job: 'tgi-model', err: 'overloaded' }),
        at(n, 'request_predict_seconds_count', { model_name: 'kserve-model' }),
        at(n, 'request_predict_seconds_sum', { model_name: 'kserve-model' }),
        at(n, 'bentoml_service_request_total', {
          service_name: 'bento',
          service_version: '3',
          http_response_code: '500',
        }),
        at(n, 'bentoml_service_request_total', {
          service_name: 'bento',
          service_version: '3',
          http_response_code: '200',
        }),
      ),
    );
    const told = records.map((record) => [
      Reflect.get(record, 'model'),
      Reflect.get(record, 'requests'),
      Reflect.get(record, 'errors'),
    ]);
    expect(told).toEqual([
      ['nim-model', 1, 0],
      ['tgi-model', 1, 1],
      ['kserve-model', 1, 0],
      ['bento', 2, 1],
    ]);
  });
});

describe('model servers, scraped or pushed', () => {
  const folder = path.join(import.meta.dirname, '../../../shared/data/collectors/prometheus');
  const present = existsSync(folder);
  const skipped = present ? '' : ' (SKIPPED: ../shared/data is missing)';

  const TRITON_MODELS =
    'densenet_onnx inception_graphdef simple simple_dyna_sequence simple_identity simple_int8 simple_sequence simple_string';

  /** What three readings of a target come to, each of its numbers `add` higher than the one before. */
  function threeReadings(
    text: string,
    add: number,
  ): { scraped: readonly LeewayRecord[]; pushed: readonly LeewayRecord[] } {
    const serving = new ScrapedServing('fallback:9400');
    const sender = new Sender();
    const both = [0, 1, 2].map((n) => {
      const reading = text.replaceAll(
        /^([^#\n][^\n]*[ }])([\d.e+-]+)$/gm,
        (_, series: string, value: string) => `${series}${Number(value) + n * add}`,
      );
      const at_ms = AT + n * 15_000;
      const stamp = { at_ms, node: null, fallback_node: 'fallback' };
      return {
        scraped: exporterRecords(reading, stamp, serving).serving,
        pushed: sender.write(...scraped(reading, at_ms)),
      };
    });
    const inference = (records: readonly LeewayRecord[]) => records.filter(({ type }) => type === 'inference');
    return {
      scraped: byName(both.flatMap((one) => one.scraped)),
      pushed: byName(inference(both.flatMap((one) => one.pushed))),
    };
  }

  test.skipIf(!present).each([
    ['vllm.txt', ['facebook/opt-125m']],
    ['triton_densenet_onnx.txt', TRITON_MODELS.split(' ')],
    ['nvidia_nim.txt', ['meta/llama-3.1-8b-instruct']],
  ])(`the capture %s gives the same inference records both ways${skipped}`, (file, models) => {
    const { scraped: one, pushed: other } = threeReadings(readFileSync(path.join(folder, file), 'utf8'), 2);
    expect(one.length).toBeGreaterThan(0);
    expect(other).toEqual(one);
    expect([...new Set(one.map((record) => Reflect.get(record, 'model')))]).toEqual(models);
    for (const record of one) expect(validateRecord(record)).toMatchObject({ kind: 'ok' });
  });

  test.skipIf(!present)(`a text without model servers makes no inference record${skipped}`, () => {
    const text = readFileSync(path.join(folder, 'dcgm-exporter_t4.txt'), 'utf8');
    expect(threeReadings(text, 1)).toEqual({ scraped: [], pushed: [] });
  });
});

test('whatever names, labels and numbers strangers send, every record that comes of it is a valid one', () => {
  const names =
    'DCGM_FI_DEV_GPU_UTIL DCGM_FI_DEV_XID_ERRORS DCGM_FI_DEV_CLOCK_THROTTLE_REASONS DCGM_FI_DEV_FB_USED hw.power hw.gpu.io hw_errors_total tgi_request_count tgi_request_failure tgi_request_duration_sum tgi_request_duration_count tgi_request_duration_bucket nv_inference_exec_count nv_inference_count nv_inference_queue_duration_us vllm:request_success_total'.split(
      ' ',
    );
  const labels =
    'gpu UUID Hostname hw.id hw.type le model version instance job error.type finished_reason GPU_I_ID network.io.direction link __proto__'.split(
      ' ',
    );
  const texts = [
    '',
    '0',
    '-1',
    '1e9',
    'gpu',
    'GPU-1',
    '+Inf',
    'NaN',
    'transmit',
    '__proto__',
    'é'.repeat(700),
    '99999999999999999999',
  ];
  const numbers = [
    0,
    -0,
    1,
    0.1,
    -1,
    3.5,
    1e15,
    2 ** 53,
    2 ** 63,
    1e300,
    5e-324,
    Infinity,
    -Infinity,
    NaN,
    2_147_483_632,
    STALE,
  ];
  let records = 0;
  for (let seed = 1; seed <= 20; seed++) {
    const random = seededRandom(seed);
    const pick = <Item>(items: readonly Item[]): Item => items[integerBelow(random, items.length)] as Item; // not empty
    const sender = new Sender();
    for (let n = 0; n < 4; n++)
      records += sender.write(
        ...Array.from({ length: 30 }, (): TestSeries => {
          const own = Array.from({ length: 4 }, (): [string, string] => [pick(labels), pick(texts)]);
          return { labels: [['__name__', pick(names)], ...new Map(own)], samples: [[AT + n * 1_000, pick(numbers)]] };
        }),
      ).length; // the sender holds every record against its schema
  }
  expect(records).toBeGreaterThan(50);
});

test('a window of a body that was not stored is given with the next one', () => {
  const target = freshTarget();
  const mapper = new CatalogMapper('s');
  const reading = (n: number) => {
    const series = {
      labels: [
        ['__name__', 'tgi_request_count'],
        ['job', 'm'],
      ] as const,
      samples: [[AT + n * 1_000, n]] as const,
    };
    taken(decodeRemoteWrite(writeRequest(series), target));
    mapper.learn(target.book.drainNew());
    return mapper.take(target.columns.take(), []);
  };
  reading(1);
  reading(2);
  const lost = reading(3);
  expect(lost.windows).toHaveLength(1);
  mapper.giveBack(lost);
  expect(reading(3).windows).toEqual(lost.windows);
  expect(reading(3).windows).toEqual([]);
});

test('what the book forgot is forgotten, and mapped again when it returns', () => {
  const target = freshTarget();
  const mapper = new CatalogMapper('s');
  const body = writeRequest({
    labels: [
      ['__name__', 'DCGM_FI_DEV_GPU_TEMP'],
      ['gpu', '0'],
    ],
    samples: [[AT, 40]],
  });
  const send = () => {
    taken(decodeRemoteWrite(body, target));
    mapper.learn(target.book.drainNew());
    return mapper.take(target.columns.take(), []).gpus.length;
  };
  const sweep = () => {
    target.book.evictIdle();
    mapper.sweep((low, high) => target.book.holds(low, high));
  };
  expect(send()).toBe(1);
  sweep();
  expect(send()).toBe(1); // it came since the last sweep
  sweep();
  sweep();
  expect(send()).toBe(1);
});
