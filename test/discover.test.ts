import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { discover } from '../src/discover.ts';
import { temporaryDirectory } from './server/fixture.ts';

const COLLECTOR = (name: string) =>
  `export const ${name.replaceAll('-', '_')} = { name: '${name}', about: 'x', config: { type: 'object', properties: {} }, open: async () => {} };\n`;

async function folder(files: Readonly<Record<string, string>>): Promise<{ path: string } & AsyncDisposable> {
  const directory = await temporaryDirectory();
  await symlink(join(import.meta.dirname, '..', 'node_modules'), join(directory.path, 'node_modules'));
  await writeFile(join(directory.path, 'package.json'), '{"type":"module"}');
  await mkdir(join(directory.path, 'collectors'));
  for (const [name, text] of Object.entries(files)) await writeFile(join(directory.path, 'collectors', name), text);
  return directory;
}

test('every file of the folder is an extension, in the order of names, and folders may be missing', async () => {
  await using directory = await folder({
    'two-words.ts': COLLECTOR('two-words'),
    'one.ts': COLLECTOR('one'),
    'readme.md': '',
  });
  const found = await discover(directory.path);
  expect(found.collectors.map((item) => item.name)).toEqual(['one', 'two-words']);
  expect([found.sinks, found.targets]).toEqual([[], []]);
});

test('a definition of another name than its file is refused', async () => {
  await using directory = await folder({ 'one.ts': COLLECTOR('two') });
  await expect(discover(directory.path)).rejects.toThrow('is named "two", expected "one"');
});

test('a file without a definition is refused, and named', async () => {
  await using directory = await folder({ 'empty.ts': 'export const nothing = 1;\n' });
  await expect(discover(directory.path)).rejects.toMatchObject({
    code: 'LW-CONFIG',
    message: expect.stringContaining('empty.ts'),
  });
});

test('the extensions of this installation are sound', async () => {
  const found = await discover();
  for (const item of [...found.collectors, ...found.sinks, ...found.targets]) expect(item.config).toBeTypeOf('object');
  expect(found.sinks.map((item) => item.name)).toContain('webhook');
});
