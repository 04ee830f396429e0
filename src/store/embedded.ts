import path from 'node:path';
import type { Clock } from '../core/clock.ts';
import { LeewayError } from '../core/errors.ts';
import { lockDataDir } from './data-dir-lock.ts';
import { EmbeddedEngine, type StoreEvent } from './embedded-engine.ts';
import type { Engine } from './engine.ts';
import { RETENTION, type Retention } from './rollup-schema.ts';
import { type RolledStore, SqlStore } from './sql-store.ts';
import { WholeInsertion } from './whole-insertion.ts';

export type { StoreEvent } from './embedded-engine.ts';

export type EmbeddedStoreOptions = {
  readonly data_dir: string;
  readonly clock: Clock;
  readonly onEvent?: (event: StoreEvent) => void;
  /** Time after which the engine ends a query (LW-TIMEOUT). Default 20 s. */
  readonly query_timeout_ms?: number;
  /** Memory after which the engine ends a query. Default 2 GiB. */
  readonly query_memory_bytes_max?: number;
  readonly retention?: Retention;
};

/**
 * The embedded telemetry store: chdb in a child process that owns `data_dir/store`. Takes the lock of the whole data
 * directory and creates the tables. Failures: LW-DATA-DIR-TAKEN, LW-DATA-DIR.
 */
export async function openEmbeddedStore(options: EmbeddedStoreOptions): Promise<RolledStore> {
  const { clock } = options;
  assertReadable(path.resolve(options.data_dir));
  await using opening = new AsyncDisposableStack();
  opening.use(await lockDataDir(options.data_dir));
  const child = opening.use(
    await EmbeddedEngine.start({
      data_dir: options.data_dir,
      clock,
      query_timeout_ms: options.query_timeout_ms ?? 20_000,
      query_memory_bytes_max: options.query_memory_bytes_max ?? 2 * 1_073_741_824,
      onEvent: options.onEvent ?? (() => undefined),
    }),
  );
  const resources = new AsyncDisposableStack();
  const engine: Engine = {
    write: (work) => child.write(work),
    select: (sql, parameters, signal) => child.select(sql, parameters, signal),
    [Symbol.asyncDispose]: () => resources.disposeAsync(),
  };
  const store = new SqlStore({
    engine,
    clock,
    insertion: (ledger) => new WholeInsertion(engine, ledger),
    isSoleWriter: true, // the lock of the data directory, and one session that writes
    schema: { topology: { cluster: null }, retention: options.retention ?? RETENTION },
  });
  await store.migrate(new AbortController().signal);
  resources.use(opening.move());
  return store;
}

/** The engine's file() expands wildcards and reads `::` as a way into an archive; there is no way to escape them. */
function assertReadable(data_dir: string): void {
  if (!/[*?{}]|::/.test(data_dir)) return;
  throw new LeewayError(
    'LW-DATA-DIR',
    `data directory ${data_dir} has one of * ? { } :: in its path, which the store cannot read from; set another data_dir`,
  );
}
