import { readdirSync, readFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';

/** One breach of a house rule: where, and what to do instead. */
export type Breach = { readonly path: string; readonly line: number; readonly rule: string };

/** A source file as the rules see it. */
export type Source = { readonly path: string; readonly text: string };

const ROOT = resolve(import.meta.dirname, '..');
const ROOMS = ['src', 'collectors', 'alerts', 'dashboards', 'demo', 'bin', 'scripts', 'web'];

/** Which rooms each room may import from. A room is a folder of src/ or a top-level folder. */
export const MAY_IMPORT: Readonly<Record<string, readonly string[]>> = {
  core: [],
  math: ['core'],
  drift: ['math', 'core'],
  quality: ['math', 'core'],
  straggler: ['math', 'core'],
  cost: ['math', 'core'],
  incident: ['core'],
  retrain: ['core', 'formats'],
  formats: ['core'],
  files: ['core', 'formats'],
  transport: ['core', 'formats'],
  store: ['core', 'formats'],
  control: ['core'],
  telemetry: ['core'],
  read: [
    'core',
    'math',
    'server',
    'formats',
    'drift',
    'quality',
    'straggler',
    'cost',
    'incident',
    'retrain',
    'control',
    'pipeline',
  ],
  pipeline: ['core', 'formats', 'drift', 'quality', 'straggler', 'cost', 'incident', 'retrain', 'read', 'control'],
  server: ['core', 'formats', 'drift', 'quality', 'straggler', 'cost', 'incident', 'retrain', 'config', 'telemetry'],
  config: ['core', 'files', 'discover'],
  discover: ['core'],
  collectors: ['core', 'formats'],
  alerts: ['core', 'formats'],
  dashboards: ['core', 'store'],
  demo: ['core', 'collectors', 'transport', 'straggler'],
  cli: ['*'],
  compose: ['*'],
  main: ['*'],
};

/** Rooms that are pure: no node:*, no package, no clock. */
const PURE = new Set(['math', 'drift', 'quality', 'straggler', 'cost', 'incident', 'retrain', 'formats']);
/** Packages that a pure room may import after all: schemas are data. */
const PURE_PACKAGES = new Set(['typebox']);

/** The one file of each external package. Schemas (typebox) are vocabulary and allowed anywhere but in math. */
const SHARED_PACKAGES = new Set(['typebox', 'typebox/compile', 'typebox/value']);

/** Who may touch a global effect. */
const EFFECTS: readonly { readonly pattern: RegExp; readonly homes: readonly RegExp[]; readonly name: string }[] = [
  {
    pattern: /\bDate\.now\(/,
    homes: [/^src\/core\/clock\.ts$/, /^demo\//, /^web\//],
    name: 'Date.now outside core/clock.ts',
  },
  { pattern: /\bMath\.random\(/, homes: [/^src\/core\/random\.ts$/], name: 'Math.random outside core/random.ts' },
  {
    pattern: /\b(setTimeout|setInterval)\(/,
    homes: [/^src\/core\/clock\.ts$/, /^demo\//, /^web\//],
    name: 'timer outside core/clock.ts',
  },
  {
    pattern: /\bprocess\.env\b/,
    homes: [/^src\/config(\.ts|\/)/, /^src\/main\.ts$/, /^demo\//, /^scripts\//, /-child\.ts$/],
    name: 'process.env outside config.ts',
  },
  {
    pattern: /\bconsole\.(log|error|warn|info)\(/,
    homes: [/^demo\//, /^scripts\//, /^dashboards\//],
    name: 'console outside scripts',
  },
];

const FORBIDDEN_NAMES = /(^|[-/])(utils?|helpers?|common|misc|(manager|service)(?=\.(ts|js)$))(-|\.|\/|$)/;
const FORBIDDEN_SYNTAX: readonly { readonly pattern: RegExp; readonly name: string }[] = [
  { pattern: /(: any\b|\bas any\b|<any>)/, name: 'any' },
  { pattern: /@ts-(ignore|nocheck|expect-error)/, name: 'type check switched off' },
  { pattern: /^\s*(export\s+)?(const\s+)?enum\s/, name: 'enum' },
  { pattern: /^\s*(export\s+)?namespace\s/, name: 'namespace' },
  { pattern: /catch\s*(\(\w+\))?\s*\{\s*\}/, name: 'empty catch' },
  { pattern: /\b(it|test|describe)\.only\(/, name: 'a focused test' },
  { pattern: /^export \* from/, name: 'barrel' },
];

const LINES_MAX = 400;

/** All source files of the house. */
export function sources(): Source[] {
  return ROOMS.flatMap((room) => walk(join(ROOT, room))).map((path) => ({
    path: relative(ROOT, path),
    text: readFileSync(path, 'utf8'),
  }));
}

function walk(folder: string): string[] {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = join(folder, entry.name);
    if (entry.isDirectory()) return walk(path);
    return /\.(ts|js)$/.test(entry.name) && !entry.name.endsWith('.d.ts') ? [path] : [];
  });
}

/** The room of a file: `src/drift/x.ts` → drift, `src/main.ts` → main, `collectors/x.ts` → collectors. */
export function roomOf(path: string): string {
  const [first = '', second = ''] = path.split('/');
  return first === 'src' ? second.replace(/\.ts$/, '') : first;
}

/** Every breach of the house rules in `files`. */
export function breaches(files: readonly Source[]): Breach[] {
  return [...files.flatMap(breachesOf), ...packageDoors(files)];
}

function breachesOf(file: Source): Breach[] {
  const found: Breach[] = [];
  const lines = file.text.split('\n');
  if (lines.length > LINES_MAX + 1)
    found.push({ path: file.path, line: LINES_MAX, rule: `more than ${LINES_MAX} lines` });
  if (FORBIDDEN_NAMES.test(file.path)) found.push({ path: file.path, line: 1, rule: 'a name that says nothing' });
  if (/[A-Z_]/.test(file.path.split('/').at(-1) ?? ''))
    found.push({ path: file.path, line: 1, rule: 'file name is not kebab-case' });
  lines.forEach((text, index) => {
    const code = text
      .replace(/\/\/.*$/, '')
      .replace(/\/\*.*$/, '')
      .replace(/^\s*\*.*$/, '');
    const at = (rule: string) => found.push({ path: file.path, line: index + 1, rule });
    const bare = code.replace(/'(?:[^'\\\n]|\\.)*'|`[^`]*`/g, "''"); // what strings say is no syntax
    for (const { pattern, name } of FORBIDDEN_SYNTAX) if (pattern.test(name === 'barrel' ? text : bare)) at(name);
    for (const effect of EFFECTS)
      if (effect.pattern.test(code) && !effect.homes.some((home) => home.test(file.path))) at(effect.name);
  });
  if (file.path.endsWith('.ts')) found.push(...importBreaches(file));
  return found;
}

type Import = { readonly specifier: string; readonly line: number };

function importsOf(file: Source): Import[] {
  const found: Import[] = [];
  const pattern =
    /(?:^|\n)\s*(?:import|export)\s[^;'"]*?from\s+'([^']+)'|\bimport\(\s*'([^']+)'\s*\)|(?:^|\n)\s*import\s+'([^']+)'/g;
  for (const match of file.text.matchAll(pattern)) {
    const specifier = match[1] ?? match[2] ?? match[3];
    if (specifier !== undefined) found.push({ specifier, line: file.text.slice(0, match.index).split('\n').length });
  }
  return found;
}

function importBreaches(file: Source): Breach[] {
  const room = roomOf(file.path);
  const allowed = MAY_IMPORT[room] ?? ['*'];
  return importsOf(file).flatMap(({ specifier, line }): Breach[] => {
    if (!specifier.startsWith('.')) {
      if (PURE.has(room) && !PURE_PACKAGES.has(specifier))
        return [{ path: file.path, line, rule: `pure room ${room} imports ${specifier}` }];
      return [];
    }
    const target = roomOf(relative(ROOT, resolve(ROOT, dirname(file.path), specifier)));
    if (target === room || allowed.includes('*') || allowed.includes(target)) return [];
    return [{ path: file.path, line, rule: `${room} must not import ${target}` }];
  });
}

function packageDoors(files: readonly Source[]): Breach[] {
  const doors = new Map<string, Breach[]>();
  for (const file of files) {
    if (!file.path.endsWith('.ts')) continue;
    for (const { specifier, line } of importsOf(file)) {
      if (specifier.startsWith('.') || specifier.startsWith('node:') || SHARED_PACKAGES.has(specifier)) continue;
      const name = specifier
        .split('/')
        .slice(0, specifier.startsWith('@') ? 2 : 1)
        .join('/');
      const known = doors.get(name) ?? [];
      if (!known.some((breach) => breach.path === file.path))
        known.push({ path: file.path, line, rule: `second door to ${name}` });
      doors.set(name, known);
    }
  }
  return [...doors.values()].flatMap((uses) => uses.slice(1));
}
