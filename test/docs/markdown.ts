import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import type { Command } from '../../src/cli/command.ts';

export const ROOT = join(import.meta.dirname, '..', '..');

/** A document with its path below the repository. */
export type Document = { readonly path: string; readonly text: string };

/** README, CONTRIBUTING, CHANGELOG and everything below docs/. */
export function documents(): Document[] {
  const below = readdirSync(join(ROOT, 'docs'), { recursive: true, encoding: 'utf8' });
  const paths = ['README.md', 'CONTRIBUTING.md', 'CHANGELOG.md', ...below.map((name) => join('docs', name))];
  return paths
    .filter((path) => path.endsWith('.md'))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(ROOT, path), 'utf8') }));
}

/** Targets of links and images that are no address, as paths below the repository, without the part after `#`. */
export function linkedPaths({ path, text }: Document): string[] {
  const prose = text.replace(/^```[\s\S]*?^```/gm, '');
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)]
    .map((match) => (match[1] ?? '').replace(/#.*$/, ''))
    .filter((target) => target !== '' && !/^[a-z]+:/.test(target))
    .map((target) => relative(ROOT, join(ROOT, dirname(path), target)));
}

/** Paths of this repository that stand in code quotes: those that begin with one of its folders. */
export function quotedPaths({ text }: Document): string[] {
  const folders = /^(?:src|test|docs|demo|dashboards|alerts|collectors|scripts|deploy|web|bin)\/[\w./-]*$/;
  return [...text.matchAll(/`([^`\s]+)`/g)].map((match) => match[1] ?? '').filter((quoted) => folders.test(quoted));
}

/** One command line of Leeway as a document shows it: the words after `leeway`. */
export type CommandLine = { readonly path: string; readonly words: readonly string[] };

/** Every `leeway …` in code blocks of shells and in code quotes. Generated pages and what is not in this version are left out. */
export function commandLines({ path, text }: Document): CommandLine[] {
  if (path.startsWith('docs/reference/')) return [];
  const known = text.replace(/^### Not in this version\n[\s\S]*/m, '');
  const blocks = [...known.matchAll(/^```(?:sh|console|yaml)\n([\s\S]*?)^```/gm)].flatMap((match) =>
    (match[1] ?? '').split('\n'),
  );
  const quotes = [...known.replace(/^```[\s\S]*?^```/gm, '').matchAll(/`([^`]+)`/g)].map((match) => match[1] ?? '');
  return [...blocks, ...quotes].flatMap((line) => {
    const shell = /(?:^|[\s/])leeway(?:\.js)? +([a-z][^|>&]*)/.exec(line.replace(/#.*$/, ''));
    const rest = shell?.[1];
    return rest === undefined || /^(up|logs|is|answers)\b/.test(rest)
      ? []
      : [{ path, words: rest.trim().split(/\s+/) }];
  });
}

/** Why a command line cannot work: an unknown command or option. Null = it can. */
export function commandProblem(words: readonly string[], commands: readonly Command[]): string | null {
  const [name = '', ...rest] = words;
  const command = commands.find((item) => item.name === name);
  if (command === undefined) return `no command ${name}`;
  const options = rest.filter((word) => word.startsWith('--')).map((word) => word.slice(2).replace(/=.*$/, ''));
  const unknown = options.find((option) => option !== 'help' && !Object.hasOwn(command.options, option));
  return unknown === undefined ? null : `leeway ${name} has no option --${unknown}`;
}

/** One file of the repository. */
export function documentAt(path: string): Document {
  return { path, text: readFileSync(join(ROOT, path), 'utf8') };
}

/** The texts of the code blocks of one language, in order. */
export function codeBlocks({ text }: Document, language: string): string[] {
  return [...text.matchAll(new RegExp(`^\`\`\`${language}\\n([\\s\\S]*?)^\`\`\``, 'gm'))].map(
    (match) => match[1] ?? '',
  );
}
