import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { request2, type TestSeries, writeRequest } from '../formats/remote-write-messages.ts';
import { message, text, uint } from '../formats/protobuf-writer.ts';
import { compressSnappy } from '../formats/snappy-writer.ts';
import { eventually, get, type Service, startService } from './running-service.ts';

const V1 = 'application/x-protobuf';
const V2 = 'application/x-protobuf;proto=io.prometheus.write.v2.Request';

type List<Item> = { readonly items: readonly Item[] };
type Series = { readonly id: string; readonly metric: string; readonly labels: Record<string, string> };
type Sample = { readonly at_ms: number; readonly value: number | string };
type Account = Record<'source' | 'emitted' | 'stored' | 'in_flight' | 'duplicates_absorbed', unknown>;

async function write(service: Service, type: string, body: Uint8Array, headers: Record<string, string> = {}) {
  const answer = await fetch(`${service.url}/api/v1/write`, {
    method: 'POST',
    headers: { 'content-type': type, 'content-encoding': 'snappy', ...headers },
    body: compressSnappy(body),
  });
  return { status: answer.status, headers: answer.headers, text: await answer.text() };
}

const quiet = { server: { port: 0 }, collectors: { host: { enabled: false } } };
const start_ms = Math.floor(Date.now() / 1_000) * 1_000 - 60_000;
/** Values that a lossy store would change: as bits where a NaN's payload matters. */
const VALUES: readonly (readonly [number | bigint, number | string])[] = [
  [1, 1],
  [0.1, 0.1],
  [-0, '-0'],
  [2 ** 53 + 2, 2 ** 53 + 2],
  [1e300, 1e300],
  [5e-324, 5e-324],
  [Number.POSITIVE_INFINITY, 'Infinity'],
  [Number.NEGATIVE_INFINITY, '-Infinity'],
  [Number.NaN, 'NaN'],
  [0x7ff0000000000002n, 'nan:7ff0000000000002'],
];

function cpu(instance: string): TestSeries {
  return {
    labels: [
      ['__name__', 'cpu_seconds'],
      ['instance', instance],
      ['mode', 'ü "quoted" \\ \n'],
    ],
    samples: VALUES.map(([value], index) => [start_ms + index * 1_000, value]),
  };
}

async function readBack(service: Service, series: TestSeries): Promise<readonly Sample[]> {
  const labels = Object.fromEntries(series.labels);
  const { items } = await get<List<Series>>(service, `/api/v1/series?metric=${labels['__name__']}`);
  const found = items.find((item) => JSON.stringify(item.labels) === JSON.stringify(labels));
  if (found === undefined) return [];
  return (await get<List<Sample>>(service, `/api/v1/series/${found.id}/samples`)).items;
}

const expected = VALUES.map(([, value], index) => ({ at_ms: start_ms + index * 1_000, value }));

test('remote write 1.0 and 2.0 read back bit for bit, repeats and a restart change nothing, the account adds up', async () => {
  await using directory = await scratchDirectory();
  const [one, two] = [cpu('a:9100'), cpu('b:9100')];
  {
    await using service = await startService(directory.path, quiet);
    expect(await write(service, V1, writeRequest(one))).toMatchObject({ status: 204, text: '' });
    const answer = await write(service, V2, request2(two));
    expect([answer.status, answer.headers.get('x-prometheus-remote-write-samples-written')]).toEqual([204, '10']);
    await eventually('both series', async () => (await readBack(service, two)).length === 10);
    expect(await readBack(service, one)).toEqual(expected);
    expect(await readBack(service, two)).toEqual(expected);
    // the sender repeats what it was not told about, and adds one sample
    const more: TestSeries = { ...one, samples: [...(one.samples ?? []), [start_ms + 30_000, 7]] };
    expect(await write(service, V1, writeRequest(more))).toMatchObject({ status: 204 });
    await eventually('the added sample', async () => (await readBack(service, one)).length === 11);
    service.kill('SIGKILL');
  }
  await using service = await startService(directory.path, quiet);
  expect(await write(service, V1, writeRequest(one))).toMatchObject({ status: 204 });
  const accounts = await eventually('an empty spool', async () => {
    const { items } = await get<List<Account>>(service, '/api/v1/delivery');
    const own = items.filter(({ source }) => source === 'remote-write');
    return own.length === 2 && own.every(({ in_flight }) => in_flight === 0) && own;
  });
  expect(await readBack(service, one)).toEqual([...expected, { at_ms: start_ms + 30_000, value: 7 }]);
  // first life: 20 samples and 2 series, then 10 repeated and 1 new; second life: 10 samples and a series, all repeated
  expect(accounts.map((own) => [own.emitted, own.stored, own.duplicates_absorbed])).toEqual(
    expect.arrayContaining([
      [23, 23, 10],
      [0, 0, 11],
    ]),
  );
});

type Source = { readonly source: string; readonly accepted: number; readonly rejected: Record<string, number> };

