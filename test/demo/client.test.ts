import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdtemp, rm } from 'node:fs/promises';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { awaitMessage, forkChild, type Message, messageOf, numberIn } from '../../demo/child.ts';
import { CLIENT_DEFAULTS, type ClientConfig } from '../../demo/client.ts';
import { readRows, rowOf } from '../../demo/model-files.ts';
import { readBody } from '../../demo/http-body.ts';
import { validateRecord } from '../../src/core/parse-record.ts';
import type { RecordOf } from '../../src/core/records.ts';

type Seen = {
  readonly request_id: string;
  readonly evaluation: boolean;
  readonly at_ms: number;
  readonly pixels: Buffer;
};

let directory = '';
let server: Server;
let child: ChildProcess;
let seen: Seen[] = [];
let labels: RecordOf<'label'>[] = [];
/** Decides over each attempt of a request: break off, or answer with this class. */
let reply: (request: Seen, attempt: number) => number | 'break' = () => 7;

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'client-'));
  seen = [];
  labels = [];
  reply = () => 7;
  server = createServer((request, response) => {
    void readBody(request, 1_000).then((pixels) => {
      const request_id = String(request.headers['x-request-id']);
      const one = { request_id, evaluation: 'x-evaluation' in request.headers, at_ms: performance.now(), pixels };
      const attempt = seen.push(one) && seen.filter((other) => other.request_id === request_id).length;
      const label = reply(one, attempt);
      if (label === 'break') request.socket.destroy();
      else response.end(JSON.stringify({ request_id, version: '1', label, scores: [] }));
    });
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
});

afterEach(async () => {
  child.kill('SIGKILL');
  server.closeAllConnections();
  server.close();
  await rm(directory, { recursive: true });
});

async function start(config: Partial<ClientConfig>): Promise<void> {
  const base_url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  child = forkChild('client', {
    ...CLIENT_DEFAULTS,
    model: 'digits',
    base_url,
    seed: 3,
    left_out_classes: [],
    requests_per_second: 200,
    label_delay_ms: 50,
    leeway: null,
    ...config,
  } satisfies ClientConfig);
  child.on('message', (raw) => {
    const { record } = messageOf(raw);
    if (record === undefined) return;
    const parsed = validateRecord(record);
    if (parsed.kind === 'ok' && parsed.value.type === 'label') labels.push(parsed.value);
    else throw new Error(JSON.stringify(parsed));
  });
  await awaitMessage(child, 'ready', 20_000);
}

/** Polls a condition of the outside world; the test's own time-out is the limit. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

async function stop(): Promise<Message> {
  child.send({ stop: true });
  return messageOf((await awaitMessage(child, 'done', 10_000))['done']);
}

test('requests leave by the clock, and every answered one gets its label once', async () => {
  await start({});
  await until(() => seen.length >= 100);
  const [first, last] = [seen[0], seen[99]];
  // 99 intervals of 5 ms; a stalled machine may only bunch them, never lower the count
  expect((last?.at_ms ?? 0) - (first?.at_ms ?? 0)).toBeGreaterThan(300);
  const done = await stop();
  expect(done).toMatchObject({
    sent: seen.length,
    answered: seen.length,
    failed: 0,
    retried: 0,
    labelled: seen.length,
  });
  expect(labels.map(({ request_id }) => request_id).sort()).toEqual(seen.map(({ request_id }) => request_id).sort());
});

test('a request that breaks off is repeated once under its id, a second break is a failure', async () => {
  reply = ({ request_id }, attempt) => {
    if (request_id.endsWith('-5')) return attempt === 1 ? 'break' : 7;
    return request_id.endsWith('-9') ? 'break' : 7;
  };
  await start({});
  await until(() => seen.filter(({ request_id }) => /-(5|9)$/.test(request_id)).length >= 4 && seen.length >= 20);
  const done = await stop();
  expect(done).toMatchObject({ failed: 1, retried: 2, answered: Number(done['sent']) - 1 });
  expect(labels.some(({ request_id }) => request_id.endsWith('-9'))).toBe(false);
  expect(labels.filter(({ request_id }) => request_id.endsWith('-5'))).toHaveLength(1);
});

test('the newest labelled rows are written as they were sent, drift included', async () => {
  await start({ recent_rows_max: 40 });
  child.send({ drift: 'invert' });
  await until(() => labels.length >= 60);
  const path = join(directory, 'recent.bin');
  child.send({ write_recent: path, rows: 30 });
  const { recent } = await awaitMessage(child, 'recent', 10_000);
  expect(recent).toEqual({ path, rows: 30, error: null });
  const rows = await readRows(path);
  const sent = new Map(seen.map(({ pixels }, at) => [pixels.toString('latin1'), at]));
  for (let row = 0; row < rows.count; row++) {
    const { pixels, label } = rowOf(rows, row);
    const at = sent.get(Buffer.from(pixels).toString('latin1'));
    expect(at).toBeDefined();
    expect(labels.find(({ request_id }) => request_id === seen[at ?? -1]?.request_id)?.label).toBe(label);
    expect(Math.max(...pixels)).toBeLessThanOrEqual(191); // 255 inverted by a quarter
  }
  child.send({ write_recent: join(directory, 'no', 'recent.bin') });
  const refused = messageOf((await awaitMessage(child, 'recent', 10_000))['recent']);
  expect(refused).toMatchObject({ rows: 0, error: expect.stringContaining('ENOENT') as string });
});

test('evaluation sends the fixed hold-out apart from traffic and counts answers of its version only', async () => {
  await start({ requests_per_second: 20, evaluation_rows: 200 });
  child.send({ evaluate: '1' });
  const first = messageOf((await awaitMessage(child, 'evaluation', 10_000))['evaluation']);
  const evaluated = seen.filter(({ evaluation }) => evaluation);
  expect(evaluated).toHaveLength(200);
  // Everything is answered 7: accuracy is the share of sevens in the hold-out, 10.3 % of the test file ± 4·2.1 %
  expect(first).toMatchObject({ version: '1', drift: null, answered: 200, other_version: 0, failed: 0 });
  expect(Math.abs((numberIn(first, 'accuracy') ?? 0) - 0.103)).toBeLessThan(0.086);
  child.send({ evaluate: '2' });
  const second = messageOf((await awaitMessage(child, 'evaluation', 10_000))['evaluation']);
  expect(second).toMatchObject({ answered: 0, other_version: 200, accuracy: null });
  const done = await stop();
  expect(done['sent']).toBe(seen.length - 400);
});
