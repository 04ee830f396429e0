import Type from 'typebox';
import { expect, test } from 'vitest';
import { collection } from '../../src/control/collections.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Control, Selection } from '../../src/core/ports.ts';
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

  test('a value of the other type is no failure: numbers come before texts', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('a', 1, 'red')));
    const found = async (selection: Selection) =>
      (await control.transaction((tx) => tx.list(THINGS, selection))).length;
    for (const [is, size_to_text, colour_to_number] of [
      ['=', 0, 0],
      ['!=', 1, 1],
      ['<', 1, 0],
      ['<=', 1, 0],
      ['>', 0, 1],
      ['>=', 0, 1],
    ] as const) {
      expect(await found({ where: [{ field: 'size', is, value: '1' }] })).toBe(size_to_text);
      expect(await found({ where: [{ field: 'colour', is, value: 1 }] })).toBe(colour_to_number);
    }
    expect(await found({ where: [{ field: 'size', is: 'in', value: ['1'] }] })).toBe(0);
    const after = { value: 'made up', id: '' };
    expect(await found({ order: { field: 'size', descending: false }, after })).toBe(0);
    expect(await found({ order: { field: 'size', descending: true }, after })).toBe(1);
    expect(await found({ order: { field: 'colour', descending: false }, after: { value: 0, id: '' } })).toBe(1);
  });

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

  test('a list that skips what others have taken is, where nobody else is, the list in its order and length', async () => {
    await using control = await open(new ManualClock());
    const listed = await control.transaction(async (tx) => {
      for (const [index, id] of ['c', 'a', 'd', 'b'].entries()) await tx.insert(THINGS, id, thing(id, index));
      const order = { field: 'size', descending: true };
      return tx.list(THINGS, { where: [{ field: 'size', is: '>', value: 0 }], order, limit: 2, lock: 'skip' });
    });
    expect(listed.map(({ id }) => id)).toEqual(['b', 'd']);
  });

  test('four workers that share a queue take every document once', async () => {
    await using control = await open(new ManualClock());
    const ids = Array.from({ length: 40 }, (_, index) => `job${index}`);
    await control.transaction(async (tx) => {
      for (const id of ids) await tx.insert(THINGS, id, thing(id, 0));
    });
    const take = (worker: string) =>
      control.transaction(async (tx) => {
        const where = [{ field: 'size', is: '=', value: 0 }] as const;
        const [free] = await tx.list(THINGS, { where, limit: 1, lock: 'skip' });
        if (free !== undefined)
          await tx.update(THINGS, free.id, free.revision, { ...free.body, size: 1, colour: worker });
        return free?.id;
      });
    const taken: string[] = [];
    const work = async (worker: string): Promise<void> => {
      for (let id = await take(worker); id !== undefined || (await left()) > 0; id = await take(worker))
        if (id !== undefined) taken.push(id);
    };
    const left = () => control.transaction((tx) => tx.count(THINGS, [{ field: 'size', is: '=', value: 0 }]));
    await Promise.all(['one', 'two', 'three', 'four'].map(work));
    expect(taken.sort()).toEqual(ids.sort());
  });

  test('reads and writes of one transaction may be asked for at once', async () => {
    await using control = await open(new ManualClock());
    const ids = ['a', 'b', 'c', 'd'];
    const read = await control.transaction(async (tx) => {
      await Promise.all(ids.map((id, size) => tx.insert(THINGS, id, thing(id, size))));
      return Promise.all(ids.map((id) => tx.get(THINGS, id)));
    });
    expect(read.map((document) => document?.body.size)).toEqual([0, 1, 2, 3]);
  });

  test('work that catches a conflict goes on in the same transaction', async () => {
    await using control = await open(new ManualClock());
    await control.transaction((tx) => tx.insert(THINGS, 'a', thing('first', 1)));
    await control.transaction(async (tx) => {
      await expect(tx.insert(THINGS, 'a', thing('second', 2))).rejects.toMatchObject({ code: 'LW-CONFLICT' });
      await expect(tx.update(THINGS, 'a', 7, thing('third', 3))).rejects.toMatchObject({ code: 'LW-CONFLICT' });
      await tx.insert(THINGS, 'b', thing('beside', 4));
    });
    const all = await control.transaction((tx) => tx.list(THINGS, {}));
    expect(all.map(({ body }) => body.name)).toEqual(['first', 'beside']);
  });

  test('text is ordered and compared by its UTF-8 bytes, long ones to their last, null first', async () => {
    await using control = await open(new ManualClock());
    const long = 'x'.repeat(3000);
    const names = ['b', 'B', 'a', 'ä', 'Z', '\uff5e', '\u{1f600}', '', `${long}1`, `${long}0`, `${long}`];
    const utf8 = [...names].sort((one, other) => Buffer.compare(Buffer.from(one), Buffer.from(other)));
    await control.transaction(async (tx) => {
      for (const [index, name] of names.entries()) await tx.insert(THINGS, `n${index}`, thing('n', index, name));
      await tx.insert(THINGS, 'none', thing('n', 0, null));
    });
    const colours = async (selection: Selection) =>
      (await control.transaction((tx) => tx.list(THINGS, selection))).map(({ body }) => body.colour);
    const order = { field: 'colour', descending: false };
    expect(await colours({ order })).toEqual([null, ...utf8]);
    expect(await colours({ order: { ...order, descending: true } })).toEqual([...utf8.toReversed(), null]);
    for (const [index, name] of utf8.entries()) {
      expect(await colours({ order, where: [{ field: 'colour', is: '<', value: name }] })).toEqual(
        utf8.slice(0, index),
      );
      expect(await colours({ order, where: [{ field: 'colour', is: '>=', value: name }] })).toEqual(utf8.slice(index));
      expect(await colours({ where: [{ field: 'colour', is: 'in', value: [name, 'nobody'] }] })).toEqual([name]);
      const [at] = await control.transaction((tx) =>
        tx.list(THINGS, { where: [{ field: 'colour', is: '=', value: name }] }),
      );
      const after = { value: name, id: at?.id ?? '' };
      expect(await colours({ order, after })).toEqual(utf8.slice(index + 1));
    }
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

  test('what waits for the commit is told once, and never for a transaction that rolled back', async () => {
    await using control = await open(new ManualClock());
    const told: string[] = [];
    await control.transaction(async (tx) => {
      tx.afterCommit(() => told.push('one'));
      expect(told).toEqual([]);
    });
    const failed = control.transaction(async (tx) => {
      tx.afterCommit(() => told.push('never'));
      throw new Error('rolled back');
    });
    await expect(failed).rejects.toThrow('rolled back');
    expect(told).toEqual(['one']);
  });

  test('a transaction inside a transaction is a programmer error, not a deadlock', async () => {
    await using control = await open(new ManualClock());
    const nested = control.transaction(() => control.transaction(async () => 1));
    await expect(nested).rejects.toThrow('not opened inside another one');
    expect(await control.transaction(async () => 2)).toBe(2);
  });
}
