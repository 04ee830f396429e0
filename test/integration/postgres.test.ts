import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collection, OUTBOX, type OutboxRow } from '../../src/control/collections.ts';
import { openPostgresControl, type PostgresControlOptions } from '../../src/control/postgres.ts';
import { systemClock } from '../../src/core/clock.ts';
import type { Control, ControlTransaction } from '../../src/core/ports.ts';
import { systemRandom } from '../../src/core/random.ts';
import { claimNext } from '../../src/pipeline/outbox-lease.ts';
import { controlContract } from '../contract/control.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';

const COUNTERS = collection('counters', Type.Object({ name: Type.String(), count: Type.Number() }), {
  name: 'text',
  count: 'integer',
});

describe.skipIf(POSTGRES_MISSING !== null)(`the control store in PostgreSQL ${POSTGRES_MISSING ?? ''}`, () => {
  let server: PostgresServer;
  let schemas = 0;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const fresh = (): string => `test_${++schemas}`;
  const open = (schema: string, more: Partial<PostgresControlOptions> = {}): Promise<Control> =>
    openPostgresControl({ url: server.url, schema, clock: systemClock, random: systemRandom, ...more });

  describe('the contract', () => controlContract((lease_clock) => open(fresh(), { lease_clock })));

  test('two workers that each read the same and write something else: one of them is repeated, not both believed', async () => {
    const schema = fresh();
    await using one = await open(schema);
    await using other = await open(schema);
    await one.transaction(async (tx) => {
      for (const id of ['a', 'b']) await tx.insert(COUNTERS, id, { name: 'on duty', count: 1 });
    });
    const bothRead = Promise.withResolvers<void>();
    let runs = 0;
    const leave = (control: Control, id: string) =>
      control.transaction(async (tx) => {
        const onDuty = await tx.list(COUNTERS, { where: [{ field: 'count', is: '=', value: 1 }] });
        if (++runs === 2) bothRead.resolve();
        await bothRead.promise;
        const mine = onDuty.find((document) => document.id === id);
        if (onDuty.length < 2 || mine === undefined) return 'stays';
        await tx.update(COUNTERS, id, mine.revision, { name: 'on duty', count: 0 });
        return 'leaves';
      });
    expect((await Promise.all([leave(one, 'a'), leave(other, 'b')])).sort()).toEqual(['leaves', 'stays']);
    expect(runs).toBe(3);
  });

  test('a transaction that loses four times holds the store alone the fifth time', async () => {
    const schema = fresh();
    await using control = await open(schema);
    await using rival = await open(schema);
    await control.transaction((tx) => tx.insert(COUNTERS, 'sum', { name: 'sum', count: 0 }));
    const add = (of: Control, before: () => Promise<void>) =>
      of.transaction(async (tx) => {
        const stored = await tx.get(COUNTERS, 'sum');
        await before();
        if (stored !== null)
          await tx.update(COUNTERS, 'sum', stored.revision, { name: 'sum', count: stored.body.count + 1 });
      });
    let attempts = 0;
    let late: Promise<void> = Promise.resolve();
    await add(control, async () => {
      const interfering = add(rival, async () => undefined);
      if (++attempts < 5) await interfering;
      else late = interfering; // waits at the gate until the one inside has ended
    });
    await late;
    expect(attempts).toBe(5);
    expect((await control.transaction((tx) => tx.get(COUNTERS, 'sum')))?.body.count).toBe(6);
  });

  test('one that wants to be alone does not wait for a long one, nor keep others waiting, beyond a second', async () => {
    const schema = fresh();
    await using control = await open(schema);
    await using rival = await open(schema);
    await control.transaction((tx) => tx.insert(COUNTERS, 'sum', { name: 'sum', count: 0 }));
    const [inside, end] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
    const long = rival.transaction(async (tx) => {
      await tx.get(COUNTERS, 'other');
      inside.resolve();
      await end.promise;
    });
    await inside.promise;
    let attempts = 0;
    const started_ms = performance.now();
    await control.transaction(async (tx) => {
      const stored = await tx.get(COUNTERS, 'sum');
      const add = (of: ControlTransaction) =>
        of.update(COUNTERS, 'sum', stored?.revision ?? 0, { name: 'sum', count: 1 });
      if (++attempts < 5) await rival.transaction(add);
      await add(tx);
    });
    expect(attempts).toBe(5);
    expect(performance.now() - started_ms).toBeLessThan(15_000); // a second at the gate; without its own limit 30
    end.resolve();
    await long;
  });

  test('two workers add to one counter two hundred times and lose nothing', async () => {
    const schema = fresh();
    await using one = await open(schema);
    await using other = await open(schema);
    await one.transaction((tx) => tx.insert(COUNTERS, 'sum', { name: 'sum', count: 0 }));
    const add = (control: Control) =>
      control.transaction(async (tx) => {
        const stored = await tx.get(COUNTERS, 'sum');
        if (stored === null) throw new Error('the counter is gone');
        await tx.update(COUNTERS, 'sum', stored.revision, { name: 'sum', count: stored.body.count + 1 });
      });
    await Promise.all(Array.from({ length: 200 }, (_, index) => add(index % 2 === 0 ? one : other)));
    const stored = await one.transaction((tx) => tx.get(COUNTERS, 'sum'));
    expect(stored).toMatchObject({ revision: 201, body: { count: 200 } });
  });

  test('an insert that a concurrent transaction was first with is repeated and then sees what is there', async () => {
    const schema = fresh();
    await using one = await open(schema);
    await using other = await open(schema);
    await one.transaction((tx) => tx.count(COUNTERS, []));
    const bothLooked = Promise.withResolvers<void>();
    let looks = 0;
    // as the audit log appends: the largest number there is, plus one
    const append = (control: Control) =>
      control.transaction(async (tx) => {
        const [last] = await tx.list(COUNTERS, { order: { field: 'count', descending: true }, limit: 1 });
        if (++looks === 2) bothLooked.resolve();
        await bothLooked.promise;
        const count = (last?.body.count ?? 0) + 1;
        await tx.insert(COUNTERS, `entry${count}`, { name: 'entry', count });
        return count;
      });
    expect(new Set(await Promise.all([append(one), append(other)]))).toEqual(new Set([1, 2]));
  });

  test('rows that only a lost commit would ask for are forgotten after ten minutes', async () => {
    const schema = fresh();
    await using control = await open(schema);
    await server.sql(`INSERT INTO ${schema}.commits VALUES ('old', now() - interval '11 minutes'), ('new', now())`);
    const write = async (worker: number) => {
      for (let index = 0; index < 250; index++)
        await control.transaction((tx) => tx.insert(COUNTERS, `${worker}/${index}`, { name: 'x', count: index }));
    };
    await Promise.all([write(0), write(1), write(2), write(3)]); // every thousandth writing transaction looks
    expect(await server.sql(`SELECT token FROM ${schema}.commits WHERE token IN ('old', 'new')`)).toEqual(['new']);
    expect(await server.sql(`SELECT count(*) FROM ${schema}.commits`)).toEqual(['1001']);
  });

  describe('workers that share the outbox', () => {
    const row = (sequence: number, subject: string): OutboxRow => ({
      sink: 'pager',
      type: 'leeway.incident.opened',
      subject,
      severity: null,
      data: {},
      at_ms: 1,
      sequence,
      state: 'retrying',
      reason: null,
      attempts: 0,
      retry_from_ms: 1,
      retry_from_attempt: 0,
      next_attempt_at_ms: 1,
      lease_until_ms: 0,
      expires_at_ms: null,
      delivered_at_ms: null,
      incident_id: null,
      decision_id: null,
    });
    const at = { now_ms: 1000, lease_ms: 60_000 };
    const ready = async (subjects: readonly string[]): Promise<string> => {
      const schema = fresh();
      await using control = await open(schema);
      await control.transaction(async (tx) => {
        for (const [index, subject] of subjects.entries()) await tx.insert(OUTBOX, `row${index}`, row(index, subject));
      });
      return schema;
    };

    test('a worker does not wait for another that is taking a row, and takes the first of the next subject', async () => {
      const schema = await ready(['a', 'a', 'b']);
      await using one = await open(schema);
      await using other = await open(schema);
      const [held, done] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()];
      const slow = one.transaction(async (tx) => {
        const [mine] = await tx.list(OUTBOX, { where: [{ field: 'id', is: '=', value: 'row0' }], lock: 'skip' });
        held.resolve();
        await done.promise;
        if (mine !== undefined) await tx.update(OUTBOX, mine.id, mine.revision, { ...mine.body, attempts: 1 });
      });
      await held.promise;
      expect((await claimNext(other, 'pager', at))?.document.id).toBe('row2');
      done.resolve();
      await slow;
      expect((await claimNext(other, 'pager', at))?.document.id).toBe('row0');
      expect(await claimNext(other, 'pager', at)).toBeNull(); // row1 waits for row0, row2 is leased
    });

    test('four workers claim sixty rows of thirty subjects: each subject once, the first row of it', async () => {
      const schema = await ready(Array.from({ length: 60 }, (_, index) => `subject${index % 30}`));
      const workers = await Promise.all(Array.from({ length: 4 }, () => open(schema)));
      const claimed = await Promise.all(
        workers.map(async (worker) => {
          const mine: string[] = [];
          for (
            let next = await claimNext(worker, 'pager', at);
            next !== null;
            next = await claimNext(worker, 'pager', at)
          )
            mine.push(next.document.id);
          return mine;
        }),
      );
      await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
      expect(claimed.flat().sort()).toEqual(Array.from({ length: 30 }, (_, index) => `row${index}`).sort());
    });
  });

  describe('leases', () => {
    test('twenty workers ask for a lease at once and one has it', async () => {
      const schema = fresh();
      const workers = await Promise.all(Array.from({ length: 4 }, () => open(schema)));
      const answers = await Promise.all(
        workers.flatMap((worker, host) =>
          Array.from({ length: 5 }, (_, index) => worker.lease('analysis', `worker${host}.${index}`, 60_000)),
        ),
      );
      await Promise.all(workers.map((worker) => worker[Symbol.asyncDispose]()));
      expect(answers.filter((answer) => answer === true)).toHaveLength(1);
    });

    test('the clock of the database decides: hosts a year apart do not take each other’s lease, and it ends by itself', async () => {
      const schema = fresh();
      const past = { ...systemClock, now_ms: () => systemClock.now_ms() - 31_536_000_000 };
      const future = { ...systemClock, now_ms: () => systemClock.now_ms() + 31_536_000_000 };
      await using one = await open(schema, { clock: past });
      await using other = await open(schema, { clock: future });
      expect(await one.lease('analysis', 'one', 60_000)).toBe(true);
      expect(await other.lease('analysis', 'other', 60_000)).toBe(false);
      const rest = `SELECT round((until_ms - extract(epoch FROM clock_timestamp()) * 1000) / 10000) FROM ${schema}.leases`;
      expect(await server.sql(rest)).toEqual(['6']); // 60 s to the nearest 10 s
      await server.sql(`UPDATE ${schema}.leases SET until_ms = until_ms - 60000`); // a minute passes
      expect(await other.lease('analysis', 'other', 60_000)).toBe(true);
      expect(await one.lease('analysis', 'one', 60_000)).toBe(false);
    });

    test('a lease inside a transaction is a programmer error: it would not be part of it', async () => {
      await using control = await open(fresh());
      await expect(control.transaction(() => control.lease('a', 'b', 1))).rejects.toThrow('not opened inside another');
    });
  });

  describe('the schema', () => {
    test('four processes that start together make it once, with the tables they use first', async () => {
      const schema = fresh();
      const controls = await Promise.all(Array.from({ length: 4 }, () => open(schema)));
      await Promise.all(
        controls.map((control, index) =>
          control.transaction((tx) => tx.insert(COUNTERS, `c${index}`, { name: 'x', count: index })),
        ),
      );
      expect(await controls[0]?.transaction((tx) => tx.count(COUNTERS, []))).toBe(4);
      await Promise.all(controls.map((control) => control[Symbol.asyncDispose]()));
      expect(await server.sql(`SELECT version FROM ${schema}.migrations`)).toEqual(['1']);
    });

    test('a user without the right to create works with what is there', async () => {
      const schema = fresh();
      {
        await using owner = await open(schema);
        await owner.transaction((tx) => tx.insert(COUNTERS, 'a', { name: 'x', count: 1 }));
      }
      await server.sql(`CREATE ROLE ${schema}_app LOGIN; GRANT USAGE ON SCHEMA ${schema} TO ${schema}_app;
        GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA ${schema} TO ${schema}_app`);
      const url = server.url.replace('leeway@', `${schema}_app@`);
      await using control = await open(schema, { url });
      await control.transaction((tx) => tx.update(COUNTERS, 'a', 1, { name: 'x', count: 2 }));
      const other = collection('unheard_of', Type.Object({}), {});
      await expect(control.transaction((tx) => tx.count(other, []))).rejects.toMatchObject({ code: 'LW-CONFIG' });
      expect(await control.transaction((tx) => tx.count(COUNTERS, []))).toBe(1);
    });

    test('a newer version of it is not touched', async () => {
      const schema = fresh();
      await (await open(schema))[Symbol.asyncDispose]();
      await server.sql(`INSERT INTO ${schema}.migrations (version) VALUES (99)`);
      await expect(open(schema)).rejects.toMatchObject({ code: 'LW-CONFIG', message: expect.stringContaining('99') });
    });

    test('a field that is indexed from now on gets its index, old documents included', async () => {
      const schema = fresh();
      const before = { ...COUNTERS, indexed: { name: 'text' } } as const;
      {
        await using control = await open(schema);
        await control.transaction((tx) => tx.insert(before, 'old', { name: 'x', count: 7 }));
      }
      await using control = await open(schema);
      const found = await control.transaction((tx) =>
        tx.list(COUNTERS, { where: [{ field: 'count', is: '=', value: 7 }] }),
      );
      expect(found.map(({ id }) => id)).toEqual(['old']);
      const indexes = await server.sql(`SELECT indexname FROM pg_indexes WHERE schemaname = '${schema}' ORDER BY 1`);
      expect(indexes).toContain('doc_counters_count');
    });

    test('conditions and orders are answered from the indexes, without reading the table', async () => {
      const schema = fresh();
      await using control = await open(schema);
      await control.transaction(async (tx) => {
        for (let count = 0; count < 500; count++)
          await tx.insert(COUNTERS, `c${count}`, { name: `name${count % 5}`, count });
      });
      await server.sql(`ANALYZE ${schema}.doc_counters`);
      await server.sql(`SELECT pg_stat_reset()`);
      await control.transaction(async (tx) => {
        await tx.list(COUNTERS, { where: [{ field: 'name', is: '=', value: 'name1' }] });
        await tx.list(COUNTERS, { order: { field: 'count', descending: true }, limit: 1 });
        await tx.list(COUNTERS, {
          order: { field: 'count', descending: false },
          after: { value: 100, id: 'c100' },
          limit: 5,
        });
      });
      await control[Symbol.asyncDispose](); // its statistics are counted when its sessions end
      const scans = `SELECT seq_scan, (SELECT sum(idx_scan) >= 3 FROM pg_stat_user_indexes WHERE schemaname = '${schema}')
        FROM pg_stat_user_tables WHERE schemaname = '${schema}' AND relname = 'doc_counters'`;
      await expect.poll(() => server.sql(scans), { timeout: 10_000 }).toEqual(['0|t']);
    });
  });
});
