import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import type { LoadedConfig } from '../config.ts';
import { ENGINE_STATE } from '../control/collections.ts';
import { openSqliteControl } from '../control/sqlite.ts';
import { type Clock, every } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import type { Bus, Control } from '../core/ports.ts';
import { systemRandom } from '../core/random.ts';
import { writeWhole } from '../files/input.ts';
import { DeclaredGaps } from '../pipeline/declared-gaps.ts';
import { openEmbeddedStore } from '../store/embedded.ts';
import type { RolledStore } from '../store/sql-store.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import { reserveBytes } from '../transport/disk-space.ts';
import { openSpool } from '../transport/spool.ts';
import { absentBus, absentStore } from './absent-doors.ts';
import type { RolePlan } from './role-plan.ts';
import { countedBus } from './self-watch.ts';

/** Losses that other processes were told are looked for this often. */
const GAPS_MS = 10_000;

/** What every part of the service stands on and tells. */
export type Ground = {
  readonly loaded: LoadedConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ServiceMetrics;
};

/** The stores and the bus of a process. */
export type Doors = {
  readonly store: RolledStore;
  readonly bus: Bus;
  readonly control: Control;
  /** What senders say they lost; part of the bus's backlog. */
  readonly gaps: DeclaredGaps;
  /** Names this installation over restarts, and is the same in all of its processes. */
  readonly installation: string;
  /** This process's name in leases. */
  readonly holder: string;
};

type Warn = (event: { readonly kind: string; readonly reason: string }) => void;

/**
 * Opens what `plan` asks for and the configuration names: the store first, since the embedded one takes the lock of the
 * data directory. Drivers that are not used are not loaded. `stack` closes all in reverse order.
 */
export async function openDoors(ground: Ground, stack: AsyncDisposableStack, plan: RolePlan): Promise<Doors> {
  const { logger, metrics, loaded } = ground;
  const warn: Warn = ({ kind, reason }) =>
    kind === 'store_child_started' ? logger.debug({ kind }, reason) : logger.warn({ kind }, reason);
  const store = stack.use(plan.store ? await openStore(ground, warn) : absentStore());
  const own = countedBus(stack.use(plan.bus ? await openBus(ground, warn, store) : absentBus()), metrics);
  const control = stack.use(await openControl(ground, warn));
  const gaps = await openGaps(ground, stack, control);
  const bus = gaps.over(own);
  if (loaded.config.control.kind === 'sqlite') {
    const installation = await ownInstallation(loaded.paths.data_dir);
    // of a data directory there is one process: after a crash its successor has the same name and need not wait
    return { store, bus, control, gaps, installation, holder: installation };
  }
  const installation = await sharedInstallation(control, ground.clock);
  return { store, bus, control, gaps, installation, holder: `${process.pid}@${randomUUID()}` };
}

/** Declared by gateways, read by workers and consoles: others' are looked for again and again. */
async function openGaps(
  { loaded, clock, logger }: Ground,
  stack: AsyncDisposableStack,
  control: Control,
): Promise<DeclaredGaps> {
  const gaps = new DeclaredGaps(control, clock);
  await gaps.refresh();
  if (loaded.config.control.kind === 'sqlite') return gaps;
  const ended = new AbortController();
  const onError = (error: unknown): void => logger.warn({ error: String(error) }, 'declared losses could not be read');
  const refreshing = every(clock, GAPS_MS, () => gaps.refresh(), { signal: ended.signal, onError });
  stack.defer(async () => {
    ended.abort();
    await refreshing;
  });
  return gaps;
}

async function openStore({ loaded, clock }: Ground, onEvent: Warn): Promise<RolledStore> {
  const { store, retention } = loaded.config;
  if (store.kind === 'embedded')
    return openEmbeddedStore({ data_dir: loaded.paths.data_dir, clock, onEvent, retention });
  const { openClickHouseStore } = await import('../store/clickhouse.ts');
  const { password_file, username, url, database, cluster } = store;
  const readPassword = (): Promise<string> => secretOf(loaded, password_file ?? null);
  return openClickHouseStore({ url, database, cluster, writer: { username, readPassword }, clock, onEvent, retention });
}

async function openBus({ loaded, clock }: Ground, onEvent: Warn, store: RolledStore): Promise<Bus> {
  const { bus, spool } = loaded.config;
  const { data_dir } = loaded.paths;
  if (bus.kind === 'embedded') {
    const never = new AbortController().signal;
    const known = { sequences: await store.sequences(never), lineage_max: await store.lineageMax(never) };
    const reserve_bytes = await reserveBytes(data_dir, spool.bytes_max);
    return openSpool({ data_dir, ...spool, reserve_bytes, clock, known, onEvent });
  }
  const { openKafkaBus } = await import('../transport/kafka-bus.ts');
  const { removeLeftBehind, scratchOf } = await import('../transport/kafka-scratch.ts');
  await removeLeftBehind(tmpdir());
  const { kind: _, sasl, tls, ...settings } = bus;
  return openKafkaBus({
    ...settings,
    scratch_dir: scratchOf(tmpdir(), process.pid),
    tls: typeof tls === 'boolean' ? tls : { ca: await readFile(resolve(loaded.source.cwd, tls.ca_file), 'utf8') },
    sasl: sasl === null ? null : { ...sasl, password: await secretOf(loaded, sasl.password_file) },
    clock,
    onEvent,
  });
}

async function openControl({ loaded, clock }: Ground, onEvent: Warn): Promise<Control> {
  const { control } = loaded.config;
  if (control.kind === 'sqlite') return openSqliteControl({ data_dir: loaded.paths.data_dir, clock });
  const { openPostgresControl } = await import('../control/postgres.ts');
  return openPostgresControl({ url: await secretOf(loaded, control.url_file), clock, random: systemRandom, onEvent });
}

/** The first line of a secret file, '' where there is none. */
async function secretOf(loaded: LoadedConfig, file: string | null): Promise<string> {
  return file === null ? '' : ((await loaded.readSecret(file))[0] ?? '');
}

/** A name for this data directory that stays the same over restarts: `ce-source` and dispatch keys carry it. */
async function ownInstallation(data_dir: string): Promise<string> {
  const path = join(data_dir, 'installation');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    const id = randomUUID(); // the first start in this directory
    await writeWhole(path, `${id}\n`);
    return id;
  }
}

/** The same for processes that share a control store: the first one to come names it. */
async function sharedInstallation(control: Control, clock: Clock): Promise<string> {
  const id = 'installation/shared';
  const found = await control.transaction((tx) => tx.get(ENGINE_STATE, id));
  if (found !== null) return String(Reflect.get(Object(found.body.state), 'id'));
  const body = { engine: 'installation', updated_at_ms: clock.now_ms(), state: { id: randomUUID() } };
  try {
    await control.transaction((tx) => tx.insert(ENGINE_STATE, id, body));
    return body.state.id;
  } catch (error) {
    if (error instanceof LeewayError && error.code === 'LW-CONFLICT') return sharedInstallation(control, clock);
    throw error;
  }
}
