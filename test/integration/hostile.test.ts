import { gzipSync, zstdCompressSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Bomb, packedBombs, snappyBombs } from '../bench/bomb-bodies.ts';
import { peakMb, residentMb, resetPeak } from '../bench/process-figures.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { writeRequest } from '../formats/remote-write-messages.ts';
import { compressSnappy } from '../formats/snappy-writer.ts';
import { type Service, startService } from './running-service.ts';

/** What a bomb may cost. Its time is measured by test/bench/bombs.ts, where nothing else runs; here it must only not hang. */
const GROWTH_MB_MAX = 64;

let service: Service;
const resources = new AsyncDisposableStack();
beforeAll(async () => {
  const directory = resources.use(await scratchDirectory());
  const quiet = { server: { port: 0 }, collectors: { host: { enabled: false } } };
  service = resources.use(await startService(directory.path, quiet));
});
afterAll(() => resources.disposeAsync());

function send(path: string, body: Uint8Array, headers: Readonly<Record<string, string>>): Promise<Response> {
  return fetch(service.url + path, { method: 'POST', headers, body: new Uint8Array(body) });
}

const OTLP = { 'content-type': 'application/x-protobuf' };
const WRITE = { 'content-type': 'application/x-protobuf', 'content-encoding': 'snappy' };
const series = { labels: [['__name__', 'up']] as const, samples: [[Date.now(), 1]] as const };

async function costOf(bomb: Bomb, path: string, type: string): Promise<{ status: number; growth_mb: number }> {
  const before_mb = residentMb(service.pid);
  resetPeak(service.pid);
  const answer = await send(path, bomb.body, { 'content-type': type, 'content-encoding': bomb.encoding });
  await answer.arrayBuffer();
  return { status: answer.status, growth_mb: peakMb(service.pid) - before_mb };
}

describe('a body that unpacks to 10 GB', () => {
  const routes = [
    ['/v1/metrics', 'application/json'],
    ['/v1/events', 'application/x-ndjson'],
    ['/api/v2/alerts', 'application/json'],
  ] as const;
  test.each(packedBombs().map((bomb) => [bomb.name, bomb.body.length, bomb] as const))(
    '%s of %i bytes is refused for little memory, wherever it goes',
    async (name, _bytes, bomb) => {
      for (const [path, type] of routes) {
        // a window beyond the largest body is refused as damage, before anything is unpacked; 10 MB are too many for alerts
        const expected = name.includes('window') && path !== '/api/v2/alerts' ? 400 : 413;
        const { status, growth_mb } = await costOf(bomb, path, type);
        expect(status, path).toBe(expected);
        expect(growth_mb, path).toBeLessThan(GROWTH_MB_MAX);
      }
    },
  );

  test.each(snappyBombs().map((bomb) => [bomb.name, bomb] as const))(
    '%s: refused before it is unpacked',
    async (_, bomb) => {
      const { status, growth_mb } = await costOf(bomb, '/api/v1/write', WRITE['content-type']);
      expect([400, 413]).toContain(status);
      expect(growth_mb).toBeLessThan(GROWTH_MB_MAX);
    },
  );

  test('leaves the service as it was', async () => {
    expect((await send('/api/v1/write', compressSnappy(writeRequest(series)), WRITE)).status).toBe(204);
  });
});

describe('content-encoding', () => {
  const empty = new Uint8Array();
  test.each([
    ['gzip, gzip', 415, gzipSync(gzipSync(empty))],
    ['zstd, gzip', 415, gzipSync(zstdCompressSync(empty))],
    ['br', 415, empty],
    ['snappy', 415, compressSnappy(empty)],
    ['aws-chunked', 415, empty],
    ['GZIP', 200, gzipSync(empty)],
    ['x-gzip', 200, gzipSync(empty)],
    [' zstd ', 200, zstdCompressSync(empty)],
    ['identity', 200, empty],
    ['gzip', 400, gzipSync(gzipSync(empty))], // says one layer, has two: the inner one is no protobuf
    ['gzip', 400, gzipSync(Buffer.alloc(5_000)).subarray(0, 20)],
    ['gzip', 400, Buffer.from('not gzip')],
    ['zstd', 400, zstdCompressSync(Buffer.alloc(5_000)).subarray(0, 8)],
    ['gzip', 400, empty],
  ])('"%s" is answered with %i', async (encoding, status, body) => {
    const answer = await send('/v1/metrics', body, { ...OTLP, 'content-encoding': encoding });
    expect(answer.status, await answer.text()).toBe(status);
  });
});
