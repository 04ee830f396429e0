import { afterAll, beforeAll } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { openClickHouseStore } from '../../src/store/clickhouse.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { storeContract, type StoreSubject } from '../contract/store.ts';
import { ClickHouseDouble } from './clickhouse-double.ts';

let subject: StoreSubject | undefined;

beforeAll(async () => {
  const resources = new AsyncDisposableStack();
  const directory = resources.use(await scratchDirectory());
  const double = resources.use(await ClickHouseDouble.start(directory.path));
  const store = resources.use(
    await openClickHouseStore({
      url: double.url,
      database: 'leeway',
      cluster: null,
      writer: { username: 'writer', readPassword: async () => 'w' },
      reader: { username: 'reader', readPassword: async () => 'r' },
      clock: systemClock,
    }),
  );
  const known = { sequences: [], lineage_max: 0n };
  const options = { data_dir: directory.path, bytes_max: 1e9, fsync: false, clock: systemClock, known, close_ms: 5 };
  const bus = resources.use(await openSpool(options));
  const alter = async (sql: string): Promise<void> => void (await double.sql(sql));
  subject = { store, bus, alter, directory: directory.path, [Symbol.asyncDispose]: () => resources.disposeAsync() };
});

afterAll(async () => {
  await subject?.[Symbol.asyncDispose]();
});

storeContract('ClickHouse store', () => {
  if (subject === undefined) throw new Error('the store did not open');
  return subject;
});
