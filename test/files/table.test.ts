import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { gzipSync, zstdCompressSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { splitCsv } from '../../src/files/csv.ts';
import { readTable, type RejectedRecord, spooled } from '../../src/files/table.ts';

const GOLDEN = new URL('./golden/', import.meta.url).pathname;
let folder = '';
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), 'leeway-table-'));
});
afterAll(() => rm(folder, { recursive: true, force: true }));

type Read = { readonly records: Record<string, unknown>[]; readonly rejected: RejectedRecord[] };

async function read(path: string, stdin = ''): Promise<Read> {
  const rejected: RejectedRecord[] = [];
  const records: Record<string, unknown>[] = [];
  const place = { path, cwd: folder, stdin: Readable.from([Buffer.from(stdin)]) };
  for await (const { columns, rows } of readTable(place, (record) => rejected.push(record)))
    for (const row of rows) records.push(Object.fromEntries(columns.map((name, column) => [name, row[column]])));
  return { records, rejected };
}

async function readText(name: string, text: string | Buffer): Promise<Read> {
  await writeFile(join(folder, name), text);
  return read(name);
}

describe('splitCsv', () => {
  it('splits as RFC 4180 says', () => {
    expect(splitCsv('a,,c')).toEqual({ kind: 'fields', fields: ['a', '', 'c'] });
    expect(splitCsv('"Braund, Mr. Owen","say ""hi""",')).toEqual({
      kind: 'fields',
      fields: ['Braund, Mr. Owen', 'say "hi"', ''],
    });
    expect(splitCsv('5" pipe,2')).toEqual({ kind: 'fields', fields: ['5" pipe', '2'] });
    expect(splitCsv('"open,2').kind).toBe('open');
    expect(splitCsv('"closed"x,2').kind).toBe('bad');
  });

  it('reads back any fields that were quoted', () => {
    fc.assert(
      fc.property(fc.array(fc.string(), { minLength: 1 }), (fields) => {
        const text = fields.map((field) => `"${field.replaceAll('"', '""')}"`).join(',');
        expect(splitCsv(text)).toEqual({ kind: 'fields', fields });
      }),
    );
  });
});

describe('readTable on CSV', () => {
  it('reads quoted commas, line breaks inside quotes, Windows line ends, a byte order mark and no last line end', async () => {
    const { records, rejected } = await readText('a.csv', '\uFEFFname,n\r\n"x, y",1\r\n\r\n"two\nlines",2\r\nlast,3');
    expect(records).toEqual([
      { name: 'x, y', n: '1' },
      { name: 'two\nlines', n: '2' },
      { name: 'last', n: '3' },
    ]);
    expect(rejected).toEqual([]);
  });

  it('leaves out a row with too many or too few fields and names its line', async () => {
    const { records, rejected } = await readText('b.csv', 'a,b\n1,2\n3\n4,5,6\n7,8\n');
    expect(records.map((record) => record['a'])).toEqual(['1', '7']);
    expect(rejected.map(({ line, code }) => [line, code])).toEqual([
      [3, 'LW-RECORD-FIELD'],
      [4, 'LW-RECORD-FIELD'],
    ]);
  });

  it('loses only its own line to a quote that never closes', async () => {
    const { records, rejected } = await readText('c.csv', 'a,b\n1,2\n"open,3\n4,5\n6,7\n');
    expect(records.map((record) => record['a'])).toEqual(['1', '4', '6']);
    expect(rejected).toMatchObject([{ line: 3, reason: 'a quote opens and never closes' }]);
  });

  it('leaves out a line of more than 2 MiB without holding the rest up', async () => {
    const { records, rejected } = await readText('d.csv', `a,b\n1,2\n${'x'.repeat(5_000_000)},3\n4,5\n`);
    expect(records.map((record) => record['a'])).toEqual(['1', '4']);
    expect(rejected).toMatchObject([{ line: 3, code: 'LW-RECORD-SIZE' }]);
  });

  it('refuses an empty file, a column named twice, an unknown format and an absent file', async () => {
    await expect(readText('empty.csv', '')).rejects.toMatchObject({ code: 'LW-INPUT' });
    await expect(readText('twice.csv', 'a,a\n1,2\n')).rejects.toThrow('column "a" stands twice');
    await expect(read('x.txt')).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
    await expect(read('absent.csv')).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
    await expect(read('absent.parquet')).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
  });

  it('reads gzip and zstd by their extension', async () => {
    const text = 'a\n1\n2\n';
    const plain = await readText('p.csv', text);
    expect(await readText('p.csv.gz', gzipSync(text))).toEqual(plain);
    expect(await readText('p.csv.zst', zstdCompressSync(text))).toEqual(plain);
  });

  it('spreads a vector written as JSON over columns', async () => {
    const { records } = await readText('v.csv', 'id,v\n1,"[0.5,2]"\n2,"[1,3]"\n');
    expect(records).toEqual([
      { id: '1', 'v[0]': 0.5, 'v[1]': 2 },
      { id: '2', 'v[0]': 1, 'v[1]': 3 },
    ]);
  });
});

