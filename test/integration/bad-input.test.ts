import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { Agent, type ClientRequest, request } from 'node:http';
import { type AddressInfo, connect, createServer } from 'node:net';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { openSender } from '../../demo/sender.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import {
  freePort,
  getJson,
  LeewayProcess,
  listAll,
  postJson,
  processesWith,
  runLeeway,
  until,
} from './leeway-process.ts';

/** No collectors: what is counted is what the tests send. */
const QUIET = { collectors: { host: { enabled: false }, nvidia: { enabled: false } } };
const START_MS = 1_767_225_600_000;

function heartbeat(step: number, more: object = {}): object {
  return { type: 'heartbeat', job: 'bad-input', rank: 0, at_ms: START_MS + step, step, state: 'running', ...more };
}

async function writeConfig(directory: string, config: object | string): Promise<string> {
  const path = join(directory, 'leeway.config.json');
  await writeFile(path, typeof config === 'string' ? config : JSON.stringify({ ...QUIET, ...config }));
  return path;
}

describe('a start that cannot succeed ends in clear lines, with nothing started', () => {
  test.each<[string, object | string, readonly string[], number, readonly RegExp[]]>([
    ['an unknown key', { sever: { port: 1 } }, [], 2, [/^error\[LW-CONFIG\]: sever: got .+, expected .*server/]],
    [
      'a value out of range',
      { server: { port: 70_000 } },
      [],
      2,
      [/^error\[LW-CONFIG\]: server\.port: got 70000, expected .*65535/],
    ],
    [
      'every error at once',
      {
        server: { port: 'http' },
        drift: { window_ms: 0 },
        spool: { fsync: 'yes' },
        sinks: [{ id: 'a', kind: 'carrier-pigeon' }],
      },
      [],
      2,
      [
        /^error\[LW-CONFIG\]: server\.port: got "http", expected .*integer/,
        /^error\[LW-CONFIG\]: drift\.window_ms: got 0, expected .*1/,
        /^error\[LW-CONFIG\]: spool\.fsync: got "yes", expected .*(boolean|true)/,
        /^error\[LW-CONFIG\]: sinks\[0\]\.kind: got "carrier-pigeon", expected .*webhook/,
      ],
    ],
    [
      'no JSON',
      '{"server": {"port": 1,}}',
      [],
      2,
      [/^error\[LW-CONFIG\]: \S+leeway\.config\.json: is not JSON at line 1 /],
    ],
    [
      'no such file',
      {},
      ['--config', 'nowhere.json'],
      2,
      [/^error\[LW-CONFIG\]: nowhere\.json: cannot be read \(ENOENT\).*--config/],
    ],
    [
      'a flag out of range',
      {},
      ['--port', '65536'],
      2,
      [/^error\[LW-CONFIG\]: server\.port: got 65536, expected .*65535/],
    ],
    [
      'a public address without a token',
      {},
      ['--host', '0.0.0.0'],
      2,
      [/^error\[LW-PUBLIC-ADDRESS\]: server\.host "0\.0\.0\.0" .*leeway token create .*--host 127\.0\.0\.1/],
    ],
    [
      'a data directory under a regular file',
      {},
      ['--data-dir', 'leeway.config.json/data'],
      1,
      [/^error\[LW-DATA-DIR\]: data directory \S+ is not usable \(ENOTDIR\).*set data_dir/],
    ],
    [
      'rules that are not there',
      { rules_dir: 'rules-that-are-not-there' },
      [],
      2,
      [/^error\[LW-CONFIG\]: rules_dir \S+: cannot be read \(ENOENT\).*set rules_dir/],
    ],
  ])('%s', async (_what, config, flags, code, lines) => {
    await using directory = await scratchDirectory();
    const path = await writeConfig(directory.path, config);
    const ran = await runLeeway(['serve', '--config', path, ...flags], directory.path);
    expect([ran.code, ran.out]).toEqual([code, '']);
    const said = ran.err.trimEnd().split('\n');
    expect(said).toHaveLength(lines.length);
    for (const line of lines) expect(said).toContainEqual(expect.stringMatching(line));
    expect(existsSync(join(directory.path, 'leeway-data'))).toBe(false);
    expect(processesWith(directory.path)).toEqual([]);
  });
});

