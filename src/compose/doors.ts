import { randomUUID } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadedConfig } from '../config.ts';
import { openSqliteControl } from '../control/sqlite.ts';
import type { Clock } from '../core/clock.ts';
import type { Bus, Control, Store } from '../core/ports.ts';
import { writeWhole } from '../files/input.ts';
import { openEmbeddedStore } from '../store/embedded.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import { reserveBytes } from '../transport/disk-space.ts';
import { openSpool } from '../transport/spool.ts';
import { countedBus } from './self-watch.ts';

/** What every part of the service stands on and tells. */
export type Ground = {
  readonly loaded: LoadedConfig;
  readonly clock: Clock;
  readonly logger: Logger;
  readonly metrics: ServiceMetrics;
};

/** The stores and the bus of a data directory. */
export type Doors = {
  readonly store: Store;
  readonly bus: Bus;
  readonly control: Control;
  /** Names this installation over restarts. */
  readonly installation: string;
};

/** Opens the data directory: the store first, since it takes the lock. `stack` closes all in reverse order. */
export async function openDoors(
  { loaded, clock, logger, metrics }: Ground,
  stack: AsyncDisposableStack,
): Promise<Doors> {
  const { config, paths } = loaded;
  const warn = (event: { readonly kind: string; readonly reason: string }): void =>
    event.kind === 'store_child_started'
      ? logger.debug({ kind: event.kind }, event.reason)
      : logger.warn({ kind: event.kind }, event.reason);
  const store = stack.use(await openEmbeddedStore({ data_dir: paths.data_dir, clock, onEvent: warn }));
  const never = new AbortController().signal;
  const known = { sequences: await store.sequences(never), lineage_max: await store.lineageMax(never) };
  const spool = stack.use(
    await openSpool({
      data_dir: paths.data_dir,
      ...config.spool,
      reserve_bytes: await reserveBytes(paths.data_dir, config.spool.bytes_max),
      clock,
      known,
      onEvent: warn,
    }),
  );
  const bus = countedBus(spool, metrics);
  const control = stack.use(await openSqliteControl({ data_dir: paths.data_dir, clock }));
  const installation = await installationId(paths.data_dir);
  return { store, bus, control, installation };
}

/** A name for this installation that stays the same over restarts: `ce-source` and dispatch keys carry it. */
async function installationId(data_dir: string): Promise<string> {
  const path = join(data_dir, 'installation');
  try {
    return (await readFile(path, 'utf8')).trim();
  } catch {
    const id = randomUUID(); // the first start in this directory
    await writeWhole(path, `${id}\n`);
    return id;
  }
}
