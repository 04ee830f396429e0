import Type, { type Static } from 'typebox';
import { compiled, type SchemaProblem } from '../core/compiled.ts';
import type { ErrorDetail } from '../core/errors.ts';
import { SeveritySchema } from '../core/incident.ts';

/** A bound that a finding's value is held against: strictly above, or strictly below. */
export type Threshold = { readonly above: number } | { readonly below: number };

const YEAR_MS = 31_557_600_000;
const duration = (fallback: number) => Type.Integer({ minimum: 0, maximum: YEAR_MS, default: fallback });
const ThresholdSchema = Type.Union([
  Type.Object({ above: Type.Number() }, { additionalProperties: false }),
  Type.Object({ below: Type.Number() }, { additionalProperties: false }),
]);

/** A rule file, alerts/rules/<id>.json: when a finding becomes an incident and when it ends. */
export const RuleSchema = Type.Object(
  {
    id: Type.String({ pattern: '^[a-z][a-z0-9_.]{0,127}$' }),
    /** Name of the finding that it judges. */
    finding: Type.String({ pattern: '^[a-z][a-z0-9_.]{0,127}$' }),
    title: Type.Optional(Type.String({ minLength: 1, maxLength: 200 })),
    fire: ThresholdSchema,
    /** The other way round than `fire` and not beyond it; between the two nothing changes (hysteresis). */
    clear: ThresholdSchema,
    /** From here on the incident is a page, whatever `severity` says. */
    page: Type.Optional(ThresholdSchema),
    /** The condition must hold this long before the incident opens. */
    for_ms: duration(0),
    /** The recovery must hold this long before it resolves; doubles with each relapse, at most 32-fold. */
    keep_firing_ms: duration(0),
    /** Rows or steps that the value must rest on; fewer is no data, never "ok". */
    data_min: Type.Integer({ minimum: 0, maximum: Number.MAX_SAFE_INTEGER, default: 1 }),
    coverage_min_ratio: Type.Number({ minimum: 0, maximum: 1, default: 0 }),
    /** A relapse within this time after the resolution reopens the same incident. */
    reopen_ms: duration(3_600_000),
    /** Not judged for this long is no data. */
    no_data_ms: duration(300_000),
    /** No data for this long ends the incident, saying so. */
    no_data_resolve_ms: duration(3_600_000),
    severity: SeveritySchema,
    /** Path below the repository or an address of its own. */
    runbook: Type.String({ minLength: 1, maxLength: 2048 }),
  },
  { additionalProperties: false },
);
export type Rule = Static<typeof RuleSchema>;

/** A rule file as read: `name` without folder and `.json`. */
export type RuleFile = { readonly name: string; readonly text: string };

const checker = compiled(RuleSchema);

/** Rules and every error of every file: path (`<file>: <field>`), what was expected, what is there. Rules are usable only without errors. */
export function parseRules(files: readonly RuleFile[]): { rules: Rule[]; errors: ErrorDetail[] } {
  const rules: Rule[] = [];
  const errors: ErrorDetail[] = [];
  for (const file of [...files].sort((a, b) => (a.name < b.name ? -1 : 1))) {
    const parsed = parseRule(file);
    if (parsed.rule !== null) rules.push(parsed.rule);
    errors.push(...parsed.errors.map((error) => ({ ...error, path: `${file.name}.json: ${error.path}` })));
  }
  return { rules, errors };
}