describe('readTable on NDJSON', () => {
  it('flattens objects, spreads vectors, keeps types and counts bad lines', async () => {
    const lines = ['{"a":1,"f":{"x":true,"y":"s"},"e":[1,2]}', '{oops', '', '[1]', '{"a":null,"new":3}'];
    const { records, rejected } = await read('-', lines.join('\n'));
    expect(records[0]).toMatchObject({ a: 1, 'f.x': true, 'f.y': 's', 'e[0]': 1, 'e[1]': 2 });
    expect(records[1]).toMatchObject({ a: null, new: 3 });
    expect(rejected.map(({ line, code }) => [line, code])).toEqual([
      [2, 'LW-RECORD-JSON'],
      [4, 'LW-RECORD-JSON'],
    ]);
  });

  it('can be spooled from standard input to be read twice, and leaves nothing behind', async () => {
    const stdin = Readable.from([Buffer.from('{"a":1}\n{"a":2}\n')]);
    const spool = await spooled({ path: '-', cwd: folder, stdin });
    for (const pass of [1, 2]) expect((await read(spool.place.path)).records, `pass ${pass}`).toHaveLength(2);
    await spool[Symbol.asyncDispose]();
    await expect(readFile(spool.place.path)).rejects.toMatchObject({ code: 'ENOENT' });
  });
});

describe('readTable on parquet', () => {
  // written by pyarrow: scripts/golden/parquet.py
  const expected = [
    { size: 1.5, count: 1, name: 'a', ok: true, at: '2026-01-01T00:00:00.000Z', 'vector[0]': 1, 'vector[1]': 2 },
    { size: null, count: 2, name: 'b', ok: false, at: '2026-01-02T00:00:00.000Z', 'vector[0]': 3, 'vector[1]': 4 },
    { size: -2, count: 3, name: null, ok: true, at: '2026-01-03T00:00:00.000Z', 'vector[0]': null, 'vector[1]': null },
    { size: 4, count: 4, name: 'd', ok: null, at: '2026-01-04T00:00:00.000Z', 'vector[0]': 5, 'vector[1]': 6 },
    { size: 5, count: 2 ** 40, name: 'é', ok: true, at: '2026-01-05T00:00:00.000Z', 'vector[0]': 7, 'vector[1]': 8 },
  ];

  it.each(['none', 'snappy', 'gzip', 'zstd'])('reads what pyarrow wrote with codec %s', async (codec) => {
    expect((await read(join(GOLDEN, `five-rows-${codec}.parquet`))).records).toEqual(expected);
  });

  it('reads a file that was compressed as a whole', async () => {
    const whole = gzipSync(await readFile(join(GOLDEN, 'five-rows-none.parquet')));
    expect((await readText('whole.parquet.gz', whole)).records).toEqual(expected);
  });

  it('says that a file is not parquet', async () => {
    await expect(readText('fake.parquet', 'a,b\n1,2\n')).rejects.toMatchObject({ code: 'LW-INPUT-FILE' });
  });
});
