import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { commands } from '../../scripts/reference-pages.ts';
import { commandLines, commandProblem, documents, linkedPaths, quotedPaths, ROOT } from './markdown.ts';

const all = documents();
const known = await commands();
/** Made by the browser tests, which need a browser; a checkout without them has the text beside the picture. */
const MADE_LATER = /^docs\/screenshots\//;

function missing(paths: readonly string[]): string[] {
  return paths.filter((path) => !MADE_LATER.test(path) && !existsSync(join(ROOT, path)));
}

describe('documents', () => {
  test.each(all)('$path links only to what is there', (document) => {
    expect(missing(linkedPaths(document))).toEqual([]);
  });

  test.each(all)('$path names only paths that are there', (document) => {
    expect(missing(quotedPaths(document))).toEqual([]);
  });

  test('every page below docs/ is linked from another', () => {
    const linked = new Set(all.flatMap(linkedPaths));
    expect(all.map(({ path }) => path).filter((path) => path.startsWith('docs/') && !linked.has(path))).toEqual([
      // nothing: the README links the index
    ]);
  });

  test('a decision has at most 35 lines and the parts of a decision', () => {
    const decisions = all.filter(({ path }) => path.startsWith('docs/adr/'));
    expect(decisions.length).toBeGreaterThanOrEqual(8);
    for (const { path, text } of decisions) {
      expect([path, text.split('\n').length <= 36]).toEqual([path, true]);
      for (const part of ['## Context', '## Decision', '## Consequences', '## Alternatives'])
        expect([path, part, text.includes(part)]).toEqual([path, part, true]);
    }
  });

  test('every command line that a document shows has a command and options of ours', () => {
    const lines = all.flatMap(commandLines);
    expect(lines.length).toBeGreaterThan(20);
    const problems = lines.flatMap(({ path, words }) => {
      const problem = commandProblem(words, known);
      return problem === null ? [] : [`${path}: ${problem} (leeway ${words.join(' ')})`];
    });
    expect(problems).toEqual([]);
  });

  test('every npm script that a document shows is there', () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(
      readFileSync(join(ROOT, 'package.json'), 'utf8'),
    );
    const named = all.flatMap(({ path, text }) =>
      [...text.matchAll(/npm run ([\w:-]+)/g)].map((match) => ({ path, script: match[1] ?? '' })),
    );
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter(({ script }) => !Object.hasOwn(scripts, script))).toEqual([]);
  });
});

describe('the checks catch what they are for', () => {
  const of = (text: string) => ({ path: 'docs/how-to/x.md', text });

  test('a link beside, above and with a heading, but no address and no code', () => {
    const text = 'a [b](y.md) [c](../index.md#top) [d](https://e.example/f) [g](#h)\n```js\n[i](j.md)\n```\n';
    expect(linkedPaths(of(text))).toEqual(['docs/how-to/y.md', 'docs/index.md']);
    expect(missing(linkedPaths(of(text)))).toEqual(['docs/how-to/y.md']);
  });

  test('a path in quotes', () => {
    expect(quotedPaths(of('`src/nowhere.ts` `leeway serve` `alerts/rules/<x>.json`'))).toEqual(['src/nowhere.ts']);
  });

  test.each([
    ['leeway serv', 'no command serv'],
    ['./bin/leeway.js drift --refrence a.csv', 'leeway drift has no option --refrence'],
    ['leeway cost --input a --help', null],
  ])('%s: %s', (line, problem) => {
    const found = commandLines(of(`\`\`\`sh\n${line}\n\`\`\`\n`));
    expect(found).toHaveLength(1);
    expect(commandProblem(found[0]?.words ?? [], known)).toBe(problem);
    expect(commandLines(of(`say \`${line}\` here`))).toEqual(found);
  });
});
