import { describe, expect, test } from 'vitest';
import { breaches, type Source, sources } from './tidy.ts';

const found = (path: string, text: string): string[] => breaches([{ path, text }]).map((breach) => breach.rule);

describe('the house', () => {
  test('keeps its own rules', () => {
    expect(breaches(sources()).map(({ path, line, rule }) => `${path}:${line} ${rule}`)).toEqual([]);
  });
});

describe('the house rules catch what they are for', () => {
  test.each<[string, string, string]>([
    ['src/drift/a.ts', "import { x } from '../store/embedded.ts';", 'drift must not import store'],
    ['src/core/a.ts', "import { x } from '../math/mean.ts';", 'core must not import math'],
    ['src/math/a.ts', "import { x } from '../drift/x.ts';", 'math must not import drift'],
    ['collectors/a.ts', "import { x } from '../src/store/embedded.ts';", 'collectors must not import store'],
    ['src/server/a.ts', "import { x } from '../store/embedded.ts';", 'server must not import store'],
    ['src/cost/a.ts', "import { readFileSync } from 'node:fs';", 'pure room cost imports node:fs'],
    ['src/straggler/a.ts', "const x = await import('undici');", 'pure room straggler imports undici'],
    ['src/drift/a.ts', 'const t = Date.now();', 'Date.now outside core/clock.ts'],
    ['src/pipeline/a.ts', 'setTimeout(() => {}, 5);', 'timer outside core/clock.ts'],
    ['src/server/a.ts', 'const h = process.env.HOME;', 'process.env outside config.ts'],
    ['src/server/a.ts', "console.log('x');", 'console outside scripts'],
    ['src/store/a.ts', 'Math.random();', 'Math.random outside core/random.ts'],
    ['src/core/string-utils.ts', '', 'a name that says nothing'],
    ['src/core/stringThing.ts', '', 'file name is not kebab-case'],
    ['src/core/a.ts', 'const x: any = 1;', 'any'],
    ['src/core/a.ts', 'enum Color { Red }', 'enum'],
    ['src/core/a.ts', 'try { f(); } catch (e) {}', 'empty catch'],
    ['src/core/a.ts', "export * from './b.ts';", 'barrel'],
    ['src/core/a.ts', `${'\n'.repeat(402)}`, 'more than 400 lines'],
  ])('%s with %j: %s', (path, text, rule) => {
    expect(found(path, text)).toContain(rule);
  });

  test('a package may be imported in one file only', () => {
    const door: Source = { path: 'src/store/a.ts', text: "import pg from 'pg';" };
    const second: Source = { path: 'src/control/b.ts', text: "import { Pool } from 'pg';" };
    expect(breaches([door])).toEqual([]);
    expect(breaches([door, second]).map((breach) => `${breach.path} ${breach.rule}`)).toEqual([
      'src/control/b.ts second door to pg',
    ]);
  });

  test('a time in a comment is no breach', () => {
    expect(found('src/drift/a.ts', '// never Date.now() here\n/**\n * Date.now() is not used.\n */')).toEqual([]);
  });
});
