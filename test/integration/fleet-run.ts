import { systemClock } from '../../src/core/clock.ts';
import { integerBelow, type Random, seededRandom } from '../../src/core/random.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import type { ClickHouseDouble } from '../store/clickhouse-double.ts';
import {
  type Account,
  accounts,
  dirtyMinutes,
  faultsOf,
  type Held,
  heldBy,
  lagOf,
  rollupDifference,
} from './fleet-judge.ts';
import { type Load, type LoadOptions, startLoad, type Totals } from './fleet-load.ts';
import { cpuSeconds, Fleet, type FleetOptions, type Member } from './fleet-place.ts';
import { eventually, pause } from './running-service.ts';

/** Samples, kills and their times; `gap_ms`: between two kills of one kind, at random from half to one and a half of it. */
export type RunOptions = FleetOptions & {
  readonly load: Omit<LoadOptions, 'start_ms'>;
  readonly kills: number;
  readonly gap_ms: number;
  /** Samples a second while there are kills to come; 0: as fast as they are taken. */
  readonly rate: number;
  readonly settle_ms_max: number;
  /** Roll-ups are waited for as the workers make them, for so long; `now`: made by this process when they have ended. */
  readonly rollups: { readonly wait_ms_max: number } | 'now';
  readonly say: (line: string) => void;
};

/** What a run gave. `faults` is empty when stored = emitted; `log` is what all processes said. */
export type Figures = {
  readonly faults: readonly string[];
  readonly log: string;
  readonly [figure: string]: unknown;
};

const KINDS = ['gateway', 'worker', 'broker', 'sidecar'] as const;
type Kind = (typeof KINDS)[number];
const HOUR_MS = 3_600_000;
/** Lives of the sidecar to send what it holds. */
const LIVES_MAX = 20;
const LIFE_MS = 2_000;

/** A load through a fleet that is being killed, judged at the end. */
export async function runFleet(directory: string, options: RunOptions): Promise<Figures> {
  const { say, load: shape } = options;
  await using fleet = await Fleet.start(directory, options);
  say('the fleet serves');
  const starting = cpuOf(fleet);
  const span_ms = shape.ticks * shape.step_ms;
  const start_ms = Math.floor((Date.now() - span_ms) / HOUR_MS) * HOUR_MS - HOUR_MS;
  const shaped = { ...shape, start_ms };
  const began_ms = performance.now();
  const seconds = (): number => (performance.now() - began_ms) / 1_000;
  const state = { killing: options.kills > 0 };
  const allowed = (): number =>
    state.killing && options.rate > 0 ? Math.ceil(options.rate * seconds()) : Number.POSITIVE_INFINITY;
  const load = startLoad(shaped, fleet.gateways, allowed);
  const killing = killAll(fleet, load, options).finally(() => {
    state.killing = false;
  });
  const [sent, killed] = await Promise.all([load.done, killing]);
  const sent_s = seconds();
  say(`${sent.rows} samples are acknowledged after ${sent_s.toFixed(0)} s`);
  await drain(fleet.sidecar);
  await eventually('lag 0', async () => (await lagOf(fleet)).every((lag) => lag === 0), options.settle_ms_max);
  const settled_s = seconds();
  say(`no lag after ${settled_s.toFixed(0)} s`);
  const spent = cpuOf(fleet);
  const { faults, account, held, rollups } = await judge(fleet, { ...options, load: shaped }, sent);
  return {
    faults,
    samples: sent.rows,
    held: held.rows,
    physical_rows: held.physical,
    kills: killed,
    failed_starts: fleet.members.reduce((sum, one) => sum + one.failed_starts, 0),
    attempts: load.attempts(),
    duplicates_absorbed: account.reduce((sum, one) => sum + one.duplicates_absorbed, 0),
    accounts: account.length,
    sidecar_rows: account.filter(({ source }) => source.includes('@')).reduce((sum, one) => sum + one.stored, 0),
    sent_s,
    settled_s,
    judged_s: seconds(),
    rollups,
    cpu_s_per_million: perMillion(spent, starting, sent.rows),
    events: eventsOf(fleet.members),
    log: fleet.members.map(({ role, log }) => `== ${role}\n${log}`).join('\n'),
  };
}

/** Ends the sidecar with an empty spool: what it still holds when it is told to end is sent by its next life. */
async function drain(sidecar: Member): Promise<void> {
  for (let life = 0; life < LIVES_MAX; life++) {
    const from = sidecar.log.length;
    await sidecar.stop();
    if (!sidecar.log.slice(from).includes('records in the spool')) return;
    await sidecar.start();
    await pause(LIFE_MS);
  }
}

type Judgement = {
  readonly faults: readonly string[];
  readonly account: readonly Account[];
  readonly held: Held;
  readonly rollups: readonly Rollup[];
};

