import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { openSender, type Sender, type SenderAccount } from '../../demo/sender.ts';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { integerBelow, normal, type Random, seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord, RecordOf } from '../../src/core/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import {
  freePort,
  getJson,
  LeewayProcess,
  listAll,
  pause,
  postJson,
  processesWith,
  runLeeway,
  until,
  untilGone,
} from './leeway-process.ts';

const KILLS = 20;
const RANKS = 4;
const TICK_MS = 100;
const PREDICTIONS_A_TICK = 6;
const WINDOW_MS = 4_000;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
/** A sender that never waits longer than this, so that batches are under way at every kill. */
const impatient: Clock = { ...systemClock, sleep: (ms, signal) => systemClock.sleep(Math.min(ms, 100), signal) };

type Account = {
  readonly source: string;
  readonly epoch: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly declared_loss: Readonly<Record<string, number>>;
  readonly duplicates_absorbed: number;
  readonly sequence_min: number | null;
  readonly sequence_max: number | null;
  readonly sequences_missing: number;
};

/** What the demo's processes send, at its rates: four ranks, a model server and its client. */
class DemoLoad {
  readonly #random: Random;
  readonly senders: readonly Sender[];
  readonly steps: RecordOf<'step'>[] = [];
  #tick = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(base_url: string, random: Random) {
    const names = [...Array.from({ length: RANKS }, (_, rank) => `rank-${rank}`), 'server', 'client'];
    this.#random = random;
    this.senders = names.map((source) => openSender({ base_url, source, token: null }, { clock: impatient }));
  }

  start(): void {
    this.#timer = setInterval(() => this.#emit(), TICK_MS);
  }

  stop(): void {
    if (this.#timer !== null) clearInterval(this.#timer);
  }

  #emit(): void {
    const tick = ++this.#tick;
    const at_ms = Date.now();
    const [server, client] = this.senders.slice(RANKS);
    for (let rank = 0; rank < RANKS; rank++) {
      const step = stepOf(rank, tick, at_ms);
      this.steps.push(step);
      this.senders[rank]?.emit(step);
      this.senders[rank]?.emit({ type: 'heartbeat', job: 'train', rank, at_ms, step: tick, state: 'running' });
      if (tick % 10 === 0) this.senders[rank]?.emit(claimOf(rank, at_ms));
    }
    for (let index = 0; index < PREDICTIONS_A_TICK; index++) {
      const request_id = `${tick}-${index}`;
      server?.emit(predictionOf('digits', request_id, at_ms, normal(this.#random)));
      client?.emit({ type: 'label', model: 'digits', request_id, at_ms: at_ms + 1, label: index % 3 });
    }
    if (tick % 10 !== 0) return;
    for (const record of summariesOf(at_ms)) server?.emit(record);
  }
}

function stepOf(rank: number, step: number, at_ms: number): RecordOf<'step'> {
  const times = { duration_ms: 92.25, compute_ms: 12 + rank / 8, data_ms: 65 };
  const group = { group: 'dp', op: 'all_reduce', seq: step, bytes: 203_560, arrive_ms: at_ms - 3.5, end_ms: at_ms };
  const phase = step <= 40 ? 'warmup' : 'train';
  return { type: 'step', job: 'train', rank, step, at_ms, ...times, loss: 2 / step, phase, collectives: [group] };
}

function claimOf(rank: number, to_ms: number): LeewayRecord {
  const whole = { gpus: 1, gpu_indexes: [rank], mode: 'whole' };
  return { type: 'claim', asset: 'node-0', tenant: { team: 'digits' }, from_ms: to_ms - 1_000, to_ms, ...whole };
}

function predictionOf(model: string, request_id: string, at_ms: number, brightness: number): LeewayRecord {
  const features = { brightness, ink: 0.25 };
  return { type: 'prediction', model, version: '1', request_id, at_ms, features, prediction: request_id.length % 3 };
}

/** Once a second: the latencies and the counted inputs of the model. */
function summariesOf(at_ms: number): LeewayRecord[] {
  const histogram = { bounds: [1, 5, 25], counts: [40, 15, 4, 1], sum: 190.5 };
  const times = { queue_ms: histogram, compute_ms: histogram, total_ms: histogram };
  const model = { model: 'digits', version: '1' };
  const served = { requests: 60, errors: 0, window_ms: 1_000, provider: 'CPUExecutionProvider', replica: 'r0' };
  const span = { edges_id: 'e', from_ms: at_ms - 1_000, to_ms: at_ms, missing: 0, n: 60 };
  return [
    { type: 'inference', ...model, at_ms, ...served, ...times },
    { type: 'counts', ...model, feature: 'brightness', ...span, counts: [20, 30, 10] },
    { type: 'counts', ...model, feature: 'ink', ...span, counts: [0, 60, 0] },
  ];
}

/** A model whose input moved by four standard deviations a moment ago: an incident and a decision before the kills. */
function driftedHistory(random: Random): LeewayRecord[] {
  const rows = 240;
  const windows = 8;
  const begin_ms = Math.floor(Date.now() / WINDOW_MS) * WINDOW_MS - windows * WINDOW_MS;
  return Array.from({ length: windows * rows }, (_, index) => {
    const shift = index >= 4 * rows ? 4 : 0;
    return predictionOf('history', `h-${index}`, begin_ms + (index * WINDOW_MS) / rows, shift + normal(random));
  });
}

async function writeConfig(directory: string, port: number): Promise<string> {
  const path = join(directory, 'leeway.config.json');
  const policy = { id: 'history', model: 'history', mode: 'suggest', evidence: 'drift', labels_min: 0 };
  const config = {
    server: { port },
    data_dir: join(directory, 'data'),
    drift: { window_ms: WINDOW_MS, rows_min: 100, reference: { kind: 'first_rows', rows: 600 } },
    retraining: { policies: [{ ...policy, hysteresis: { windows: 4, drifted_min: 3 } }] },
  };
  await writeFile(path, JSON.stringify(config));
  return path;
}

type Named = { readonly id: string; readonly model?: string; readonly state: string; readonly status?: string };

type ControlState = { readonly incidents: readonly Named[]; readonly decisions: readonly Named[] };

/** Everything of the model with the planted drift: incident and decision, as the API tells. */
async function controlState(url: string): Promise<ControlState> {
  const [incidents, decisions] = await Promise.all([
    listAll<Named>(url, '/api/v1/incidents?model=history'),
    listAll<Named>(url, '/api/v1/decisions?model=history'),
  ]);
  return { incidents, decisions };
}

/** One order of a person; its note when the service said that it was done, null when the kill came first. */
async function order(url: string, round: number): Promise<string | null> {
  const note = `round ${round}`;
  const path = round % 2 === 1 ? 'mute' : 'unmute';
  try {
    const answer = await postJson(`${url}/api/v1/rules/straggler.hang/${path}`, { note });
    return answer.status === 200 ? note : null;
  } catch {
    return null; // killed under way: done or not, nobody was told
  }
}

/** What is to be true at the end, whatever was killed when. */
type Outcome = {
  readonly url: string;
  readonly closed: readonly SenderAccount[];
  readonly load: DemoLoad;
};

/** The producers' own account: everything emitted was acknowledged. */
function judgeSenders({ closed }: Outcome): void {
  for (const sent of closed)
    expect(sent, sent.source).toMatchObject({
      acknowledged: sent.emitted,
      rejected: 0,
      pending: 0,
      lost: { buffer_full: 0, refused: 0, unsent: 0 },
    });
}

/** The service's account of the same sources and epochs, which counts the rows of its tables. Returns duplicates absorbed. */
async function judgeAccount({ url, closed }: Outcome): Promise<number> {
  const mine = (item: Account): boolean => closed.some((sent) => sent.source === item.source);
  const account = await until(
    async () => (await listAll<Account>(url, '/api/v1/delivery')).filter(mine),
    (items) => items.length === closed.length && items.every((item) => item.in_flight === 0),
    20_000,
  );
  for (const sent of closed)
    expect(account.find((item) => item.source === sent.source)).toMatchObject({
      source: sent.source,
      epoch: String(sent.epoch),
      emitted: sent.acknowledged,
      stored: sent.acknowledged,
      in_flight: 0,
      declared_loss: {},
      sequence_min: 1,
      sequence_max: sent.batches,
      sequences_missing: 0,
    });
  // the service's own collectors started anew with each life: no epoch may miss anything either
  for (const item of await listAll<Account>(url, '/api/v1/delivery'))
    expect([item.source, item.emitted, item.sequences_missing]).toEqual([item.source, item.stored + item.in_flight, 0]);
  return account.reduce((sum, item) => sum + item.duplicates_absorbed, 0);
}

/** The rows themselves, read back: those that were sent, each once. */
async function judgeRows({ url, load }: Outcome): Promise<void> {
  const stored = await listAll<RecordOf<'step'>>(url, '/api/v1/jobs/train/steps');
  expect(stored).toEqual(load.steps.toSorted((a, b) => a.step - b.step || a.rank - b.rank));
}

/** The same incident and decision, once, as a person left them; every order that was confirmed, once. */
async function judgeControl(url: string, planted: ControlState, confirmed: readonly string[]): Promise<void> {
  const after = await controlState(url);
  expect(after.incidents.map(({ id, status }) => [id, status])).toEqual(
    planted.incidents.map(({ id }) => [id, 'acknowledged']),
  );
  expect(after.decisions.map(({ id, state }) => [id, state])).toEqual(
    planted.decisions.map(({ id }) => [id, 'suggested']),
  );
  const audit = await listAll<{ detail: { note?: string } }>(url, '/api/v1/audit');
  const notes = audit.map(({ detail }) => detail.note);
  for (const note of confirmed) expect([note, notes.filter((other) => other === note).length]).toEqual([note, 1]);
}

/** The service under test and the wishes of who kills it. */
type Victim = { readonly url: string; readonly data_dir: string; readonly launch: () => LeewayProcess };
type Killing = {
  /** Answers of the orders of a person, one a life that became ready. */
  readonly orders: Promise<string | null>[];
  /** How long each killed life's children lived on, ms. */
  readonly freed: Promise<number>[];
};

/** Kills and restarts at once, `KILLS` times: mostly 150 to 900 ms after it was ready, now and then while it starts. */
async function killAgainAndAgain(
  current: { service: LeewayProcess },
  victim: Victim,
  random: Random,
): Promise<Killing> {
  const orders: Promise<string | null>[] = [];
  const freed: Promise<number>[] = [];
  for (let kill = 1; kill <= KILLS; kill++) {
    if (kill > 1 && random.next() < 0.2) await pause(50 + integerBelow(random, 1_000));
    else {
      await current.service.ready;
      orders.push(order(victim.url, kill));
      await pause(150 + integerBelow(random, 750));
    }
    await current.service.kill();
    const orphans = processesWith(victim.data_dir);
    current.service = victim.launch(); // it has to wait for a directory that is not free yet
    freed.push(untilGone(orphans, 2_000));
  }
  await current.service.ready;
  return { orders, freed };
}

test(`nothing acknowledged is lost and nothing doubled when leeway serve is killed ${KILLS} times under the demo's load (seed ${seed})`, async ({
  onTestFailed,
}) => {
  await using directory = await scratchDirectory();
  const data_dir = join(directory.path, 'data');
  const port = await freePort();
  const config = await writeConfig(directory.path, port);
  const random = seededRandom(seed);
  const url = `http://127.0.0.1:${port}`;
  const launch = (): LeewayProcess =>
    new LeewayProcess(['serve', '--config', config, '--data-dir', data_dir], directory.path);
  await using scope = new AsyncDisposableStack();
  const current = { service: launch() };
  scope.defer(() => current.service[Symbol.asyncDispose]());
  onTestFailed(() => console.error(`the last life said:\n${current.service.err.slice(-20_000)}`));
  await current.service.ready;

  const history = openSender({ base_url: url, source: 'history', token: null });
  for (const record of driftedHistory(random)) history.emit(record);
  const load = new DemoLoad(url, random);
  scope.defer(() => load.stop());
  load.start();
  const planting_ms = performance.now();
  const planted = await until(
    () => controlState(url),
    ({ incidents, decisions }) => incidents.length === 1 && decisions.length === 1,
    30_000,
  );
  const seen = await postJson(`${url}/api/v1/incidents/${planted.incidents[0]?.id}/acknowledge`, { note: 'seen' });
  expect(seen.status).toBe(200);

  const killing_ms = performance.now();
  const { orders, freed } = await killAgainAndAgain(current, { url, data_dir, launch }, random);
  const judging_ms = performance.now();
  load.stop();
  const closed = await Promise.all([history, ...load.senders].map((sender) => sender.close(20_000)));
  const outcome = { url, closed, load };
  judgeSenders(outcome);
  const duplicates = await judgeAccount(outcome);
  await judgeRows(outcome);
  const confirmed = (await Promise.all(orders)).filter((note) => note !== null);
  await judgeControl(url, planted, confirmed);
  const freed_ms = Math.max(...(await Promise.all(freed)));
  expect(freed_ms).toBeLessThanOrEqual(2_000);

  expect(await getJson(`${url}/readyz`)).toMatchObject({ ready: true });
  expect(await current.service.end('SIGTERM')).toEqual({ code: 0, signal: null });
  expect(processesWith(data_dir)).toEqual([]);
  expect(await runLeeway(['check', 'audit', '--config', config], directory.path)).toMatchObject({ code: 0 });
  expect(existsSync(join(data_dir, 'leeway.lock'))).toBe(false);

  const total = (count: (sent: SenderAccount) => number): number => closed.reduce((sum, sent) => sum + count(sent), 0);
  const seconds = (from_ms: number, to_ms: number): string => ((to_ms - from_ms) / 1_000).toFixed(1);
  console.log(
    `${KILLS} kills in ${seconds(killing_ms, judging_ms)} s (planting ${seconds(planting_ms, killing_ms)} s, judging ${seconds(judging_ms, performance.now())} s): ` +
      `${total((sent) => sent.acknowledged)} records, ${total((sent) => sent.retries)} repeats, ${duplicates} duplicates absorbed, ` +
      `${confirmed.length} of ${orders.length} orders confirmed, directory free after ${freed_ms.toFixed(0)} ms at most`,
  );
}, 120_000);
