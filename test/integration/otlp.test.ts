import { gzipSync, zstdCompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { eventually, get, startService } from './running-service.ts';

type List<Item> = { readonly items: readonly Item[] };
type Series = { readonly id: string; readonly metric: string; readonly labels: Record<string, string> };

const at_ms = Math.floor(Date.now() / 1_000) * 1_000 - 30_000;
const nano = (ms: number): string => `${ms}000000`;
const resource = { attributes: [{ key: 'service.name', value: { stringValue: 'trainer' } }] };

/** A request with one metric of gauges, one bad point among them, and one histogram. */
const request = {
  resourceMetrics: [
    {
      resource,
      scopeMetrics: [
        {
          metrics: [
            {
              name: 'hw.gpu.utilization',
              unit: '1',
              gauge: {
                dataPoints: [
                  { timeUnixNano: nano(at_ms), asDouble: 0.25, attributes: [{ key: 'gpu', value: { intValue: '3' } }] },
                  { timeUnixNano: nano(at_ms), attributes: [{ key: 'gpu', value: { intValue: '4' } }] },
                ],
              },
            },
            {
              name: 'request.duration',
              unit: 's',
              histogram: {
                aggregationTemporality: 2,
                dataPoints: [
                  {
                    timeUnixNano: nano(at_ms),
                    count: '6',
                    sum: 4.5,
                    explicitBounds: [0.5, 1],
                    bucketCounts: ['1', '2', '3'],
                  },
                ],
              },
            },
          ],
        },
      ],
    },
  ],
};

test('OTLP as JSON is stored, a bad point is told as partial success, gzip and zstd are unpacked', async () => {
  await using directory = await scratchDirectory();
  const quiet = { server: { port: 0 }, collectors: { host: { enabled: false } } };
  await using service = await startService(directory.path, quiet);
  const text = JSON.stringify(request);
  const bodies = [
    [{}, text],
    [{ 'content-encoding': 'gzip' }, gzipSync(text)],
    [{ 'content-encoding': 'zstd' }, zstdCompressSync(text)],
  ] as const;
  for (const [headers, body] of bodies) {
    const answer = await fetch(`${service.url}/v1/metrics`, {
      method: 'POST',
      headers: { 'content-type': 'application/json', ...headers },
      body,
    });
    expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'application/json']);
    expect(await answer.json()).toMatchObject({ partialSuccess: { rejectedDataPoints: '1' } });
  }
  const series = await eventually('the series', async () => {
    const { items } = await get<List<Series>>(service, '/api/v1/series?metric=hw.gpu.utilization');
    return items.find(({ labels }) => labels['gpu'] === '3');
  });
  const rows = async (address: string) => (await get<List<object>>(service, address)).items;
  const samples = await eventually('the samples', async () => {
    const found = await rows(`/api/v1/series/${series.id}/samples`);
    return found.length > 0 && found;
  });
  expect(samples).toEqual([{ at_ms, value: 0.25 }]); // sent three times, stored once
  const [durations] = (await get<List<Series>>(service, '/api/v1/series?metric=request.duration')).items;
  const histograms = await eventually('the histogram', async () => {
    const found = await rows(`/api/v1/series/${durations?.id}/histograms`);
    return found.length > 0 && found;
  });
  expect(histograms).toEqual([
    expect.objectContaining({ at_ms, count: 6, sum: 4.5, schema: -53, custom_values: [0.5, 1] }),
  ]);
});

test('what is no OTLP is refused with 415 or 400; points of another day are partial success', async () => {
  await using directory = await scratchDirectory();
  const quiet = { server: { port: 0 }, collectors: { host: { enabled: false } } };
  await using service = await startService(directory.path, quiet);
  const send = (type: string, body: string) =>
    fetch(`${service.url}/v1/metrics`, { method: 'POST', headers: { 'content-type': type }, body });
  expect((await send('text/plain', 'x')).status).toBe(415);
  expect((await send('application/x-protobuf', '\u0001\u0002\u0003')).status).toBe(400);
  expect((await send('application/json', '{"resourceMetrics":')).status).toBe(400);
  const old = JSON.stringify(request).replaceAll(nano(at_ms), nano(at_ms - 2 * 86_400_000));
  expect(await (await send('application/json', old)).json()).toEqual({
    partialSuccess: {
      rejectedDataPoints: '3', // a point without a value, one point and one histogram of two days ago
      errorMessage: expect.stringMatching(/^1 × no_value: .*; 2 × clock: a time more than a day from/),
    },
  });
  const empty = await send('application/x-protobuf', '');
  expect([empty.status, await empty.text()]).toEqual([200, '']);
});
