import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { command } from '../../src/cli/config.ts';
import { temporaryDirectory } from '../server/fixture.ts';
import { runIn } from './terminal.ts';

test('leeway config prints each value with where it came from', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'leeway.config.json'), '{"server":{"port":9000}}');
  const ran = await runIn(directory.path, command, []);
  expect(ran.exit).toBe(0);
  expect(ran.out).toMatch(/^server\.port +9000 +file leeway\.config\.json$/m);
  expect(ran.out).toMatch(/^server\.host +"127\.0\.0\.1" +default$/m);
});

test('leeway config --format json is one document with a version', async () => {
  await using directory = await temporaryDirectory();
  const ran = await runIn(directory.path, command, ['--format', 'json']);
  const document = JSON.parse(ran.out);
  expect(document.version).toBe(1);
  expect(document.values).toContainEqual({ path: 'server.port', value: 8787, origin: 'default' });
});

test('leeway config masks secrets in what it prints', async () => {
  await using directory = await temporaryDirectory();
  const policy = {
    id: 'a',
    target: { kind: 'webhook', url: 'https://me:hunter2@example.com/?key=hunter3', secret_file: 's' },
  };
  await writeFile(
    join(directory.path, 'c.json'),
    JSON.stringify({ server: { public_url: 'https://me:hunter2@example.com' } }),
  );
  const ran = await runIn(directory.path, command, ['--config', 'c.json']);
  expect(ran.exit).toBe(0);
  expect(ran.out).toContain('https://***@example.com');
  expect(ran.out).not.toContain('hunter');
  expect(JSON.stringify(policy)).toContain('hunter2'); // the mask is what hides it
});

test('leeway config with an invalid file or format is exit 2', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'bad.json'), '{"server":{"port":-1},"x":1}');
  const bad = await runIn(directory.path, command, ['--config', 'bad.json']);
  expect([bad.exit, bad.error?.errors.map((error) => error.path).sort()]).toEqual([2, ['server.port', 'x']]);
  expect((await runIn(directory.path, command, ['--format', 'xml'])).exit).toBe(2);
});
