import { expect, test } from 'vitest';
import { Pool } from '../../src/control/postgres-pool.ts';

/** No server: what is tested here is who runs when. */
const pool = (connections_max: number): Pool =>
  new Pool({
    url: 'postgres://nobody@127.0.0.1:9/nothing',
    connections_max,
    connect_timeout_ms: 1000,
    statement_timeout_ms: 1000,
    idle_timeout_ms: 1000,
    onLost: () => undefined,
  });

const turns = async (count: number): Promise<void> => {
  for (let turn = 0; turn < count; turn++) await Promise.resolve();
};

test('at most so many tasks run at once, the others in order of arrival, failures among them', async () => {
  await using tasks = pool(3);
  const gates = Array.from({ length: 8 }, () => Promise.withResolvers<void>());
  const started: number[] = [];
  const all = gates.map((gate, index) =>
    tasks.run(async () => {
      started.push(index);
      await gate.promise;
      if (index === 1) throw new Error('planted');
      return index;
    }),
  );
  await turns(20);
  expect(started).toEqual([0, 1, 2]);
  gates[1]?.resolve();
  await expect(all[1]).rejects.toThrow('planted');
  await turns(20);
  expect(started).toEqual([0, 1, 2, 3]);
  for (const gate of gates) gate.resolve();
  expect((await Promise.allSettled(all)).filter(({ status }) => status === 'fulfilled')).toHaveLength(7);
  expect(started).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
});

test('ten thousand may wait, the next hears LW-OVERLOADED', async () => {
  await using tasks = pool(2);
  const gate = Promise.withResolvers<void>();
  const waiting = Array.from({ length: 10_002 }, () => tasks.run(() => gate.promise));
  await expect(tasks.run(() => gate.promise)).rejects.toMatchObject({ code: 'LW-OVERLOADED' });
  gate.resolve();
  await Promise.all(waiting);
  expect(await tasks.run(async () => 'room again')).toBe('room again');
});

test('closing waits for those that run and those that wait, and lets nobody in', async () => {
  const tasks = pool(1);
  const gate = Promise.withResolvers<void>();
  const done: string[] = [];
  const running = tasks.run(() => gate.promise).then(() => done.push('running'));
  const waiting = tasks.run(async () => done.push('waiting'));
  const closed = tasks[Symbol.asyncDispose]().then(() => done.push('closed'));
  await expect(tasks.run(async () => 'late')).rejects.toMatchObject({ code: 'LW-CONTROL-GONE' });
  gate.resolve();
  await Promise.all([running, waiting, closed]);
  expect(done).toHaveLength(3);
  expect(done.indexOf('closed')).toBeGreaterThan(done.indexOf('waiting'));
});

test('a server that does not answer is a failure of kind gone with the system’s code', async () => {
  await using tasks = pool(1);
  await expect(tasks.begin(async () => undefined)).rejects.toMatchObject({ kind: 'gone', code: 'ECONNREFUSED' });
});
