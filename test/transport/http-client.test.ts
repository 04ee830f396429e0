import { createServer } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { LIMITS } from '../../src/core/limits.ts';
import { createHttpClient, type HttpClientOptions } from '../../src/transport/http-client.ts';
import { Receiver } from './receiver.ts';

const signal = new AbortController().signal;
const open = { allow_hosts: ['127.0.0.1', 'inside.example'], allow_cidrs: [], allow_http: true };
const clientOf = (changes: Partial<HttpClientOptions> = {}) =>
  createHttpClient({ egress: open, clock: systemClock, timeout_ms: 5000, ...changes });
const message = (url: string) => ({
  url,
  headers: { 'content-type': 'application/json', 'x-mine': 'yes' },
  body: '{"a":1}',
});

test('posts the body with the given headers and returns status, headers and body of the answer', async () => {
  await using receiver = await Receiver.open((response) => response.writeHead(202, { 'X-Theirs': 'yes' }).end('done'));
  const answer = await clientOf().post(message(`http://127.0.0.1:${receiver.port}/hook?x=1`), signal);
  expect(answer).toMatchObject({ kind: 'ok', value: { status: 202, body: 'done', headers: { 'x-theirs': 'yes' } } });
  expect(receiver.received).toMatchObject([{ path: '/hook?x=1', body: '{"a":1}', headers: { 'x-mine': 'yes' } }]);
});

test('a name connects to the address that was judged, and Host keeps the name', async () => {
  await using receiver = await Receiver.open((response) => response.end());
  let asked = 0;
  const resolve = async () => {
    asked++;
    return [{ address: '127.0.0.1', family: 4 as const }];
  };
  const answer = await clientOf({ resolve }).post(message(`http://inside.example:${receiver.port}/`), signal);
  expect(answer.kind).toBe('ok');
  expect(asked).toBe(1);
  expect(receiver.received[0]?.headers['host']).toBe(`inside.example:${receiver.port}`);
});

test('a name that answers public first and loopback later never reaches loopback: it is asked once', async () => {
  await using receiver = await Receiver.open((response) => response.end());
  let asked = 0;
  const resolve = async () => [{ address: asked++ === 0 ? '192.0.2.1' : '127.0.0.1', family: 4 as const }];
  const egress = { allow_hosts: [], allow_cidrs: ['192.0.2.0/24'], allow_http: true };
  await clientOf({ resolve, egress, timeout_ms: 200 }).post(message(`http://rebind.example:${receiver.port}/`), signal);
  expect(asked).toBe(1);
  expect(receiver.received).toEqual([]);
});

test('one forbidden address among several closes the whole name', async () => {
  await using receiver = await Receiver.open((response) => response.end());
  const resolve = async () => [
    { address: '8.8.8.8', family: 4 as const },
    { address: '127.0.0.1', family: 4 as const },
  ];
  const answer = await clientOf({ resolve }).post(message(`http://mixed.example:${receiver.port}/`), signal);
  expect(answer).toMatchObject({ kind: 'reject', code: 'LW-EGRESS' });
  expect(receiver.received).toEqual([]);
});

test.each([
  ['10.0.0.1'],
  ['127.0.0.1'],
  ['169.254.169.254'],
  ['0.0.0.0'],
  ['100.64.1.1'],
  ['192.168.0.1'],
  ['::1'],
  ['fe80::1'],
  ['fd00::1'],
  ['::ffff:127.0.0.1'],
])('a name that resolves to %s is blocked', async (address) => {
  const resolve = async () => [{ address, family: address.includes(':') ? (6 as const) : (4 as const) }];
  const answer = await clientOf({ resolve }).post(message('https://evil.example/'), signal);
  expect(answer).toMatchObject({ kind: 'reject', code: 'LW-EGRESS' });
});

test('a forbidden target reads the same whether its port is open, closed, or the address is none at all', async () => {
  await using receiver = await Receiver.open((response) => response.end());
  const free = createServer();
  await new Promise<void>((resolve) => free.listen(0, '127.0.0.1', resolve));
  const closed_port = (free.address() as { port: number }).port;
  await new Promise((resolve) => free.close(resolve));
  const client = clientOf({ egress: { allow_hosts: [], allow_cidrs: [], allow_http: true } });
  const answers = await Promise.all(
    [
      `http://127.0.0.1:${receiver.port}/`,
      `http://127.0.0.1:${closed_port}/`,
      `http://localhost:${receiver.port}/`,
      'http://[::1]:1/',
      'ftp://127.0.0.1/',
      'no address',
      'http://2130706433/',
    ].map((url) => client.post(message(url), signal)),
  );
  expect(new Set(answers.map((answer) => JSON.stringify(answer))).size).toBe(1);
  expect(answers[0]).toMatchObject({ kind: 'reject', code: 'LW-EGRESS' });
  expect(receiver.received).toEqual([]);
});

