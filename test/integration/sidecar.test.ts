import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import path from 'node:path';
import { zstdDecompressSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { parseRecord } from '../../src/core/parse-record.ts';
import { decodeLink, type LinkGap } from '../../src/formats/link-batch.ts';
import { writeStandIn } from '../collectors/nvidia-stand-in.ts';
import { stepRecord } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const ROOT = path.resolve(import.meta.dirname, '../..');

/** A batch as it came: its name, and its records as lines of JSON. */
type Received = {
  readonly headers: IncomingHttpHeaders;
  readonly url: string;
  readonly source: string;
  readonly epoch: number;
  readonly sequence: number;
  readonly lines: readonly string[];
  readonly status: number;
};
type Message = { readonly lines: readonly string[]; readonly gaps: readonly LinkGap[] };
type Judge = (message: Message) => number;

/** A gateway that keeps what it is sent and answers with the status that `judge` names; an `older` one knows NDJSON alone. */
class Gateway {
  readonly received: Received[] = [];
  readonly gaps: LinkGap[] = [];
  readonly #server: Server;
  #wake: () => void = () => undefined;

  private constructor(judge: Judge, older: boolean) {
    this.#server = createServer((request, response) => {
      const chunks: Buffer[] = [];
      request.on('data', (chunk: Buffer) => chunks.push(chunk));
      request.on('end', () => {
        const { headers, url = '' } = request;
        const isPacked = headers['content-type'] === 'application/vnd.leeway.batch.v1';
        if (older && isPacked) return void response.writeHead(415).end();
        const { frames, gaps } = isPacked
          ? unpacked(headers, Buffer.concat(chunks))
          : named(headers, Buffer.concat(chunks));
        const lines = frames.flatMap((frame) => frame.lines);
        const status = judge({ lines, gaps });
        if (status === 0) return; // never answers
        if (status === 200) this.gaps.push(...gaps);
        this.received.push(...frames.map((frame) => ({ headers, url, ...frame, status })));
        response.writeHead(status, { 'content-type': 'application/json' });
        response.end(JSON.stringify(status === 200 ? { accepted: lines.length, rejected: [] } : { detail: 'judged' }));
        this.#wake();
      });
    });
  }

  static async open(judge: Judge = () => 200, older = false): Promise<Gateway & AsyncDisposable> {
    const gateway = new Gateway(judge, older);
    gateway.#server.listen(0, '127.0.0.1');
    await once(gateway.#server, 'listening');
    return Object.assign(gateway, {
      [Symbol.asyncDispose]: async () => {
        gateway.#server.closeAllConnections();
        await new Promise((resolve) => gateway.#server.close(resolve));
      },
    });
  }

  get url(): string {
    const { port } = this.#server.address() as AddressInfo; // a TCP address, since it listens on a port
    return `http://127.0.0.1:${port}`;
  }

  of(collector: string): Received[] {
    return this.received.filter(({ source }) => source.startsWith(`${collector}@`));
  }

  async until(enough: () => boolean): Promise<void> {
    while (!enough()) await new Promise<void>((resolve) => (this.#wake = resolve));
  }
}

type Frames = {
  readonly frames: Pick<Received, 'source' | 'epoch' | 'sequence' | 'lines'>[];
  readonly gaps: readonly LinkGap[];
};

function unpacked(headers: IncomingHttpHeaders, body: Buffer): Frames {
  const message = decodeLink(headers['content-encoding'] === 'zstd' ? zstdDecompressSync(body) : body);
  if (message.kind !== 'ok') throw new Error('the message does not decode');
  const { frames, gaps } = message.value;
  return {
    frames: frames.map(({ records, ...name }) => ({ ...name, lines: records.map((record) => JSON.stringify(record)) })),
    gaps,
  };
}

function named(headers: IncomingHttpHeaders, body: Buffer): Frames {
  const frame = {
    source: String(headers['x-leeway-source']),
    epoch: Number(headers['x-leeway-epoch']),
    sequence: Number(headers['x-leeway-sequence']),
    lines: body.toString().trimEnd().split('\n'),
  };
  return { frames: [frame], gaps: [] };
}

type Sidecar = { readonly child: ChildProcess; readonly said: () => string; readonly socket: string } & AsyncDisposable;

/** Starts the role in a process of its own and waits until it is ready or over. */
async function sidecar(config: object, environment: Record<string, string> = {}): Promise<Sidecar> {
  const directory = await scratchDirectory();
  const file = path.join(directory.path, 'config.json');
  await writeFile(file, JSON.stringify({ data_dir: directory.path, ...config }));
  const child = spawn(process.execPath, ['bin/leeway.js', 'serve', '--role', 'sidecar', '--config', file], {
    cwd: ROOT,
    env: { ...process.env, ...environment },
    stdio: ['ignore', 'ignore', 'pipe'],
  });
  let said = '';
  const settled = new Promise<void>((resolve) => {
    child.stderr?.setEncoding('utf8').on('data', (text: string) => {
      said += text;
      if (said.includes('leeway is ready at http')) resolve();
    });
    child.once('close', () => resolve());
  });
  await settled;
  return {
    child,
    said: () => said,
    socket: path.join(directory.path, 'workload.sock'),
    [Symbol.asyncDispose]: async () => {
      if (child.exitCode === null && child.signalCode === null) {
        child.kill('SIGKILL');
        await once(child, 'close');
      }
      await directory[Symbol.asyncDispose]();
    },
  };
}

async function stopped(child: ChildProcess): Promise<{ status: number | null; ms: number }> {
  const from_ms = performance.now();
  child.kill('SIGTERM');
  if (child.exitCode === null) await once(child, 'exit');
  return { status: child.exitCode, ms: performance.now() - from_ms };
}

async function write(socket: string, text: string): Promise<void> {
  const client = connect(socket);
  await once(client, 'connect');
  client.resume().end(text);
  await once(client, 'close');
}

const only = (...names: string[]): object =>
  Object.fromEntries(
    ['host', 'nvidia', 'onnxruntime', 'prometheus', 'workload'].map((name) => [
      name,
      { enabled: names.includes(name), interval_ms: 100 },
    ]),
  );

for (const [kind, type] of [
  ['a gateway', 'application/vnd.leeway.batch.v1'],
  ['an older gateway', 'application/x-ndjson'],
] as const)
  test(`host, GPUs and workloads reach ${kind} as valid records in batches numbered without gaps`, async () => {
    await using place = await scratchDirectory();
    const command = await writeStandIn(place.path, { gpus: 2 });
    await using gateway = await Gateway.open(() => 200, kind === 'an older gateway');
    await using process_ = await sidecar(
      {
        gateway: { url: `${gateway.url}/prefix`, token_file: 'env:SIDECAR_TOKEN' },
        collectors: { ...only('host', 'nvidia', 'workload'), nvidia: { command, interval_ms: 100 } },
      },
      { SIDECAR_TOKEN: 'lw_node_s3cret' },
    );
    await write(process_.socket, `${JSON.stringify(stepRecord(1))}\n`);
    await gateway.until(() => ['host', 'nvidia', 'workload'].every((name) => gateway.of(name).length > 0));
    expect((await stopped(process_.child)).status).toBe(0);
    for (const { url, headers, lines } of gateway.received) {
      expect(url).toBe('/prefix/v1/events');
      expect(headers).toMatchObject({ authorization: 'Bearer lw_node_s3cret', 'content-type': type });
      for (const line of lines) expect(parseRecord(line)).toMatchObject({ kind: 'ok' });
    }
    const host = gateway.of('host'); // two types of records: their segments are sent one after the other
    const numbers = host.map(({ sequence }) => sequence).toSorted((one, other) => one - other);
    expect(numbers).toEqual(host.map((_, index) => index + 1));
    expect(new Set(gateway.received.map(({ epoch }) => epoch)).size).toBe(1);
    const workload = gateway.of('workload').flatMap(({ lines }) => lines.map((line): unknown => JSON.parse(line)));
    expect(workload).toEqual([stepRecord(1)]);
    expect(process_.said()).not.toContain('lw_node_s3cret');
  });

test('what a rank wrote just before the signal is delivered before the process ends', async () => {
  await using gateway = await Gateway.open();
  await using process_ = await sidecar({
    gateway: { url: gateway.url },
    collectors: { ...only('workload'), workload: { interval_ms: 60_000 } },
  });
  await write(process_.socket, [1, 2, 3].map((step) => `${JSON.stringify(stepRecord(step))}\n`).join(''));
  expect(await stopped(process_.child)).toMatchObject({ status: 0 });
  expect(gateway.of('workload').flatMap(({ lines }) => lines.map((line): unknown => JSON.parse(line)))).toEqual(
    [1, 2, 3].map((step) => stepRecord(step)),
  );
});

test('a batch that was refused for now comes again under its number, one that is refused for good is declared lost', async () => {
  const statuses = [503, 401, 429, 422, 200];
  await using gateway = await Gateway.open(({ lines }) => (lines.length === 0 ? 200 : (statuses.shift() ?? 200)));
  await using process_ = await sidecar({ gateway: { url: gateway.url }, collectors: only('workload') });
  await write(process_.socket, `${JSON.stringify(stepRecord(1))}\n`);
  await gateway.until(() => gateway.received.length === 4);
  await write(process_.socket, `${JSON.stringify(stepRecord(2))}\n`);
  await gateway.until(() => gateway.received.length === 5 && gateway.gaps.length > 0);
  expect(
    gateway.received.map(({ status, sequence, lines }) => [
      status,
      sequence,
      Reflect.get(JSON.parse(lines[0] ?? ''), 'step'),
    ]),
  ).toEqual([
    [503, 1, 1],
    [401, 1, 1],
    [429, 1, 1],
    [422, 1, 1], // refused for good: declared with the next message, by its number
    [200, 2, 2],
  ]);
  expect(gateway.gaps).toMatchObject([{ reason: 'gateway_refused', records: 1, ranges: [[1, 1]] }]);
  await stopped(process_.child);
  expect(process_.said()).toContain('"forward_lost"');
});

test('a batch that is too large for the gateway is halved until it fits', async () => {
  await using gateway = await Gateway.open(({ lines }) => (lines.length > 2 ? 413 : 200));
  await using process_ = await sidecar({
    gateway: { url: gateway.url },
    collectors: { ...only('workload'), workload: { interval_ms: 60_000 } },
  });
  await write(process_.socket, [1, 2, 3, 4, 5].map((step) => `${JSON.stringify(stepRecord(step))}\n`).join(''));
  await stopped(process_.child);
  const taken = gateway.received.filter(({ status }) => status === 200);
  const steps = taken.flatMap(({ lines }) => lines.map((line) => Number(Reflect.get(JSON.parse(line), 'step'))));
  expect(steps.toSorted((one, other) => one - other)).toEqual([1, 2, 3, 4, 5]);
  const numbers = taken.map(({ sequence }) => sequence);
  expect(new Set(numbers).size).toBe(numbers.length); // each piece has a number of its own
});

test('against a gateway that never answers, the signal ends the process within ten seconds and the rest is named', async () => {
  await using gateway = await Gateway.open(() => 0);
  await using process_ = await sidecar({ gateway: { url: gateway.url }, collectors: only('workload') });
  await write(process_.socket, `${JSON.stringify(stepRecord(1))}\n`);
  const { status, ms } = await stopped(process_.child);
  expect(status).toBe(0);
  expect(ms).toBeLessThan(10_000);
  expect(process_.said()).toContain('"records":1');
});

test('what found no room before the end is declared by the next start: nothing is lost that nobody counts', async () => {
  const sent = 20_000;
  let isAway = true;
  await using gateway = await Gateway.open(() => (isAway ? 503 : 200));
  const config = { gateway: { url: gateway.url }, spool: { bytes_max: 1_048_576 }, collectors: only('workload') };
  await using first = await sidecar(config);
  const lines = Array.from({ length: sent }, (_, step) => `${JSON.stringify(stepRecord(step))}\n`);
  for (let from = 0; from < sent; from += 2_000) await write(first.socket, lines.slice(from, from + 2_000).join(''));
  expect((await stopped(first.child)).status).toBe(0);
  isAway = false;
  gateway.received.length = 0;
  await using _second = await sidecar({ ...config, data_dir: path.dirname(first.socket) });
  const stored = (): number => new Set(gateway.received.flatMap((frame) => frame.lines)).size;
  const declared = (): number => Math.max(0, ...gateway.gaps.map(({ records }) => records)); // one total, told again
  await gateway.until(() => stored() + declared() >= sent);
  expect(stored()).toBeGreaterThan(1_000);
  expect(stored() + declared()).toBe(sent);
  expect(new Set(gateway.gaps.map(({ reason }) => reason))).toEqual(new Set(['unsent']));
});

test('without gateway.url it does not start and says what to set', async () => {
  await using process_ = await sidecar({});
  expect(process_.child.exitCode).toBe(2);
  expect(process_.said()).toMatch(/^error\[LW-CONFIG\]: gateway\.url: got null.*LEEWAY__GATEWAY__URL=/);
});

test('a second sidecar on the same directory does not take the socket of the first', async () => {
  await using gateway = await Gateway.open();
  await using first = await sidecar({ gateway: { url: gateway.url }, collectors: only('workload') });
  const data_dir = path.dirname(first.socket);
  await using second = await sidecar({ data_dir, gateway: { url: gateway.url }, collectors: only('workload') });
  expect(second.child.exitCode).toBe(1);
  expect(second.said()).toContain('error[LW-DATA-DIR-TAKEN]');
  await write(first.socket, `${JSON.stringify(stepRecord(1))}\n`);
  await gateway.until(() => gateway.received.length > 0);
});

/** Makes a process say on standard error which modules it loads. */
const NAME_MODULES = `--import data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module';
  import { writeSync } from 'node:fs';
  registerHooks({ load: (url, context, next) => (writeSync(2, 'loads ' + url + '\\n'), next(url, context)) });
`)}`;

test('the role loads no store, engine or server', async () => {
  await using gateway = await Gateway.open();
  await using process_ = await sidecar(
    { gateway: { url: gateway.url }, collectors: only('host') },
    { NODE_OPTIONS: NAME_MODULES },
  );
  const { said } = process_;
  expect(said().includes(`loads file://${ROOT}/collectors/host.ts`)).toBe(true); // what is loaded is named at all
  for (const name of [
    'node_modules/chdb',
    'node_modules/fastify',
    'node_modules/undici',
    'node_modules/systeminformation',
    'src/straggler',
    'src/drift/',
  ])
    expect(said().includes(`loads file://${ROOT}/${name}`), name).toBe(false);
});
