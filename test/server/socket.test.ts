import { once } from 'node:events';
import { connect, createServer as createNetServer } from 'node:net';
import { gzipSync } from 'node:zlib';
import { describe, expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { listen, requireSafeAddress } from '../../src/server/listen.ts';
import { openTokens } from '../../src/server/tokens.ts';
import { createFixture, type Fixture, stepLine, tokensOfEveryScope } from './fixture.ts';
import { NOW_MS } from './memory.ts';

const TLS = { cert_file: null, key_file: null };

async function listening(): Promise<Fixture & { port: number }> {
  const fixture = await createFixture();
  const { url } = await listen(fixture, { host: '127.0.0.1', port: 0, public_url: null, tls: TLS });
  return Object.assign(fixture, { port: Number(new URL(url).port) });
}

/** Sends raw bytes and reads until the server closes. */
async function raw(port: number, ...parts: readonly (string | Buffer)[]): Promise<string> {
  const socket = connect(port, '127.0.0.1');
  await once(socket, 'connect');
  for (const part of parts) socket.write(part);
  const chunks: Buffer[] = [];
  socket.on('data', (chunk: Buffer) => chunks.push(chunk));
  await once(socket, 'close');
  return Buffer.concat(chunks).toString();
}

function problemIn(answer: string): { status: number; code: string } {
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  expect(head).toContain('application/problem+json');
  return JSON.parse(body);
}

describe('what the HTTP parser refuses', () => {
  test.each([
    ['garbage', 'nonsense\r\n\r\n', 400, 'LW-HTTP'],
    ['a header that is none', 'GET / HTTP/1.1\r\nhost: localhost\r\nbroken header\r\n\r\n', 400, 'LW-HTTP'],
    [
      'two lengths',
      'POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nx',
      400,
      'LW-HTTP',
    ],
    [
      'headers of 64 KiB',
      `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(65_536)}\r\n\r\n`,
      431,
      'LW-HTTP-HEADERS',
    ],
    ['a missing host', 'GET /api/v1/jobs HTTP/1.1\r\nconnection: close\r\n\r\n', 400, 'LW-HTTP'],
  ])('%s is a problem too, and the server lives on', async (_what, bytes, status, code) => {
    await using server = await listening();
    expect(problemIn(await raw(server.port, bytes))).toMatchObject({ status, code });
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
  });

  test('a target that is no path kills nothing', async () => {
    await using server = await listening();
    for (const target of ['//', '/\\', 'http://[::', '*', '/%', '/..%2f..%2fetc/passwd']) {
      const answer = await raw(server.port, `GET ${target} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n`);
      expect(answer).toMatch(/^HTTP\/1\.1 (400|404) /);
    }
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
  });
});

test('a body that is still coming when the service ends is answered 503: its sender keeps it', async () => {
  await using server = await listening();
  const socket = connect(server.port, '127.0.0.1');
  await once(socket, 'connect');
  const line = `${stepLine(1)}\n`;
  socket.write(
    `POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${line.length}\r\n\r\n${line.slice(0, 9)}`,
  );
  await (await fetch(`http://127.0.0.1:${server.port}/healthz`)).text(); // the half request is there by now
  const closed = server.app.close();
  await expect.poll(() => server.app.server.listening).toBe(false);
  socket.write(line.slice(9));
  const answer = String((await once(socket, 'data'))[0]);
  socket.destroy();
  await closed;
  expect(problemIn(answer)).toMatchObject({ status: 503, code: 'LW-BUSY' });
  expect(answer.toLowerCase()).toContain('retry-after: ');
  expect(server.memory.batches).toEqual([]);
});

describe('a connection', () => {
  test('lives on after a line of 10 MB, which costs only itself', async () => {
    await using server = await listening();
    const body = Buffer.from(`${stepLine(1)}\n"${'x'.repeat(10_000_000)}"\n${stepLine(2)}\n`);
    const head = `POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n`;
    const next = 'GET /healthz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n';
    const answer = await raw(server.port, head, body, next);
    expect(answer).toContain('"accepted":2');
    expect(answer).toContain('LW-RECORD-SIZE');
    expect(answer).toContain('{"status":"ok"}');
  });

  test('hears its 413 even while it goes on sending', async () => {
    await using server = await listening();
    const body = Buffer.alloc(20 * 1_048_576, 'x');
    const answer = await fetch(`http://127.0.0.1:${server.port}/v1/events`, { method: 'POST', body });
    expect(answer.status).toBe(413);
    expect(await answer.json()).toMatchObject({ code: 'LW-BODY-SIZE' });
  });

  test('that sends a body without an end is cut off, and nothing of it is stored', async () => {
    await using server = await listening();
    const frame = Buffer.concat([Buffer.from('100000\r\n'), Buffer.alloc(1_048_576, 'x'), Buffer.from('\r\n')]);
    const socket = connect(server.port, '127.0.0.1');
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.on('error', () => {}); // the server hangs up on the rest
    socket.write('POST /v1/events HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n');
    const send = (): void => {
      while (!socket.destroyed && socket.write(frame));
    };
    socket.on('drain', send);
    send();
    await closed;
    // 16 MiB are read, 64 MiB more are thrown away; what the kernel holds comes on top.
    expect(socket.bytesWritten).toBeLessThan(128 * 1_048_576);
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
    expect(server.memory.batches).toEqual([]);
  });

  test('that ends while its batch waits is no failure of the service', async () => {
    await using server = await listening();
    const aborted = Promise.withResolvers<void>();
    const waiting = Promise.withResolvers<void>();
    Object.assign(server.memory.services.ingest, {
      events: (_batch: unknown, signal: AbortSignal) => {
        waiting.resolve();
        return new Promise((_, reject) =>
          signal.addEventListener('abort', () => {
            reject(signal.reason);
            setImmediate(aborted.resolve);
          }),
        );
      },
    });
    const socket = connect(server.port, '127.0.0.1');
    const body = stepLine(1);
    socket.write(`POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-length: ${body.length}\r\n\r\n${body}`);
    await waiting.promise;
    socket.destroy();
    await aborted.promise;
    expect(server.logged.filter((line) => line.includes('"level":"error"'))).toEqual([]);
  });

  test('that breaks off in the middle of a body stores nothing', async () => {
    await using server = await listening();
    const packed = gzipSync(Buffer.from(`${stepLine(1)}\n`));
    const socket = connect(server.port, '127.0.0.1');
    await once(socket, 'connect');
    socket.write(
      `POST /v1/events HTTP/1.1\r\nhost: localhost\r\ncontent-encoding: gzip\r\ncontent-length: 9999\r\n\r\n`,
    );
    socket.write(packed);
    socket.destroy();
    expect((await fetch(`http://127.0.0.1:${server.port}/healthz`)).status).toBe(200);
    expect(server.memory.batches).toEqual([]);
  });

  test('is kept for 65 s, longer than the load balancers before it', async () => {
    await using server = await listening();
    expect(server.app.server.keepAliveTimeout).toBe(65_000);
    expect(server.app.server.requestTimeout).toBe(120_000);
    expect(server.app.server.headersTimeout).toBe(20_000);
    expect(server.app.server.maxConnections).toBe(10_000);
  });
});

describe('the stream', () => {
  test('tells events with their ids to every client, and ends when the server closes', async () => {
    const server = await listening();
    const url = `http://127.0.0.1:${server.port}/api/v1/stream`;
    const clients = await Promise.all([fetch(url), fetch(url, { headers: { 'last-event-id': '41' } })]);
    const readers = clients.map((client) => {
      expect(client.headers.get('content-type')).toBe('text/event-stream');
      if (client.body === null) throw new Error('a stream has a body');
      return client.body.pipeThrough(new TextDecoderStream()).getReader();
    });
    for (const reader of readers) expect((await reader.read()).value).toBe('retry: 2000\n: connected\n\n');
    server.memory.emit({ event: 'incident', data: { id: 'inc_1', title: 'two\nlines' } });
    for (const reader of readers)
      expect((await reader.read()).value).toBe(
        'id: 1\nevent: incident\ndata: {"id":"inc_1","title":"two\\nlines"}\n\n',
      );
    expect(server.memory.listeners()).toBe(1);
    await server.app.close();
    for (const reader of readers) expect((await reader.read()).done).toBe(true);
    expect(server.memory.listeners()).toBe(0);
  });

  test('has no HEAD, which would never end', async () => {
    await using server = await listening();
    const answer = await fetch(`http://127.0.0.1:${server.port}/api/v1/stream`, { method: 'HEAD' });
    expect(answer.status).toBe(405);
  });
});

describe('binding', () => {
  const settings = (host: string, port = 0) => ({ host, port, public_url: null, tls: TLS });

  test.each(['0.0.0.0', '::', '10.0.0.5', 'leeway.example', '169.254.1.1'])(
    'to %s is refused without a token, and says how to make one',
    async (host) => {
      const tokens = await openTokens(null, systemClock);
      expect(() => requireSafeAddress({ host }, tokens)).toThrow(
        expect.objectContaining({ code: 'LW-PUBLIC-ADDRESS', message: expect.stringContaining('leeway token create') }),
      );
    },
  );

  test.each(['127.0.0.1', '127.0.0.53', '::1', 'localhost'])('to %s needs none', async (host) => {
    const tokens = await openTokens(null, systemClock);
    expect(() => requireSafeAddress({ host }, tokens)).not.toThrow();
  });

  test('to a public address is possible with one valid token', async () => {
    const tokens = await tokensOfEveryScope({ ...systemClock, now_ms: () => NOW_MS });
    expect(() => requireSafeAddress({ host: '0.0.0.0' }, tokens)).not.toThrow();
  });

  test('to a port in use is LW-PORT-IN-USE with the next step', async () => {
    const other = createNetServer().listen(0, '127.0.0.1');
    await once(other, 'listening');
    const address = other.address();
    const port = typeof address === 'object' && address !== null ? address.port : 0;
    await using fixture = await createFixture();
    await expect(listen(fixture, settings('127.0.0.1', port))).rejects.toMatchObject({
      code: 'LW-PORT-IN-USE',
      message: expect.stringContaining('--port'),
    });
    other.close();
  });

  test('to an address of another machine is a configuration error', async () => {
    await using fixture = await createFixture();
    await expect(listen(fixture, settings('192.0.2.1'))).rejects.toMatchObject({
      code: 'LW-CONFIG',
      errors: [{ path: 'server.host', got: '192.0.2.1' }],
    });
  });
});