test('a part that breaks the rules or has its clock far off is refused with its reason, the rest is taken', async () => {
  await using directory = await scratchDirectory();
  await using service = await startService(directory.path, quiet);
  const unnamed: TestSeries = { labels: [['job', 'x']], samples: [[start_ms, 1]] };
  const answer = await write(service, V2, request2(unnamed, cpu('a:9100')));
  expect(answer.status).toBe(400);
  expect(answer.headers.get('x-prometheus-remote-write-samples-written')).toBe('10');
  expect(answer.text).toMatch(/1 refused/);
  await eventually('the good part', async () => (await readBack(service, cpu('a:9100'))).length === 10);

  const gpu = ['DCGM_FI_DEV_GPU_TEMP', 'DCGM_FI_DEV_POWER_USAGE'].map(
    (name): TestSeries => ({
      labels: Object.entries({ Hostname: 'n1', __name__: name, gpu: '0' }),
      samples: [
        [start_ms, 40],
        [start_ms + 2 * 86_400_000, 41],
      ],
    }),
  );
  const off = await write(service, V2, request2(...gpu), { 'x-leeway-source': 'phone' });
  expect([off.status, off.headers.get('x-prometheus-remote-write-samples-written')]).toEqual([400, '2']);
  expect(off.text).toMatch(/^2 refused \(clock\): a time more than a day from the receiver's clock/);
  const phone = (await get<List<Source>>(service, '/api/v1/sources')).items.find(({ source }) => source === 'phone');
  const detail = expect.stringMatching(/^of the last body 2 refused: a time more than a day from/);
  expect(phone).toMatchObject({ accepted: 2, rejected: { clock: 2 }, detail });
  // two samples, their two series, and the gpu record that they make
  await eventually('what was taken', async () => {
    const { items } = await get<List<Account>>(service, '/api/v1/delivery');
    return items.some(({ source, stored }) => source === 'phone' && stored === 5);
  });
  const folder = join(directory.path, 'leeway-data/quarantine');
  const [day = ''] = await eventually('the file', async () => readdir(folder).catch(() => null));
  const lost = [expect.stringMatching(/^\d+$/), start_ms + 2 * 86_400_000, 41];
  expect(JSON.parse(await readFile(join(folder, day), 'utf8'))).toMatchObject({
    source: 'phone',
    kind: 'samples',
    code: 'clock',
    count: 2,
    raw: [lost, lost],
  });
});

test('metadata of remote write 1.0, which is of metrics, describes the series that came before it', async () => {
  await using directory = await scratchDirectory();
  await using service = await startService(directory.path, quiet);
  expect(await write(service, V1, writeRequest(cpu('a:9100')))).toMatchObject({ status: 204 });
  // MetricMetadata { type = 1; metric_family_name = 2; help = 4; unit = 5 }
  const metadata = message(3, uint(1, 1), text(2, 'cpu_seconds'), text(4, 'Time spent.'), text(5, 'seconds'));
  expect(await write(service, V1, metadata)).toMatchObject({ status: 204 });
  const [series] = await eventually('the description', async () => {
    const { items } = await get<List<Series & { help: string }>>(service, '/api/v1/series?metric=cpu_seconds');
    return items.some(({ help }) => help !== '') && items;
  });
  expect(series).toMatchObject({
    kind: 'counter',
    help: 'Time spent.',
    unit: 'seconds',
    labels: { instance: 'a:9100' },
  });
});

test('exemplars of one millisecond are all on one page or the next', async () => {
  await using directory = await scratchDirectory();
  await using service = await startService(directory.path, quiet);
  const exemplars = ['a', 'b', 'c', 'd', 'e'].map((trace_id) => ({ labels: { trace_id }, value: 1, at_ms: start_ms }));
  expect(await write(service, V2, request2({ ...cpu('a:9100'), exemplars }))).toMatchObject({ status: 204 });
  const [series] = await eventually('the series', async () => {
    const { items } = await get<List<Series>>(service, '/api/v1/series');
    return items.length > 0 && items;
  });
  const address = `/api/v1/series/${series?.id}/exemplars`;
  await eventually('the exemplars', async () => (await get<List<object>>(service, address)).items.length === 5);
  type Page = List<{ labels: { trace_id: string } }> & { next_cursor: string | null };
  const found: string[] = [];
  for (let cursor = ''; ; ) {
    const page = await get<Page>(service, `${address}?limit=2${cursor}`);
    found.push(...page.items.map(({ labels }) => labels.trace_id));
    if (page.next_cursor === null) break;
    cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
  }
  expect(found.toSorted()).toEqual(['a', 'b', 'c', 'd', 'e']);
});

test('headers are judged before the body, bodies before memory is taken for them', async () => {
  await using directory = await scratchDirectory();
  await using service = await startService(directory.path, quiet);
  const body = writeRequest(cpu('a:9100'));
  expect(await write(service, 'application/json', body)).toMatchObject({ status: 415 });
  expect(await write(service, `${V1};proto=some.Other`, body)).toMatchObject({ status: 415 });
  expect(await write(service, V1, body, { 'content-encoding': 'gzip' })).toMatchObject({ status: 415 });
  const bomb = await fetch(`${service.url}/api/v1/write`, {
    method: 'POST',
    headers: { 'content-type': V1, 'content-encoding': 'snappy' },
    body: Buffer.from([0xff, 0xff, 0xff, 0xff, 0x0f, 0]), // says it unpacks to 4 GiB
  });
  expect(bomb.status).toBe(413);
  const torn = compressSnappy(body).subarray(0, 40);
  const answer = await fetch(`${service.url}/api/v1/write`, {
    method: 'POST',
    headers: { 'content-type': V1, 'content-encoding': 'snappy' },
    body: torn,
  });
  expect(answer.status).toBe(400);
});
