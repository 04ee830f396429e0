import { readdirSync, readFileSync } from 'node:fs';
import { expect, it } from 'vitest';
import type { Command } from '../../src/cli/command.ts';

const WEB = new URL('../../web/', import.meta.url);

type Named = { readonly place: string; readonly words: readonly string[] };

/** Every command that the console names, in `<code>…</code>` or in quotes, without its leading "leeway". */
function commandsNamed(): Named[] {
  const files = readdirSync(WEB, { recursive: true, encoding: 'utf8' }).filter((name) => /\.(js|html)$/.test(name));
  return files.flatMap((file) =>
    [...readFileSync(new URL(file, WEB), 'utf8').matchAll(/(?:<code>|")leeway ([^<"]+)(?:<\/code>|")/g)].map(
      (match) => ({
        place: `${file}: leeway ${match[1]}`,
        words: (match[1] ?? '').trim().split(/\s+/),
      }),
    ),
  );
}

/** Why the words are no call of a command, or null: its name, its subject, its options and what they need. */
async function fault([name = '', ...rest]: readonly string[]): Promise<string | null> {
  const file = new URL(`../../src/cli/${name}.ts`, import.meta.url).href;
  const found = (await import(file).catch(() => null)) as { readonly command?: Command } | null; // a file of src/cli/, or none
  if (found?.command === undefined) return `no command ${name}`;
  if (rest.includes('--help')) return null;
  const { options, usage } = found.command;
  const subjects = usage.split(' ')[1] ?? '';
  const wanted = /^[a-z|]+$/.test(subjects) ? subjects.split('|') : null;
  const given = rest[0]?.startsWith('--') === false ? rest[0] : null;
  if (wanted !== null && !wanted.includes(given ?? '')) return `expected ${subjects}`;
  if (wanted === null && given !== null) return `no subject ${given}`;
  const set = rest.flatMap((word) => (word.startsWith('--') ? [word.slice(2)] : []));
  const unknown = set.find((option) => !Object.hasOwn(options, option));
  if (unknown !== undefined) return `no option --${unknown}`;
  const missing = Object.keys(options).find((option) => options[option]?.required === true && !set.includes(option));
  return missing === undefined ? null : `--${missing} is required`;
}

it('names only commands that exist, with the options that they have', async () => {
  const named = commandsNamed();
  expect(named.length).toBeGreaterThan(10); // 14 when this was written: the search finds what it looks for
  for (const { place, words } of named) expect(await fault(words), place).toBeNull();
});

it.each([
  ['demo --scenario drift', 'no option --scenario'],
  ['config check', 'no subject check'],
  ['check', 'expected config|rules|dashboards|audit'],
  ['token create', '--scopes is required'],
  ['simulate', 'no command simulate'],
])('would notice "leeway %s"', async (text, expected) => {
  expect(await fault(text.split(' '))).toBe(expected);
});