/** Compares what is stored with what was sent and with itself; ends the processes. */
async function judge(
  fleet: Fleet,
  options: Omit<RunOptions, 'load'> & { readonly load: LoadOptions },
  sent: Totals,
): Promise<Judgement> {
  const { clickhouse } = fleet;
  const account = await settledAccount(fleet);
  const held = await heldBy(clickhouse, options.load);
  const faults = faultsOf(options.load, { sent, held, account, lag: await lagOf(fleet) });
  if (options.rollups !== 'now')
    await eventually(
      'no minute waits',
      async () => (await dirtyMinutes(clickhouse)) === 0,
      options.rollups.wait_ms_max,
    );
  faults.push(...(await endAll(fleet)));
  if (options.rollups === 'now') await rollUpNow(clickhouse);
  const rollups = await rollupsOf(clickhouse);
  for (const { table, rows, expected, different } of rollups)
    if (different > 0 || rows !== expected)
      faults.push(`${table}: ${rows} rows, expected ${expected}, ${different} differ`);
  return { faults, account, held, rollups };
}

async function killAll(fleet: Fleet, load: Load, options: RunOptions): Promise<Record<Kind, number>> {
  const { kills, gap_ms, load: shape, say } = options;
  const killed = { gateway: 0, worker: 0, broker: 0, sidecar: 0 };
  const loops = KINDS.map(async (kind, index) => {
    const random = seededRandom(shape.seed * 4 + index);
    while (killed[kind] < kills) {
      await pause(gap_ms / 2 + integerBelow(random, gap_ms));
      const restart = await killOne(fleet, kind, random);
      killed[kind]++;
      say(`killed ${kind} ${killed[kind]} of ${kills} at ${load.sent()} samples`);
      await restart();
    }
  });
  await Promise.all(loops);
  return killed;
}

/** Kills one process of a kind; returns what starts it again. */
async function killOne(fleet: Fleet, kind: Kind, random: Random): Promise<() => Promise<unknown>> {
  if (kind === 'broker') {
    const node = integerBelow(random, fleet.kafka.brokers.length);
    await fleet.kafka.kill(node);
    return () => fleet.kafka.restart(node);
  }
  const group = { gateway: fleet.gateways, worker: fleet.workers, sidecar: [fleet.sidecar] }[kind];
  const victim = group[integerBelow(random, group.length)];
  if (victim === undefined) throw new Error(`no ${kind}`);
  await victim.kill();
  return () => victim.start();
}

/** The account when nothing is on its way: sidecars go on sending, so it is asked until it balances. */
async function settledAccount(fleet: Fleet): Promise<readonly Account[]> {
  let last: readonly Account[] = [];
  const balanced = async (): Promise<boolean> => {
    last = await accounts(fleet);
    return last.every((one) => one.stored === one.emitted && one.sequences_missing === 0);
  };
  await eventually('a balanced account', balanced, 30_000).catch(() => undefined); // the judge says what is wrong
  return last;
}

type Rollup = { readonly table: string; readonly rows: number; readonly expected: number; readonly different: number };

async function rollupsOf(clickhouse: ClickHouseDouble): Promise<Rollup[]> {
  const checks = [];
  for (const table of ['samples_1m', 'samples_1h'] as const)
    checks.push({ table, ...(await rollupDifference(clickhouse, table)) });
  return checks;
}

async function rollUpNow({ url }: ClickHouseDouble): Promise<void> {
  const writer = { username: 'writer', readPassword: () => Promise.resolve('w') };
  await using store = await openClickHouseStore({ url, database: 'leeway', cluster: null, writer, clock: systemClock });
  while ((await store.rollUp(systemClock.now_ms(), new AbortController().signal)).minutes > 0);
}

/** Ends what has a store or a bus, and says what did not end well or died before. */
async function endAll(fleet: Fleet): Promise<string[]> {
  const faults: string[] = [];
  for (const one of [...fleet.workers, ...fleet.gateways, fleet.console]) {
    if (one.crashes > 0) faults.push(`${one.role} died ${one.crashes} times by itself`);
    const code = await one.stop();
    if (code !== 0) faults.push(`${one.role} ended with ${code}`);
  }
  return faults;
}

type Cpu = {
  readonly gateway: number;
  readonly worker: number;
  readonly broker: number;
  readonly store_stand_in: number;
};

/** CPU seconds of all lives; of the broker those of the present one. */
function cpuOf(fleet: Fleet): Cpu {
  return {
    gateway: fleet.gateways.reduce((sum, one) => sum + one.cpu_s, 0),
    worker: fleet.workers.reduce((sum, one) => sum + one.cpu_s, 0),
    broker: fleet.kafka.pids().reduce((sum, pid) => sum + cpuSeconds(pid), 0),
    store_stand_in: cpuSeconds(fleet.clickhouse.pid),
  };
}

/** What the load cost, later starts included and the first ones not. */
function perMillion(now: Cpu, starting: Cpu, samples: number): Cpu {
  const cost = (part: keyof Cpu): number => round(((now[part] - starting[part]) / samples) * 1e6);
  return {
    gateway: cost('gateway'),
    worker: cost('worker'),
    broker: cost('broker'),
    store_stand_in: cost('store_stand_in'),
  };
}

function round(value: number): number {
  return Math.round(value * 100) / 100;
}

/** How often each kind of warning was logged by all lives of all processes. */
function eventsOf(members: readonly Member[]): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const { role, log } of members)
    for (const [, kind = ''] of log.matchAll(/"kind":"(\w+)"/g))
      counts[`${role} ${kind}`] = (counts[`${role} ${kind}`] ?? 0) + 1;
  return counts;
}
