import { createHash } from 'node:crypto';
import { chmod, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { command, parseExpiry } from '../../src/cli/token.ts';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { openTokens } from '../../src/server/tokens.ts';
import { temporaryDirectory, tokenLine } from '../server/fixture.ts';
import { runIn } from './terminal.ts';

describe('leeway token create', () => {
  test('prints a token once that the service then takes, and keeps only its hash, for its owner alone', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'made', 'tokens.ndjson');
    const ran = await runIn(directory.path, command, [
      'create',
      '--scopes',
      'read,ingest',
      '--file',
      'made/tokens.ndjson',
    ]);
    expect(ran.exit).toBe(0);
    const [, id = '', secret = ''] = /^lw_([0-9a-f]+)_([0-9a-f]{64})\n$/.exec(ran.out) ?? [];
    const sha256 = createHash('sha256').update(secret).digest('hex');
    expect(JSON.parse(await readFile(path, 'utf8'))).toEqual({ id, sha256, scopes: ['ingest', 'read'] });
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const tokens = await openTokens(path, systemClock);
    expect(await tokens.authenticate(`Bearer ${ran.out.trim()}`)).toEqual({ id, scopes: ['ingest', 'read'] });
  });

  test('appends to what is there, even where the last line has no end, and narrows the mode', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'tokens');
    await writeFile(path, tokenLine('old', 'secret', ['admin']).trimEnd());
    await chmod(path, 0o644);
    const ran = await runIn(directory.path, command, [
      'create',
      '--scopes',
      'admin',
      '--expires',
      '90d',
      '--file',
      'tokens',
    ]);
    expect(ran.exit).toBe(0);
    const lines = (await readFile(path, 'utf8')).trimEnd().split('\n');
    expect(lines.map((line) => JSON.parse(line).scopes)).toEqual([['admin'], ['admin']]);
    expect(JSON.parse(lines[1] ?? '').expires_at_ms).toBeGreaterThan(systemClock.now_ms() + 89 * 86_400_000);
    expect((await stat(path)).mode & 0o777).toBe(0o600);
  });

  test('takes the file from the configuration', async () => {
    await using directory = await temporaryDirectory();
    await writeFile(join(directory.path, 'leeway.config.json'), '{"auth":{"tokens_file":"from-config"}}');
    expect((await runIn(directory.path, command, ['create', '--scopes', 'admin'])).exit).toBe(0);
    expect((await readFile(join(directory.path, 'from-config'), 'utf8')).length).toBeGreaterThan(0);
  });

  test('without any file says how to name one, and adds nothing to a damaged one', async () => {
    await using directory = await temporaryDirectory();
    const nowhere = await runIn(directory.path, command, ['create', '--scopes', 'admin']);
    expect([nowhere.exit, nowhere.error?.message]).toEqual([2, expect.stringContaining('--file')]);
    const path = join(directory.path, 'tokens');
    await writeFile(path, 'damaged\n');
    expect((await runIn(directory.path, command, ['create', '--scopes', 'admin', '--file', 'tokens'])).exit).toBe(2);
    expect(await readFile(path, 'utf8')).toBe('damaged\n');
  });

  test.each([
    [['create']],
    [['create', '--scopes', 'everything']],
    [['create', '--scopes', '']],
    [['destroy', '--scopes', 'read']],
    [['create', '--scopes', 'read', '--expires', 'yesterday']],
    [['create', '--scopes', 'read', '--expires', '2020-01-01']],
    [['create', '--scopes', 'read', '--expires', '0d']],
  ])('%j is wrong usage: exit 2', async (argv) => {
    await using directory = await temporaryDirectory();
    const ran = await runIn(directory.path, command, [...argv, '--file', 'tokens']);
    expect([ran.exit, ran.out]).toEqual([2, '']);
  });
});

test('an expiry is a duration from now or a date', () => {
  const clock = new ManualClock(0);
  expect(parseExpiry(undefined, clock)).toBeNull();
  expect(parseExpiry('12h', clock)).toBe(43_200_000);
  expect(parseExpiry('90d', clock)).toBe(7_776_000_000);
  expect(parseExpiry('4w', clock)).toBe(2_419_200_000);
  expect(parseExpiry('2027-01-31', clock)).toBe(1_801_353_600_000); // date -u -d 2027-01-31 +%s000
});