type Source = {
  readonly source: string;
  readonly accepted: number;
  readonly rejected: Readonly<Record<string, number>>;
};
type Account = { readonly source: string; readonly stored: number; readonly in_flight: number };
type Answer = { readonly status: number; readonly body: unknown; readonly reused: boolean };
type Taken = { readonly accepted: number; readonly rejected: readonly { line: number; code: string }[] };

/** One connection, kept: whether the service closes it shows in `reused`. */
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

function postLines(url: string, body: Buffer | string, headers: Record<string, string> = {}): Promise<Answer> {
  const bytes = Buffer.from(body);
  const sent = { 'content-type': 'application/x-ndjson', 'content-length': String(bytes.length), ...headers };
  return new Promise((resolve, reject) => {
    const outgoing: ClientRequest = request(
      `${url}/v1/events`,
      { method: 'POST', agent, headers: sent },
      (incoming) => {
        const { statusCode: status = 0 } = incoming;
        const { reusedSocket: reused } = outgoing;
        let text = '';
        incoming.setEncoding('utf8').on('data', (part: string) => (text += part));
        incoming.once('end', () => resolve({ status, body: JSON.parse(text), reused }));
      },
    );
    outgoing.once('error', reject);
    outgoing.end(bytes);
  });
}

/** `{"x": {"x": … }}` of that many objects. */
function nested(levels: number): object {
  let value: object = {};
  for (let level = 1; level < levels; level++) value = { x: value };
  return value;
}

/** Further fields beside the six of a heartbeat. */
function fields(count: number): object {
  return Object.fromEntries(Array.from({ length: count }, (_, index) => [`f${index}`, index]));
}

