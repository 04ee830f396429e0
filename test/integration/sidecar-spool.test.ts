import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { freePort, LeewayProcess } from './leeway-process.ts';

const ROUNDS = 8;
const STEPS_A_ROUND = 400;
const JOB = 'pretrain';
const never = new AbortController().signal;
const HOST = path.join(import.meta.dirname, 'sidecar-spool-host.ts');
const OFF = Object.fromEntries(
  ['host', 'nvidia', 'workload', 'prometheus', 'onnxruntime'].map((name) => [name, { enabled: false }]),
);

/** A program of ours that publishes and forwards; killed by its parent, it leaves its directory as it is. */
async function host(
  { directory, url, quota }: { readonly directory: string; readonly url: string; readonly quota?: number },
  steps: { readonly from: number; readonly to: number },
  kill_after: number | null,
): Promise<{ readonly durable: number; readonly epoch: string; readonly killed: boolean }> {
  const quotas = quota === undefined ? [] : [String(quota)];
  const child = spawn(process.execPath, [HOST, directory, url, String(steps.from), String(steps.to), ...quotas], {
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  let durable = steps.from - 1;
  let epoch = '';
  let text = '';
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => {
    text += chunk;
    const lines = text.split('\n');
    text = lines.pop() ?? '';
    for (const line of lines) {
      const [word, value = ''] = line.split(' ');
      if (word === 'epoch') epoch = value;
      if (word === 'durable') durable = Number(value);
      if (kill_after !== null && durable >= kill_after) child.kill('SIGKILL');
    }
  });
  await once(child, 'close');
  if (kill_after === null) expect(child.exitCode).toBe(0);
  return { durable, epoch, killed: child.signalCode === 'SIGKILL' };
}

type Item = { readonly [field: string]: unknown; readonly source: string; readonly epoch: string };

async function items(url: string, what: string): Promise<Item[]> {
  const all: Item[] = [];
  for (let cursor = ''; ; ) {
    const answer = await fetch(`${url}/api/v1/${what}${what.includes('?') ? '&' : '?'}limit=500${cursor}`);
    const page = (await answer.json()) as { items: Item[]; next_cursor: string | null };
    all.push(...page.items);
    if (page.next_cursor === null) return all;
    cursor = `&cursor=${encodeURIComponent(page.next_cursor)}`;
  }
}

async function accountOf(url: string, source: RegExp): Promise<Item[]> {
  for (;;) {
    const account = (await items(url, 'delivery')).filter((item) => source.test(item.source));
    if (account.length > 0 && account.every((item) => item['in_flight'] === 0)) return account;
    await systemClock.sleep(50, never);
  }
}

/** The gateway, killed and started again on its directory whenever `random` says so, until `signal`. */
async function unruly(
  start: () => LeewayProcess,
  random: Random,
  signal: AbortSignal,
): Promise<{ readonly last: LeewayProcess; readonly kills: number }> {
  let kills = 0;
  for (;;) {
    const gateway = start();
    await gateway.ready;
    await systemClock.sleep(200 + integerBelow(random, 1_500), signal).catch(() => undefined); // the end
    if (signal.aborted) return { last: gateway, kills };
    await gateway.kill();
    await gateway.exited;
    kills++;
  }
}

test('sidecar and gateway killed at random: every durable record is stored once, and the account adds up', async () => {
  const seed = 20_261_121;
  const random = seededRandom(seed);
  await using place = await scratchDirectory();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const data_dir = path.join(place.path, 'gateway');
  await mkdir(data_dir);
  const config = path.join(place.path, 'gateway.json');
  await writeFile(config, JSON.stringify({ data_dir, server: { port }, collectors: OFF }));
  await using started = new AsyncDisposableStack();
  const stop = new AbortController();
  const start = (): LeewayProcess => started.use(new LeewayProcess(['serve', '--config', config], place.path));
  const running = unruly(start, seededRandom(seed + 1), stop.signal);
  running.catch(() => undefined); // awaited below, when there is something to say
  const directory = path.join(place.path, 'node');
  const durable = new Set<number>();
  const epochs = new Set<string>();
  let from = 0;
  let killed = 0;
  for (let round = 0; round < ROUNDS; round++) {
    const to = from + STEPS_A_ROUND;
    const ended = await host({ directory, url }, { from, to }, from + integerBelow(random, STEPS_A_ROUND));
    epochs.add(ended.epoch);
    if (ended.killed) killed++;
    for (let step = from; step <= ended.durable; step++) durable.add(step);
    from = ended.durable + 3; // the batch after it may be durable too
  }
  stop.abort();
  const { last, kills } = await running;
  const end = await host({ directory, url }, { from, to: from + 2 }, null);
  for (const step of [from, from + 1]) durable.add(step);
  const account = await accountOf(url, /^host@test$/);
  expect([...epochs]).toEqual([end.epoch]); // one epoch outlives every kill
  expect(account, `seed ${seed}`).toMatchObject([
    { epoch: end.epoch, sequence_min: 1, sequences_missing: 0, declared_loss: {}, in_flight: 0 },
  ]);
  expect(account[0]?.['emitted']).toBe(account[0]?.['stored']);
  const steps = await items(url, `jobs/${JOB}/steps?from_step=0&to_step=${from + 10}`);
  const stored = steps.map((item) => Number(item['step']));
  expect(new Set(stored).size).toBe(stored.length); // none twice
  expect(
    [...durable].filter((step) => !stored.includes(step)),
    `seed ${seed}`,
  ).toEqual([]);
  expect(killed).toBe(ROUNDS);
  expect(kills).toBeGreaterThan(0);
  await last.end('SIGTERM');
});

test('what the quota of a sidecar drops while its gateway is away is declared in the account, exactly', async () => {
  await using place = await scratchDirectory();
  const port = await freePort();
  const url = `http://127.0.0.1:${port}`;
  const data_dir = path.join(place.path, 'gateway');
  await mkdir(data_dir);
  const config = path.join(place.path, 'gateway.json');
  await writeFile(config, JSON.stringify({ data_dir, server: { port }, collectors: OFF }));
  const directory = path.join(place.path, 'node');
  const STEPS = 1_600; // of three records a batch, about 700 bytes: four times the quota
  const running = host({ directory, url, quota: 131_072 }, { from: 0, to: STEPS }, null);
  await systemClock.sleep(2_000, never); // the outage
  await using gateway = new LeewayProcess(['serve', '--config', config], place.path);
  await gateway.ready;
  await running;
  // the totals go with the message after the drop, or within five seconds
  const lostOf = (item: Item | undefined): number =>
    Number(Reflect.get(Object(item?.['declared_loss']), 'spool_full_oldest') ?? 0);
  let [item] = await accountOf(url, /^host@test$/);
  for (; Number(item?.['emitted']) < (STEPS / 2) * 3; [item] = await accountOf(url, /^host@test$/))
    await host({ directory, url, quota: 131_072 }, { from: STEPS, to: STEPS }, null);
  expect(item).toMatchObject({ sequences_missing: 0, in_flight: 0, emitted: (STEPS / 2) * 3 });
  expect(lostOf(item)).toBeGreaterThan(0);
  expect(Number(item?.['stored']) + lostOf(item)).toBe((STEPS / 2) * 3);
  await gateway.end('SIGTERM');
});