test('http is blocked unless it is allowed', async () => {
  await using receiver = await Receiver.open((response) => response.end());
  const client = clientOf({ egress: { ...open, allow_http: false } });
  expect(await client.post(message(`http://127.0.0.1:${receiver.port}/`), signal)).toMatchObject({ code: 'LW-EGRESS' });
  expect(receiver.received).toEqual([]);
});

test('redirects are answers, not ways: the second place hears nothing', async () => {
  await using second = await Receiver.open((response) => response.end());
  await using first = await Receiver.open((response) =>
    response.writeHead(307, { location: `http://127.0.0.1:${second.port}/` }).end(),
  );
  const answer = await clientOf().post(message(`http://127.0.0.1:${first.port}/`), signal);
  expect(answer).toMatchObject({ kind: 'ok', value: { status: 307 } });
  expect(second.received).toEqual([]);
});

test('a closed port and a name without address are worth a retry', async () => {
  const refused = await clientOf().post(message('http://127.0.0.1:1/'), signal);
  expect(refused).toMatchObject({ kind: 'retry', code: 'LW-UNREACHABLE' });
  const resolve = () => Promise.reject(Object.assign(new Error('x'), { code: 'ENOTFOUND' }));
  const unknown = await clientOf({ resolve }).post(message('http://inside.example/'), signal);
  expect(unknown).toMatchObject({ kind: 'retry', code: 'LW-UNREACHABLE' });
});

test('a server that never answers is given up when the time is over, and a name that never resolves too', async () => {
  const clock = new ManualClock();
  await using receiver = await Receiver.open(() => undefined);
  const waiting = clientOf({ clock, timeout_ms: 10_000 }).post(message(`http://127.0.0.1:${receiver.port}/`), signal);
  const unresolved = clientOf({ clock, timeout_ms: 10_000, resolve: () => new Promise(() => undefined) });
  const waiting_too = unresolved.post(message('http://inside.example/'), signal);
  await clock.advance(10_000);
  expect(await waiting).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
  expect(await waiting_too).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
});

test('of an endless body at most 64 KiB are read', async () => {
  await using receiver = await Receiver.open((response) => {
    const more = (): void => {
      while (!response.destroyed && response.write('x'.repeat(16_384)));
      if (!response.destroyed) response.once('drain', more);
    };
    response.on('error', () => undefined);
    more();
  });
  const answer = await clientOf().post(message(`http://127.0.0.1:${receiver.port}/`), signal);
  expect(answer.kind).toBe('ok');
  if (answer.kind === 'ok') expect(answer.value.body.length).toBe(LIMITS.response_bytes_max);
});

test('an abort from outside ends the request', async () => {
  await using receiver = await Receiver.open(() => undefined);
  const stop = new AbortController();
  const waiting = clientOf().post(message(`http://127.0.0.1:${receiver.port}/`), stop.signal);
  stop.abort();
  expect((await waiting).kind).toBe('retry');
});

test.each([
  [200, 'stalls', { kind: 'ok', value: { status: 200, body: 'o', body_cut: true } }],
  [200, 'breaks off', { kind: 'ok', value: { status: 200, body: 'o', body_cut: true } }],
  [410, 'stalls', { kind: 'ok', value: { status: 410, body: 'o', body_cut: true } }],
  [503, 'breaks off', { kind: 'ok', value: { status: 503, body: 'o', body_cut: true } }],
])('an answer %i whose body %s after its first letter is that answer, no time-out', async (status, how, expected) => {
  await using receiver = await Receiver.open((response) => {
    response.writeHead(status).write('o', () => {
      if (how === 'breaks off') response.destroy();
    });
  });
  expect(await clientOf({ timeout_ms: 300 }).post(message(`http://127.0.0.1:${receiver.port}/`), signal)).toMatchObject(
    expected,
  );
});

test('nothing of an attempt stays in memory while the service lives', async () => {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') throw new Error('this Node gives no gc');
  const heap = (): number => {
    collect();
    return process.memoryUsage().heapUsed;
  };
  const client = clientOf({ resolve: () => Promise.reject(new Error('no such name')) }); // fast: the network is not asked
  const attempts = async (count: number): Promise<void> => {
    for (let done = 0; done < count; done++) {
      await client.post(message('http://inside.example/'), signal);
      // what weak references saw is held until the end of the turn (ECMA-262, KeepDuringJob)
      if (done % 100 === 0) await new Promise((resolve) => setImmediate(resolve));
    }
  };
  await attempts(500);
  const before = heap();
  await attempts(4000);
  // a signal that Node holds is above 1000 bytes: 4 MB of 4000 attempts
  expect(heap() - before).toBeLessThan(1_000_000);
});
