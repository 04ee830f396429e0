// Runs a benchmark by name. Run: npm run bench NAME -- [its options]; without a name it says which there are.
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';

const directory = import.meta.dirname;

/** The first sentence of a file's comment, whose last one says its options. Null for what is no benchmark. */
function described(file: string): string | null {
  const lines = readFileSync(path.join(directory, file), 'utf8').split('\n');
  const end = lines.findIndex((line) => !line.startsWith('// '));
  const [sentence = ''] = lines
    .slice(0, end)
    .join(' ')
    .replaceAll('// ', '')
    .split(/[.:;] /);
  return end === 0 ? null : sentence;
}

const benchmarks = new Map(
  readdirSync(directory)
    .filter((file) => file.endsWith('.ts') && file !== path.basename(import.meta.filename))
    .map((file) => [path.basename(file, '.ts'), described(file)] as const),
);
const [name = ''] = process.argv.splice(2, 1);
if (benchmarks.get(name)) await import(`./${name}.ts`);
else {
  const list = [...benchmarks].flatMap(([one, text]) => (text === null ? [] : [`  ${one.padEnd(18)}${text}`]));
  const head = name === '' ? '' : `There is no benchmark "${name}". `;
  process.stdout.write(`${head}npm run bench NAME -- [options, see test/bench/NAME.ts]\n\n${list.join('\n')}\n`);
  process.exitCode = name === '' ? 0 : 2;
}