function parseRule(file: RuleFile): { rule: Rule | null; errors: ErrorDetail[] } {
  let value: unknown;
  try {
    value = JSON.parse(file.text);
  } catch {
    return { rule: null, errors: [{ path: '/', expected: 'a JSON object', got: shown(file.text) }] };
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    return { rule: null, errors: [{ path: '/', expected: 'a JSON object', got: shown(value) }] };
  const complete = { ...defaults(), ...value };
  const errors = schemaErrors(complete, checker.problems(complete));
  errors.push(...meaningErrors(complete, file.name, new Set(errors.map((error) => error.path))));
  return errors.length === 0 ? { rule: complete as Rule, errors } : { rule: null, errors }; // the parse door: no error left
}

function defaults(): Record<string, unknown> {
  const found: Record<string, unknown> = {};
  for (const [field, schema] of Object.entries(RuleSchema.properties))
    if ('default' in schema) found[field] = schema.default;
  return found;
}

const THRESHOLDS = ['fire', 'clear', 'page'];

function schemaErrors(value: object, problems: readonly SchemaProblem[]): ErrorDetail[] {
  const errors = new Map<string, ErrorDetail>();
  for (const problem of problems)
    for (const path of paths(problem)) {
      const field = path.split('.')[0] ?? path;
      const threshold = THRESHOLDS.includes(field);
      const place = threshold ? field : path;
      const expected = threshold ? '{"above": number} or {"below": number}' : expectation(problem, path);
      if (!errors.has(place)) errors.set(place, { path: place, expected, got: shown(at(value, place)) });
    }
  return [...errors.values()];
}

/** One problem may name several fields at once (missing, unknown). */
function paths(problem: SchemaProblem): string[] {
  const base = problem.instancePath.replace(/^\//, '').replaceAll('/', '.');
  const named = (key: string): readonly unknown[] => {
    const list: unknown = problem.params === undefined ? undefined : Reflect.get(problem.params, key);
    return Array.isArray(list) ? list : [];
  };
  const fields = [...named('requiredProperties'), ...named('additionalProperties')].map(String);
  if (fields.length === 0) return [base];
  return fields.map((field) => (base === '' ? field : `${base}.${field}`));
}

function expectation(problem: SchemaProblem, path: string): string {
  const params = problem.params ?? {};
  if (!Object.hasOwn(RuleSchema.properties, path.split('.')[0] ?? '')) return 'no such field';
  if ('requiredProperties' in params) return `required: ${hint(path)}`;
  return path === 'severity' ? hint(path) : problem.message;
}

function hint(path: string): string {
  const hints: Record<string, string> = {
    id: 'the name of the file without .json',
    finding: 'the name of a finding such as straggler.slow_rank',
    severity: '"page" or "warn"',
    runbook: 'the path of a runbook such as docs/runbooks/straggler.slow_rank.md',
  };
  return hints[path] ?? 'a value';
}

function meaningErrors(value: object, name: string, known: ReadonlySet<string>): ErrorDetail[] {
  const errors: ErrorDetail[] = [];
  const id: unknown = Reflect.get(value, 'id');
  if (!known.has('id') && id !== name)
    errors.push({ path: 'id', expected: `"${name}", the name of the file`, got: shown(id) });
  if (known.has('fire')) return errors;
  const fire = Reflect.get(value, 'fire') as Threshold; // the parse door: the schema has no error there
  if (!known.has('clear')) {
    const clear = Reflect.get(value, 'clear') as Threshold; // as above
    const fits =
      'above' in fire ? 'below' in clear && clear.below <= fire.above : 'above' in clear && clear.above >= fire.below;
    const expected = 'above' in fire ? `{"below": at most ${fire.above}}` : `{"above": at least ${fire.below}}`;
    if (!fits) errors.push({ path: 'clear', expected, got: shown(clear) });
  }
  const page: unknown = Reflect.get(value, 'page');
  if (!known.has('page') && page !== undefined) {
    const bound = page as Threshold; // as above
    const fits =
      'above' in fire ? 'above' in bound && bound.above >= fire.above : 'below' in bound && bound.below <= fire.below;
    const expected = 'above' in fire ? `{"above": at least ${fire.above}}` : `{"below": at most ${fire.below}}`;
    if (!fits) errors.push({ path: 'page', expected, got: shown(page) });
  }
  return errors;
}

function at(value: object, path: string): unknown {
  let item: unknown = value;
  for (const part of path === '' ? [] : path.split('.'))
    item = typeof item === 'object' && item !== null ? Reflect.get(item, part) : undefined;
  return item;
}

function shown(value: unknown): string {
  return value === undefined ? 'nothing' : JSON.stringify(value).slice(0, 120);
}

/** Whether `value` is beyond the bound; the bound itself is not. */
export function beyond(value: number, bound: Threshold): boolean {
  return 'above' in bound ? value > bound.above : value < bound.below;
}

/** The number of a bound. */
export function boundOf(bound: Threshold): number {
  return 'above' in bound ? bound.above : bound.below;
}
