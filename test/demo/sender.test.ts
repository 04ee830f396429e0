import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { type AddressInfo, createServer as createSocketServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { readBody } from '../../demo/http-body.ts';
import { openSender } from '../../demo/sender.ts';
import type { LeewayRecord } from '../../src/core/records.ts';

type Received = { readonly headers: IncomingHttpHeaders; readonly steps: readonly number[] };
type Reply = { readonly status: number; readonly body?: object } | 'break';

let server: Server | null = null;

afterEach(async () => {
  server?.closeAllConnections();
  server?.close();
  server = null;
});

/** A service whose n-th answer is `reply(n)`; 'break' stores the batch and closes the connection without an answer. */
async function serve(reply: (attempt: number) => Reply): Promise<{ base_url: string; received: Received[] }> {
  const received: Received[] = [];
  server = createServer((request, response) => {
    void readBody(request, 1e7).then((body) => {
      const lines = body.toString('utf8').trimEnd().split('\n');
      const steps = lines.map((line) => Number(Reflect.get(JSON.parse(line) as object, 'step')));
      received.push({ headers: request.headers, steps });
      const answer = reply(received.length);
      if (answer === 'break') return request.socket.destroy();
      response.writeHead(answer.status).end(JSON.stringify(answer.body ?? { accepted: steps.length, rejected: [] }));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { base_url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, received };
}

function checkpoint(step: number): LeewayRecord {
  return { type: 'checkpoint', job: 'j', at_ms: 1_767_225_600_000, step, durable: true };
}

const fast = { batch_ms: 5, random: { next: () => 0.5 } };

test('records arrive in order, in batches numbered 1, 2, 3 … of one epoch, and are counted', async () => {
  const { base_url, received } = await serve(() => ({ status: 200 }));
  const sender = openSender({ base_url, source: 'rank-0', token: 'lw_a_b' }, fast);
  for (let step = 0; step < 4_500; step++) sender.emit(checkpoint(step));
  const account = await sender.close(5_000);
  expect(received.flatMap(({ steps }) => steps)).toEqual(Array.from({ length: 4_500 }, (_, step) => step));
  expect(received.map(({ headers }) => headers['x-leeway-sequence'])).toEqual(['1', '2', '3']); // 2,000 + 2,000 + 500
  expect(new Set(received.map(({ headers }) => headers['x-leeway-epoch']))).toEqual(new Set([String(account.epoch)]));
  expect(received[0]?.headers).toMatchObject({
    'x-leeway-source': 'rank-0',
    authorization: 'Bearer lw_a_b',
    'content-type': 'application/x-ndjson',
  });
  expect(account).toMatchObject({ emitted: 4_500, acknowledged: 4_500, pending: 0, batches: 3, retries: 0 });
  expect(Number.isSafeInteger(account.epoch)).toBe(true);
});

test('a batch without an acknowledgement is repeated, byte for byte, under the same sequence', async () => {
  const replies: Reply[] = [{ status: 503 }, 'break', { status: 429 }, { status: 200 }];
  const { base_url, received } = await serve((attempt) => replies[attempt - 1] ?? { status: 200 });
  const sender = openSender({ base_url, source: 's', token: null }, fast);
  sender.emit(checkpoint(1));
  sender.emit(checkpoint(2));
  const account = await sender.close(10_000);
  expect(received.map(({ headers, steps }) => [headers['x-leeway-sequence'], ...steps])).toEqual(
    Array.from({ length: 4 }, () => ['1', 1, 2]),
  );
  expect(account).toMatchObject({ emitted: 2, acknowledged: 2, batches: 1, retries: 3 });
  expect(account.last_error).toContain('429');
});

test('a batch refused for good is a declared loss and leaves no gap in the sequence', async () => {
  const { base_url, received } = await serve((attempt) => ({ status: attempt === 1 ? 413 : 200 }));
  const sender = openSender({ base_url, source: 's', token: null }, fast);
  sender.emit(checkpoint(1));
  while (received.length === 0) await new Promise((resolve) => setImmediate(resolve));
  sender.emit(checkpoint(2));
  const account = await sender.close(5_000);
  expect(received.map(({ headers, steps }) => [headers['x-leeway-sequence'], ...steps])).toEqual([
    ['1', 1],
    ['1', 2],
  ]);
  expect(account).toMatchObject({ emitted: 2, acknowledged: 1, lost: { refused: 1, buffer_full: 0, unsent: 0 } });
});

test('records that the service rejects one by one are counted apart, also beyond the listed ones', async () => {
  const rejected = [{ line: 1, code: 'LW-RECORD-FIELD', reason: 'x' }];
  const { base_url } = await serve(() => ({ status: 200, body: { accepted: 1, rejected } }));
  const sender = openSender({ base_url, source: 's', token: null }, fast);
  for (const step of [1, 2, 3]) sender.emit(checkpoint(step));
  expect(await sender.close(5_000)).toMatchObject({ emitted: 3, acknowledged: 1, rejected: 2, pending: 0 });
});

test('without a service the buffer stays bounded and every lost record is declared', async () => {
  const sender = openSender({ base_url: 'http://127.0.0.1:9', source: 's', token: null }, { ...fast, records_max: 10 });
  for (let step = 0; step < 25; step++) sender.emit(checkpoint(step));
  expect(sender.account()).toMatchObject({ emitted: 25, pending: 10, lost: { buffer_full: 15 } });
  const account = await sender.close(30);
  expect(account).toMatchObject({
    emitted: 25,
    acknowledged: 0,
    pending: 0,
    lost: { buffer_full: 15, unsent: 10, refused: 0 },
  });
  sender.emit(checkpoint(26));
  expect(sender.account()).toMatchObject({ emitted: 26, lost: { unsent: 11 } });
});

test('over the workload socket lines arrive whole and in order, also when it comes up late', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'sender-'));
  const path = join(directory, 'workload.sock');
  const sender = openSender({ base_url: `unix:${path}`, source: 's', token: null }, fast);
  for (let step = 0; step < 3_000; step++) sender.emit(checkpoint(step));
  let text = '';
  const ended = Promise.withResolvers<void>();
  const socket = createSocketServer((peer) => {
    peer.setEncoding('utf8');
    peer.on('data', (part: string) => (text += part));
    peer.on('end', () => ended.resolve());
  });
  while (sender.account().retries === 0) await new Promise((resolve) => setImmediate(resolve));
  socket.listen(path);
  const account = await sender.close(5_000);
  await ended.promise;
  socket.close();
  await rm(directory, { recursive: true });
  const steps = text
    .trimEnd()
    .split('\n')
    .map((line) => Number(Reflect.get(JSON.parse(line) as object, 'step')));
  expect(steps).toEqual(Array.from({ length: 3_000 }, (_, step) => step));
  expect(account).toMatchObject({ emitted: 3_000, acknowledged: 3_000, pending: 0 });
});