describe('a running service', () => {
  const resources = new AsyncDisposableStack();
  const places = { directory: '', data_dir: '', config: '', url: '' };
  /** Connections that arrived where none may. */
  const arrived = { count: 0 };
  const running: { service: LeewayProcess | null } = { service: null };

  beforeAll(async () => {
    const scratch = resources.use(await scratchDirectory());
    const listener = createServer((socket) => {
      arrived.count++;
      socket.destroy();
    }).listen(0, '127.0.0.1');
    resources.defer(() => void listener.close());
    await once(listener, 'listening');
    const open = (listener.address() as AddressInfo).port; // a TCP server's address is never a text
    const closed = await freePort();
    await writeFile(join(scratch.path, 'secret'), `whsec_${Buffer.alloc(24, 7).toString('base64')}`);
    const secret_file = join(scratch.path, 'secret');
    const sinks = Object.entries(forbidden(open, closed)).map(([id, url]) => ({
      id,
      kind: 'webhook',
      url,
      secret_file,
    }));
    places.directory = scratch.path;
    places.data_dir = join(scratch.path, 'data');
    places.config = await writeConfig(scratch.path, { sinks, egress: { allow_http: true }, data_dir: places.data_dir });
    running.service = resources.use(
      new LeewayProcess(['serve', '--config', places.config, '--port', '0'], scratch.path),
    );
    places.url = await running.service.ready;
  });

  afterAll(async () => {
    agent.destroy();
    await resources.disposeAsync();
  });

  test('keeps its data directory and its port: a second one ends in one line with the next step, exit 1', async () => {
    const same = await runLeeway(['serve', '--config', places.config, '--port', '0'], places.directory);
    expect(same.code).toBe(1);
    expect(same.err).toMatch(
      new RegExp(`^error\\[LW-DATA-DIR-TAKEN\\]: [^\n]*process ${running.service?.pid}; [^\n]*set another data_dir\n$`),
    );
    const other = join(places.directory, 'other');
    const port = new URL(places.url).port;
    const ran = await runLeeway(
      ['serve', '--config', places.config, '--port', port, '--data-dir', other],
      places.directory,
    );
    expect(ran.code).toBe(1);
    expect(ran.err.split('\n').filter((line) => line.startsWith('error'))).toEqual([
      expect.stringMatching(new RegExp(`^error\\[LW-PORT-IN-USE\\]: 127\\.0\\.0\\.1:${port} is in use; .*--port$`)),
    ]);
    expect(processesWith(other)).toEqual([]);
    expect(await getJson(`${places.url}/healthz`)).toEqual({ status: 'ok' });
  });

  test('rejects hostile records one by one, counts them by reason, and keeps the connection', async () => {
    const { type: _type, ...typeless } = heartbeat(2) as Record<string, unknown>; // the test's own record
    const lines: readonly (readonly [line: string, code: string | null])[] = [
      [JSON.stringify(heartbeat(1)), null],
      [JSON.stringify(heartbeat(2)).replace('{', '{"__proto__":{"polluted":true},'), 'LW-RECORD-KEY'],
      [JSON.stringify(heartbeat(2, { extra: [{ y: 1 }] })).replace('"y"', '"__proto__"'), 'LW-RECORD-KEY'],
      [JSON.stringify(heartbeat(2, { rank: 'zero' })), 'LW-RECORD-FIELD'],
      [JSON.stringify(heartbeat(2, { at_ms: '2026-01-01' })), 'LW-RECORD-FIELD'],
      [JSON.stringify(heartbeat(2, { step: -1 })), 'LW-RECORD-FIELD'],
      [JSON.stringify(typeless), 'LW-RECORD-TYPE'],
      [JSON.stringify(heartbeat(2, { type: 'toString' })), 'LW-RECORD-TYPE'],
      [JSON.stringify(heartbeat(2, { x: nested(64) })), 'LW-RECORD-DEPTH'], // the record itself is level 1: 65
      [JSON.stringify(heartbeat(3, { x: nested(63) })), null],
      [JSON.stringify(heartbeat(2, fields(995))), 'LW-RECORD-DEPTH'], // 6 + 995 = 1,001 fields
      [JSON.stringify(heartbeat(4, fields(994))), null],
      [JSON.stringify(heartbeat(2, { pad: 'x'.repeat(10_000_000) })), 'LW-RECORD-SIZE'],
      ['{"type":"heartbeat","job":', 'LW-RECORD-JSON'],
      ['[1,2,3]', 'LW-RECORD-JSON'],
      ['['.repeat(100_000), 'LW-RECORD-JSON'],
      [JSON.stringify(heartbeat(5)), null],
    ];
    const body = lines.map(([line]) => line).join('\n');
    const answer = await postLines(places.url, body, { 'x-leeway-source': 'hostile' });
    expect(answer.status).toBe(200);
    const { accepted, rejected } = answer.body as Taken; // the contract's shape, judged below
    expect(rejected.map(({ line, code }) => [line, code])).toEqual(
      lines.flatMap(([, code], index) => (code === null ? [] : [[index + 1, code]])),
    );
    expect(accepted).toBe(5 - 1);

    const next = await postLines(places.url, JSON.stringify(heartbeat(6)), { 'x-leeway-source': 'hostile' });
    expect(next).toEqual({ status: 200, body: { accepted: 1, rejected: [] }, reused: true });
    const sources = await listAll<Source>(places.url, '/api/v1/sources');
    expect(sources.find(({ source }) => source === 'hostile')).toMatchObject({
      accepted: 5,
      rejected: {
        'LW-RECORD-KEY': 2,
        'LW-RECORD-FIELD': 3,
        'LW-RECORD-TYPE': 2,
        'LW-RECORD-DEPTH': 2,
        'LW-RECORD-SIZE': 1,
        'LW-RECORD-JSON': 3,
      },
    });
    const [kept] = await until(
      () => listAll<Account>(places.url, '/api/v1/delivery'),
      (items) => items.length === 1 && items.every((item) => item.in_flight === 0),
      10_000,
    );
    expect(kept).toMatchObject({ emitted: 5, stored: 5 });
  });

  test('refuses bodies beyond the caps with 413 and what is no HTTP with 400, and lives on', async () => {
    const zeros = gzipSync(Buffer.alloc(40 * 1_048_576));
    for (const [body, headers] of [
      [zeros, { 'content-encoding': 'gzip' }],
      [Buffer.alloc(17 * 1_048_576, 'x'), {}],
    ] as const) {
      const { status, body: problem } = await postLines(places.url, body, headers);
      expect([status, problem]).toEqual([413, expect.objectContaining({ code: 'LW-BODY-SIZE', status: 413 })]);
    }
    const socket = connect(Number(new URL(places.url).port), '127.0.0.1');
    socket.end('\u0016\u0003\u0001 hello\r\n\r\n');
    let text = '';
    for await (const part of socket.setEncoding('utf8')) text += String(part);
    expect(text).toMatch(/^HTTP\/1\.1 400 [^]*application\/problem\+json[^]*"code":"LW-/);
    expect(text).not.toMatch(/\.ts:\d|at Object/);
    expect(await getJson(`${places.url}/readyz`)).toMatchObject({ ready: true });
  });

  test('never calls a private address: a sink there is blocked, and its test says the same for open and closed ports', async () => {
    const ids = Object.keys(forbidden(0, 0));
    const tests = await Promise.all(
      ids.map(async (id) => {
        const answer = await postJson(`${places.url}/api/v1/sinks/${id}/test`, {});
        return [id, answer.status, await answer.text()];
      }),
    );
    expect(tests).toEqual(ids.map((id) => [id, 200, '{"outcome":"blocked"}']));
    const sinks = await listAll<{ id: string; state: string }>(places.url, '/api/v1/sinks');
    expect(sinks.map(({ id, state }) => [id, state])).toEqual(ids.map((id) => [id, 'blocked']));
    expect(arrived.count).toBe(0);
  });
});

/** Sinks at addresses that no configuration opened; `open` is listened at, `closed` is not. */
function forbidden(open: number, closed: number): Record<string, string> {
  return {
    loopback_open: `http://127.0.0.1:${open}/`,
    loopback_closed: `http://127.0.0.1:${closed}/`,
    name_open: `http://localhost:${open}/`,
    mapped_open: `http://[::ffff:127.0.0.1]:${open}/`,
    decimal_open: `http://2130706433:${open}/`,
    private_network: 'https://10.0.0.1/',
    cloud_metadata: 'http://169.254.169.254/latest/meta-data/',
  };
}

test('SIGTERM under load: drains within 10 s, exit 0, and what was acknowledged is there at the next start', async () => {
  await using directory = await scratchDirectory();
  const config = await writeConfig(directory.path, { data_dir: join(directory.path, 'data') });
  const argv = ['serve', '--config', config, '--port', String(await freePort())];
  await using service = new LeewayProcess(argv, directory.path);
  const url = await service.ready;
  const senders = ['a', 'b', 'c'].map((source) => openSender({ base_url: url, source, token: null }, { batch_ms: 5 }));
  let step = 0;
  const timer = setInterval(() => {
    for (const sender of senders)
      for (let row = 0; row < 10; row++) sender.emit({ ...heartbeat(++step), job: 'load' } as LeewayRecord);
  }, 10);
  try {
    // what would hold a careless shutdown: an endless stream, a body that never ends, a connection that says nothing
    const stream = await fetch(`${url}/api/v1/stream`);
    const halted = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
    halted.write(
      'POST /v1/events HTTP/1.1\r\nhost: x\r\ncontent-type: application/x-ndjson\r\ncontent-length: 99\r\n\r\n{',
    );
    const silent = connect(Number(new URL(url).port), '127.0.0.1').on('error', () => undefined);
    await until(
      async () => senders.map((sender) => sender.account().batches),
      (batches) => batches.every((count) => count >= 10),
      20_000,
    );
    const began_ms = performance.now();
    expect(await service.end('SIGTERM')).toEqual({ code: 0, signal: null });
    const drained_ms = performance.now() - began_ms;
    expect(drained_ms).toBeLessThan(10_000);
    expect(service.err).not.toMatch(/LW-INTERNAL|"level":"(error|fatal)"/);
    await stream.body?.cancel().catch(() => undefined); // the service has closed it already
    halted.destroy();
    silent.destroy();
    console.log(`drained in ${drained_ms.toFixed(0)} ms with ${step} records sent`);
  } finally {
    clearInterval(timer);
  }
  await using again = new LeewayProcess(argv, directory.path);
  await again.ready;
  const closed = await Promise.all(senders.map((sender) => sender.close(20_000)));
  const stored = await until(
    () => listAll<Account>(url, '/api/v1/delivery'),
    (items) => items.length === senders.length && items.every((item) => item.in_flight === 0),
    20_000,
  );
  for (const sent of closed) {
    expect(sent).toMatchObject({ acknowledged: sent.emitted, pending: 0, rejected: 0 });
    expect(stored).toContainEqual(
      expect.objectContaining({ source: sent.source, stored: sent.acknowledged, sequences_missing: 0 }),
    );
  }
  expect(await again.end('SIGTERM')).toEqual({ code: 0, signal: null });
}, 60_000);
