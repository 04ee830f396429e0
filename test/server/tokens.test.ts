import { appendFile, rm, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { allows, openTokens, parseTokens } from '../../src/server/tokens.ts';
import { temporaryDirectory, tokenLine } from './fixture.ts';
import { NOW_MS } from './memory.ts';

describe('a tokens file', () => {
  test('is refused with every wrong line, and none of its values', () => {
    const text = [
      tokenLine('good', 'x', ['read']).trim(),
      '',
      'not json',
      '{"id":"a b","sha256":"XYZ","scopes":[]}',
      tokenLine('good', 'y', ['read']).trim(),
      '{"id":"c","sha256":"0000000000000000000000000000000000000000000000000000000000000000","scopes":["root"],"secret":"hunter2"}',
    ].join('\n');
    try {
      parseTokens(text, 'tokens');
      expect.unreachable();
    } catch (error) {
      const errors = Reflect.get(Object(error), 'errors') as { path: string }[];
      expect(errors.map((item) => item.path)).toEqual([
        'tokens:3',
        'tokens:4.id',
        'tokens:4.sha256',
        'tokens:4.scopes',
        'tokens:5.id',
        'tokens:6.secret',
        'tokens:6.scopes[0]',
      ]);
      expect(JSON.stringify(error)).not.toContain('hunter2');
    }
  });

  test('that is missing says how to make it', async () => {
    await expect(openTokens('/nowhere/tokens', new ManualClock())).rejects.toMatchObject({
      code: 'LW-CONFIG',
      message: expect.stringContaining('leeway token create'),
    });
  });
});

describe('a token', () => {
  test('is found whether its id or its secret holds underscores', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'tokens');
    await writeFile(path, tokenLine('ci_read', 's3_cr_et', ['read']));
    const tokens = await openTokens(path, new ManualClock(NOW_MS));
    expect(await tokens.authenticate('Bearer lw_ci_read_s3_cr_et')).toEqual({ id: 'ci_read', scopes: ['read'] });
    expect(await tokens.authenticate('Bearer lw_ci_read_s3_cr')).toBeNull();
    expect(await tokens.authenticate('Bearer lw_ci_read')).toBeNull();
  });

  test('ends at its time and not before', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'tokens');
    await writeFile(path, tokenLine('a', 'secret', ['read'], NOW_MS + 100));
    const clock = new ManualClock(NOW_MS);
    const tokens = await openTokens(path, clock);
    await clock.advance(99);
    expect([tokens.valid(), await tokens.authenticate('Bearer lw_a_secret')]).toEqual([
      1,
      { id: 'a', scopes: ['read'] },
    ]);
    await clock.advance(1);
    expect([tokens.valid(), await tokens.authenticate('Bearer lw_a_secret')]).toEqual([0, null]);
  });

  test('added to or taken from the file counts within a second, without a restart', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'tokens');
    await writeFile(path, tokenLine('a', 'secret', ['read']));
    const clock = new ManualClock(NOW_MS);
    const tokens = await openTokens(path, clock);
    await appendFile(path, tokenLine('b', 'secret', ['admin']));
    await clock.advance(1000);
    expect(await tokens.authenticate('Bearer lw_b_secret')).toEqual({ id: 'b', scopes: ['admin'] });
    await writeFile(path, tokenLine('b', 'secret', ['admin']));
    await clock.advance(1000);
    expect(await tokens.authenticate('Bearer lw_a_secret')).toBeNull();
  });

  test('stays known while the file is damaged or being replaced', async () => {
    await using directory = await temporaryDirectory();
    const path = join(directory.path, 'tokens');
    await writeFile(path, tokenLine('a', 'secret', ['read']));
    const clock = new ManualClock(NOW_MS);
    const tokens = await openTokens(path, clock);
    await writeFile(path, 'half a li');
    await utimes(path, 1, 1);
    await clock.advance(1000);
    expect(await tokens.authenticate('Bearer lw_a_secret')).not.toBeNull();
    await rm(path);
    await clock.advance(1000);
    expect(await tokens.authenticate('Bearer lw_a_secret')).not.toBeNull();
  });
});

test('a scope opens its own routes only, admin all', () => {
  expect(allows({ id: 'a', scopes: ['operate'] }, 'operate')).toBe(true);
  expect(allows({ id: 'a', scopes: ['operate', 'approve'] }, 'read')).toBe(false);
  expect(allows({ id: 'a', scopes: ['admin'] }, 'ingest')).toBe(true);
});
