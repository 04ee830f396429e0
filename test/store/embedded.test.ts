import { afterAll, beforeAll } from 'vitest';
import { systemClock } from '../../src/core/clock.ts';
import { openEmbeddedStore } from '../../src/store/embedded.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { storeContract, type StoreSubject } from '../contract/store.ts';

let subject: StoreSubject | undefined;

beforeAll(async () => {
  const resources = new AsyncDisposableStack();
  const directory = resources.use(await scratchDirectory());
  const data_dir = directory.path;
  const store = resources.use(await openEmbeddedStore({ data_dir, clock: systemClock }));
  const bus = resources.use(
    await openSpool({
      data_dir,
      bytes_max: 1e9,
      fsync: true,
      clock: systemClock,
      known: { sequences: [], lineage_max: 0n },
      close_ms: 5,
    }),
  );
  const alter = async (sql: string): Promise<void> => void (await store.query(sql, {}, new AbortController().signal));
  subject = { store, bus, alter, directory: data_dir, [Symbol.asyncDispose]: () => resources.disposeAsync() };
});

afterAll(async () => {
  await subject?.[Symbol.asyncDispose]();
});

storeContract('embedded store', () => {
  if (subject === undefined) throw new Error('the store did not open');
  return subject;
});
