/** One breach: where in the JSON, which rule, and what was expected. */
export type LintError = { readonly path: string; readonly rule: string; readonly expected: string };

type Json = Readonly<Record<string, unknown>>;

/** Units that our panels may use, by Grafana's id. A new one is one entry here. */
const UNITS = new Set(['none', 'short', 'ms', 's', 'percentunit', 'celsius', 'reqps', 'wps', 'cps', 'bytes']);
/** More panels do not fit on one page that is read under stress. */
const PANELS_MAX = 25;
/** A time range in the query itself; Prometheus gets the range beside the query. */
const TIME_FILTER =
  /\$__timeFilter(_ms)?\(|\$__fromTime(_ms)?\b[\s\S]*\$__toTime(_ms)?\b|\$__toTime(_ms)?\b[\s\S]*\$__fromTime(_ms)?\b/;
const RATE = /\b(?:rate|increase|irate)\([^[]*\[([^\]]*)\]/g;

/**
 * The rules of this project for a Grafana dashboard given as parsed JSON: a stable uid, read-only, a choice of data source
 * and no uid of one, every panel with title, description and a known unit, every query with a refId and the time range,
 * rates over `$__rate_interval`, no overlap. After grafana/dashboard-linter, with rules for SQL. Returns every breach.
 */
export function lintDashboard(dashboard: unknown): LintError[] {
  if (!isObject(dashboard)) return [{ path: '', rule: 'object', expected: 'a JSON object' }];
  const panels = objects(dashboard['panels']);
  const shown = panels.filter((panel) => panel['type'] !== 'row');
  return [
    ...lintWhole(dashboard, shown.length),
    ...panels.flatMap((panel, index) => lintIdentity(panel, index, panels)),
    ...shown.flatMap(lintPanel),
    ...overlaps(shown),
  ];
}

function lintWhole(dashboard: Json, shown: number): LintError[] {
  const { uid, title, description, editable } = dashboard;
  const datasource = objects(objectOf(dashboard['templating'])['list']).find((item) => item['type'] === 'datasource');
  return rules('', [
    ['uid', typeof uid === 'string' && /^[A-Za-z0-9_-]{1,40}$/.test(uid), '1 to 40 letters, digits, - or _'],
    ['title', isText(title), 'a title'],
    ['description', isText(description), 'a description'],
    ['uneditable', editable === false, 'editable: false, since the builder is the source'],
    ['template-datasource', datasource?.['name'] === 'datasource', 'a variable "datasource" to choose the data source'],
    ['panel-count', shown >= 1 && shown <= PANELS_MAX, `1 to ${PANELS_MAX} panels`],
  ]);
}

function lintIdentity(panel: Json, index: number, panels: readonly Json[]): LintError[] {
  const first = panels.findIndex((other) => other['id'] === panel['id']);
  return rules(`panels[${index}]`, [
    ['panel-type', isText(panel['type']), 'the type of the panel'],
    ['panel-id', typeof panel['id'] === 'number' && first === index, 'an id that no other panel has'],
    ['panel-title', isText(panel['title']), 'a title'],
  ]);
}

function lintPanel(panel: Json): LintError[] {
  const path = `panel "${String(panel['title'])}"`;
  const targets = objects(panel['targets']);
  const { unit } = objectOf(objectOf(panel['fieldConfig'])['defaults']);
  const legend = objectOf(objectOf(panel['options'])['legend']);
  const references = targets.map((target) => target['refId']);
  return [
    ...rules(path, [
      ['panel-description', isText(panel['description']), 'a description'],
      ['panel-unit', typeof unit === 'string' && UNITS.has(unit), `a unit of ${[...UNITS].join(', ')}`],
      ['panel-datasource', usesVariable(panel['datasource']), 'the data source ${datasource}'],
      ['panel-no-targets', targets.length > 0, 'at least one query'],
      [
        'target-ref-id',
        references.every(isText) && new Set(references).size === references.length,
        'a refId of its own',
      ],
      ['legend', panel['type'] !== 'timeseries' || legend['showLegend'] === true, 'a visible legend'],
    ]),
    ...targets.flatMap((target) => lintTarget(path, target)),
  ];
}

function lintTarget(path: string, target: Json): LintError[] {
  const { rawSql, expr } = target;
  const windows = typeof expr === 'string' ? [...expr.matchAll(RATE)].map((match) => match[1]) : [];
  return rules(path, [
    ['target-datasource', usesVariable(target['datasource']), 'the data source ${datasource}'],
    ['target-query', isText(rawSql) !== isText(expr), 'rawSql or expr'],
    [
      'target-time-filter',
      !isText(rawSql) || TIME_FILTER.test(rawSql),
      '$__timeFilter(column) or $__fromTime and $__toTime',
    ],
    ['target-rate-interval', windows.every((window) => window === '$__rate_interval'), 'rates over [$__rate_interval]'],
  ]);
}

function overlaps(panels: readonly Json[]): LintError[] {
  const places = panels.map((panel) => ({ title: String(panel['title']), ...place(panel['gridPos']) }));
  return places.flatMap((a, index) =>
    places
      .slice(index + 1)
      .filter((b) => a.x < b.x + b.w && b.x < a.x + a.w && a.y < b.y + b.h && b.y < a.y + a.h)
      .map((b) => ({ path: `panel "${a.title}"`, rule: 'overlap', expected: `a place that "${b.title}" leaves free` })),
  );
}

function place(value: unknown): { x: number; y: number; w: number; h: number } {
  const grid = objectOf(value);
  const side = (name: string): number => (typeof grid[name] === 'number' ? grid[name] : 0);
  return { x: side('x'), y: side('y'), w: side('w'), h: side('h') };
}

function rules(
  path: string,
  checks: readonly (readonly [rule: string, holds: boolean, expected: string])[],
): LintError[] {
  return checks.filter(([, holds]) => !holds).map(([rule, , expected]) => ({ path, rule, expected }));
}

function usesVariable(datasource: unknown): boolean {
  return objectOf(datasource)['uid'] === `\${datasource}`;
}

function isText(value: unknown): value is string {
  return typeof value === 'string' && value.trim() !== '';
}

function isObject(value: unknown): value is Json {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function objectOf(value: unknown): Json {
  return isObject(value) ? value : {};
}

function objects(value: unknown): readonly Json[] {
  return Array.isArray(value) ? value.filter(isObject) : [];
}
