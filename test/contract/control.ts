import Type from 'typebox';
import { expect, test } from 'vitest';
import { collection } from '../../src/control/collections.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Control } from '../../src/core/ports.ts';
import { integerBelow, seededRandom } from '../../src/core/random.ts';

const THINGS = collection(
  'contract_things',
  Type.Object({ name: Type.String(), size: Type.Number(), colour: Type.Union([Type.String(), Type.Null()]) }),
  { name: 'text', size: 'integer', colour: 'text' },
);

const thing = (name: string, size: number, colour: string | null = null) => ({ name, size, colour });

/** What every driver of the control store must do. `open` gives a fresh, empty store. */
export function controlContract(open: (clock: ManualClock) => Promise<Control>): void {
  test('a document reads back as it was written, with revision 1', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('ä "quoted" \u2028', 1.5)));
    const stored = await control.transaction((tx) => tx.get(THINGS, 'a'));
    expect(stored).toEqual({ id: 'a', revision: 1, body: thing('ä "quoted" \u2028', 1.5) });
    expect(await control.transaction((tx) => tx.get(THINGS, 'b'))).toBeNull();
  });

  test('an insert over an existing id is a conflict and changes nothing', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('first', 1)));
    const again = control.transaction((tx) => tx.insert(THINGS, 'a', thing('second', 2)));
    await expect(again).rejects.toMatchObject({ code: 'LW-CONFLICT' });
    expect((await control.transaction((tx) => tx.get(THINGS, 'a')))?.body.name).toBe('first');
  });

  test('an update at another revision than the stored one is a conflict, and each update adds one to it', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('x', 1)));
    await control.transaction((tx) => tx.update(THINGS, 'a', 1, thing('x', 2)));
    const stale = control.transaction((tx) => tx.update(THINGS, 'a', 1, thing('x', 3)));
    await expect(stale).rejects.toMatchObject({ code: 'LW-CONFLICT' });
    const absent = control.transaction((tx) => tx.update(THINGS, 'nobody', 1, thing('x', 3)));
    await expect(absent).rejects.toMatchObject({ code: 'LW-CONFLICT' });
    expect(await control.transaction((tx) => tx.get(THINGS, 'a'))).toMatchObject({ revision: 2, body: { size: 2 } });
  });

  test('a throw rolls everything back, also what was written to another collection before', async () => {
    await using control = await open(new ManualClock());
    const other = { ...THINGS, name: 'contract_others' };
    const failing = control.transaction(async (tx) => {
      await tx.insert(other, 'o', thing('o', 1));
      await tx.insert(THINGS, 'a', thing('a', 1));
      throw new Error('planted');
    });
    await expect(failing).rejects.toThrow('planted');
    expect(await control.transaction((tx) => tx.count(THINGS, []))).toBe(0);
    expect(await control.transaction((tx) => tx.count(other, []))).toBe(0);
    await control.transaction((tx) => tx.insert(other, 'o', thing('o', 1)));
    expect(await control.transaction((tx) => tx.count(other, []))).toBe(1);
  });

  test('transactions run one after the other: a hundred read-add-write at once lose no addition', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'sum', thing('sum', 0)));
    const add = () =>
      control.transaction(async (tx) => {
        const stored = await tx.get(THINGS, 'sum');
        await new Promise((resolve) => setImmediate(resolve)); // gives every other caller the chance to interfere
        if (stored !== null) await tx.update(THINGS, 'sum', stored.revision, thing('sum', stored.body.size + 1));
      });
    await Promise.all(Array.from({ length: 100 }, add));
    expect((await control.transaction((tx) => tx.get(THINGS, 'sum')))?.body.size).toBe(100);
  });

  test('conditions filter by every operator, and null matches none of them', async () => {
    await using control = await open(new ManualClock());
    await control.transaction(async (tx) => {
      for (const [id, size, colour] of [
        ['a', 1, 'red'],
        ['b', 2, 'blue'],
        ['c', 3, null],
      ] as const)
        await tx.insert(THINGS, id, thing(id, size, colour));
    });
    const ids = async (
      field: string,
      is: '=' | '!=' | '<' | '<=' | '>' | '>=' | 'in',
      value: string | number | string[],
    ) =>
      (await control.transaction((tx) => tx.list(THINGS, { where: [{ field, is, value }] })))
        .map(({ id }) => id)
        .join('');
    expect(await ids('size', '=', 2)).toBe('b');
    expect(await ids('size', '!=', 2)).toBe('ac');
    expect(await ids('size', '<', 2)).toBe('a');
    expect(await ids('size', '<=', 2)).toBe('ab');
    expect(await ids('size', '>', 2)).toBe('c');
    expect(await ids('size', '>=', 2)).toBe('bc');
    expect(await ids('colour', 'in', ['red', 'blue', "'; drop"])).toBe('ab');
    expect(await ids('colour', '!=', 'red')).toBe('b');
    expect(await control.transaction((tx) => tx.count(THINGS, [{ field: 'size', is: '>', value: 1 }]))).toBe(2);
  });

  test.each([false, true])(
    'pages follow each other without gap or repeat, ties included (descending %s)',
    async (descending) => {
      await using control = await open(new ManualClock());
      const random = seededRandom(11);
      const rows = Array.from({ length: 57 }, (_, index) => ({ id: `id${index}`, size: integerBelow(random, 5) }));
      await control.transaction(async (tx) => {
        for (const { id, size } of rows) await tx.insert(THINGS, id, thing(id, size));
      });
      const seen: { id: string; size: number }[] = [];
      for (;;) {
        const last = seen.at(-1);
        const page = await control.transaction((tx) =>
          tx.list(THINGS, {
            order: { field: 'size', descending },
            limit: 10,
            ...(last === undefined ? {} : { after: { value: last.size, id: last.id } }),
          }),
        );
        seen.push(...page.map(({ id, body }) => ({ id, size: body.size })));
        if (page.length < 10) break;
      }
      const sign = descending ? -1 : 1;
      const expected = [...rows].sort((a, b) => sign * (a.size - b.size || (a.id < b.id ? -1 : 1)));
      expect(seen).toEqual(expected);
    },
  );

  test('remove takes a document away, and removing nothing is no failure', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('a', 1)));
    await control.transaction((tx) => tx.remove(THINGS, 'a'));
    await control.transaction((tx) => tx.remove(THINGS, 'a'));
    expect(await control.transaction((tx) => tx.count(THINGS, []))).toBe(0);
  });

  test('a document that does not fit its schema is not written', async () => {
    await using control = await open(new ManualClock());
    const wrong = { ...thing('a', 1), size: Number.NaN }; // JSON has no NaN: it would come back as null
    await expect(control.transaction((tx) => tx.insert(THINGS, 'a', wrong))).rejects.toMatchObject({
      code: 'LW-INTERNAL',
    });
    expect(await control.transaction((tx) => tx.count(THINGS, []))).toBe(0);
  });

  test('a lease belongs to one holder until it ends, and its holder can renew it', async () => {
    const clock = new ManualClock();
    await using control = await open(clock);
    expect(await control.lease('shard', 'one', 1000)).toBe(true);
    expect(await control.lease('shard', 'two', 1000)).toBe(false);
    expect(await control.lease('other', 'two', 1000)).toBe(true);
    await clock.advance(900);
    expect(await control.lease('shard', 'one', 1000)).toBe(true);
    await clock.advance(999);
    expect(await control.lease('shard', 'two', 1000)).toBe(false);
    await clock.advance(1);
    expect(await control.lease('shard', 'two', 1000)).toBe(true);
    expect(await control.lease('shard', 'one', 1000)).toBe(false);
  });

  test('a released lease is free at once; nobody releases that of another', async () => {
    await using control = await open(new ManualClock());
    await control.release('shard', 'one');
    expect(await control.lease('shard', 'one', 1000)).toBe(true);
    await control.release('shard', 'two');
    expect(await control.lease('shard', 'two', 1000)).toBe(false);
    await control.release('shard', 'one');
    expect(await control.lease('shard', 'two', 1000)).toBe(true);
  });

  test('a transaction inside a transaction is a programmer error, not a deadlock', async () => {
    await using control = await open(new ManualClock());
    const nested = control.transaction(() => control.transaction(async () => 1));
    await expect(nested).rejects.toThrow('not opened inside another one');
    expect(await control.transaction(async () => 2)).toBe(2);
  });
}
