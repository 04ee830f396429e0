import { existsSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { command } from '../../src/cli/serve.ts';
import { temporaryDirectory, tokenLine } from '../server/fixture.ts';
import { runIn } from './terminal.ts';

test('leeway serve refuses a public address without a token, exit 2, with nothing started', async () => {
  await using directory = await temporaryDirectory();
  const ran = await runIn(directory.path, command, ['--host', '0.0.0.0', '--port', '0']);
  expect([ran.exit, ran.error?.code]).toEqual([2, 'LW-PUBLIC-ADDRESS']);
  expect(existsSync(join(directory.path, 'leeway-data'))).toBe(false);
});

test('leeway serve refuses a public address when the only token is over', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'leeway.config.json'), '{"auth":{"tokens_file":"tokens"}}');
  await writeFile(join(directory.path, 'tokens'), tokenLine('old', 'secret', ['admin'], 1));
  const ran = await runIn(directory.path, command, ['--host', '::', '--port', '0']);
  expect([ran.exit, ran.error?.code]).toEqual([2, 'LW-PUBLIC-ADDRESS']);
});

test.each([
  [['--port', '70000'], 'server.port'],
  [['--port', 'http'], 'server.port'],
  [['--role', 'captain'], '--role'],
])('leeway serve %j is refused, exit 2, before anything starts', async (argv, path) => {
  await using directory = await temporaryDirectory();
  const ran = await runIn(directory.path, command, argv);
  expect([ran.exit, ran.error?.errors.map((error) => error.path)]).toEqual([2, [path]]);
  expect(existsSync(join(directory.path, 'leeway-data'))).toBe(false);
});

test('leeway serve with a tokens file that is not there does not fall back to no authentication', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'leeway.config.json'), '{"auth":{"tokens_file":"tokens"}}');
  const ran = await runIn(directory.path, command, ['--port', '0']);
  expect([ran.exit, ran.error?.code]).toEqual([2, 'LW-CONFIG']);
});

test('a secret that cannot be read is told at the start, not first when an incident is to be told', async () => {
  await using directory = await temporaryDirectory();
  await writeFile(join(directory.path, 'taken'), ''); // the start ends here: no directory
  const sink = { id: 'ops', kind: 'webhook', url: 'https://ops.example/hook', secret_file: 'absent' };
  await writeFile(join(directory.path, 'leeway.config.json'), JSON.stringify({ data_dir: 'taken', sinks: [sink] }));
  const ran = await runIn(directory.path, command, ['--port', '0']);
  expect(ran.err).toContain('warning[LW-CONFIG]: sinks[0].secret_file: secret file absent: cannot be read (ENOENT)');
});

test.skipIf(!existsSync('/proc/self'))(
  'leeway serve refuses a data directory that cannot be made, at once',
  async () => {
    await using directory = await temporaryDirectory();
    const ran = await runIn(directory.path, command, ['--port', '0', '--data-dir', '/proc/leeway-data']);
    expect([ran.exit, ran.error?.code]).toEqual([1, 'LW-DATA-DIR']);
    expect(ran.error?.message).toContain('/proc/leeway-data is not usable (ENOENT)');
  },
);
