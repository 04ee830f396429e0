import { createHash } from 'node:crypto';
import Type from 'typebox';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { collection } from '../../src/control/collections.ts';
import { openPostgresControl } from '../../src/control/postgres.ts';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import type { Control, Selection } from '../../src/core/ports.ts';
import { integerBelow, type Random, seededRandom, systemRandom } from '../../src/core/random.ts';
import { acknowledgedContract } from '../contract/acknowledged.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';

const COUNTERS = collection('counters', Type.Object({ name: Type.String(), count: Type.Number() }), {
  name: 'text',
  count: 'integer',
});

describe.skipIf(POSTGRES_MISSING !== null)(`documents in PostgreSQL ${POSTGRES_MISSING ?? ''}`, () => {
  let server: PostgresServer;
  let schemas = 0;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  const open = (): Promise<Control> =>
    openPostgresControl({
      url: server.url,
      schema: `documents_${++schemas}`,
      clock: systemClock,
      random: systemRandom,
    });

  describe('the log of the acknowledged', () => acknowledgedContract(open));

  test('documents, filters and orders are those of the sqlite driver, whatever the strings hold', {
    timeout: 60_000,
  }, async () => {
    const seed = integerBelow(systemRandom, 2 ** 31);
    const random = seededRandom(seed);
    const things = collection(
      'things',
      Type.Object({
        text: Type.Optional(Type.Union([Type.String(), Type.Null()])),
        number: Type.Number(),
        any: Type.Unknown(),
      }),
      { text: 'text', number: 'integer' },
    );
    const bodies = Array.from({ length: 150 }, () => ({
      ...(random.next() < 0.1 ? {} : { text: random.next() < 0.1 ? null : anyText(random) }),
      number: anyNumber(random),
      any: anyValue(random, 3),
    }));
    await using sqlite = await openSqliteControl({ data_dir: ':memory:', clock: new ManualClock() });
    await using postgres = await open();
    const ask = async <Result>(work: (control: Control) => Promise<Result>): Promise<Result> => {
      const [expected, got] = await Promise.all([work(sqlite), work(postgres)]);
      expect(got, `seed ${seed}`).toEqual(expected);
      return got;
    };
    await ask((control) =>
      control.transaction(async (tx) => {
        for (const [index, body] of bodies.entries()) await tx.insert(things, `id${index}`, body);
      }),
    );
    const list = (selection: Selection) => ask((control) => control.transaction((tx) => tx.list(things, selection)));
    const written = new Map(bodies.map((body, index) => [`id${index}`, JSON.stringify(body)]));
    for (const { id, body } of await list({})) expect(JSON.stringify(body), `seed ${seed}`).toBe(written.get(id));
    for (const field of ['text', 'number', 'id'])
      for (const descending of [false, true]) await list({ order: { field, descending } });
    for (let query = 0; query < 60; query++) {
      const { text, number } = bodies[integerBelow(random, bodies.length)] ?? { number: 0 };
      const is = (['=', '!=', '<', '<=', '>', '>='] as const)[integerBelow(random, 6)] ?? '=';
      const order = { field: random.next() < 0.5 ? 'text' : 'number', descending: random.next() < 0.5 };
      await list({ where: [{ field: 'number', is, value: number }], order, limit: 1 + integerBelow(random, 20) });
      await list({ order: { ...order, field: 'number' }, after: { value: number, id: 'id5' } });
      if (typeof text !== 'string') continue;
      await list({ where: [{ field: 'text', is, value: text }], order });
      await list({ where: [{ field: 'text', is: 'in', value: [text, 'x'] }] });
      await list({ order: { ...order, field: 'text' }, after: { value: text, id: 'id5' }, limit: 20 });
    }
  });

  test('strings that sqlite cannot compare are stored, found and paged all the same', async () => {
    await using control = await open();
    const names = ['\0', 'a\0', 'a\0b', '\u0001', '\ud800', 'x\udc00', 'a'];
    await control.transaction(async (tx) => {
      for (const [count, name] of names.entries()) await tx.insert(COUNTERS, name, { name, count });
    });
    for (const [count, name] of names.entries()) {
      expect(await control.transaction((tx) => tx.get(COUNTERS, name))).toMatchObject({
        id: name,
        body: { name, count },
      });
      const found = await control.transaction((tx) =>
        tx.list(COUNTERS, { where: [{ field: 'name', is: '=', value: name }] }),
      );
      expect(found.map(({ body }) => body.count)).toEqual([count]);
    }
    const seen: string[] = [];
    for (let page = await pageAfter(control, null); page !== undefined; page = await pageAfter(control, page))
      seen.push(page);
    expect(seen.sort()).toEqual([...names].sort());
  });

  test('an id too long for an index is refused with a reason, and the store goes on', async () => {
    await using control = await open();
    const id = randomText(seededRandom(1), 5000);
    const inserting = control.transaction((tx) => tx.insert(COUNTERS, id, { name: 'x', count: 1 }));
    await expect(inserting).rejects.toMatchObject({ code: 'LW-CONTROL', message: expect.stringContaining('54000') });
    await control.transaction((tx) => tx.insert(COUNTERS, 'short', { name: id, count: 1 }));
    const found = await control.transaction((tx) =>
      tx.list(COUNTERS, { where: [{ field: 'name', is: '=', value: id }] }),
    );
    expect(found.map((document) => document.id)).toEqual(['short']);
  });
});

async function pageAfter(control: Control, name: string | null): Promise<string | undefined> {
  const after = name === null ? {} : { after: { value: name, id: name } };
  const order = { field: 'name', descending: false };
  const [next] = await control.transaction((tx) => tx.list(COUNTERS, { order, limit: 1, ...after }));
  return next?.id;
}

const LETTERS = [
  'a',
  'b',
  'A',
  'Z',
  '~',
  'ä',
  'ß',
  '\u2028',
  '\u{1f600}',
  '\uff5e',
  '"',
  '\\',
  '\\u0000',
  '\n',
  '\u0002',
];

/** No NUL, U+0001 or half a pair: sqlite keeps those in documents, but does not compare them. */
function anyText(random: Random): string {
  const short = Array.from(
    { length: integerBelow(random, 4) },
    () => LETTERS[integerBelow(random, LETTERS.length)],
  ).join('');
  return random.next() < 0.1 ? randomText(seededRandom(7), 126) + short : short;
}

/** Text that no compression makes fit an index entry, the same for the same generator and length but for its end. */
function randomText(random: Random, length: number): string {
  let text = '';
  while (text.length < length) text += createHash('sha512').update(String(random.next())).digest('base64');
  return text.slice(0, length);
}

function anyNumber(random: Random): number {
  const size = integerBelow(random, 5);
  if (size === 0) return integerBelow(random, 10) - 5;
  if (size === 1) return Number.MAX_SAFE_INTEGER - integerBelow(random, 3);
  if (size === 2) return random.next();
  return (random.next() - 0.5) * 10 ** (integerBelow(random, 600) - 300);
}

function anyValue(random: Random, depth: number): unknown {
  const kind = integerBelow(random, depth === 0 ? 4 : 6);
  const many = () => Array.from({ length: integerBelow(random, 4) });
  if (kind === 0) return anyNumber(random);
  if (kind === 1) return random.next() < 0.5 ? null : true;
  if (kind < 4) return String.fromCharCode(...many().map(() => integerBelow(random, 3) * 0xd800)) + anyText(random);
  if (kind === 4) return many().map(() => anyValue(random, depth - 1));
  return Object.fromEntries(many().map(() => [anyText(random), anyValue(random, depth - 1)]));
}
