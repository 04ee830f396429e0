import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { DASHBOARDS, dashboardText } from '../../dashboards/all.ts';
import type { Dashboard } from '../../dashboards/grafana.ts';
import { lintDashboard } from '../../dashboards/lint.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';
import { expandMacros } from './macros.ts';
import { panelQueries } from './panel-queries.ts';

const FOLDER = join(import.meta.dirname, '..', '..', 'dashboards');
const names = Object.keys(DASHBOARDS);

function built(name: string): Dashboard {
  const build = DASHBOARDS[name];
  if (build === undefined) throw new Error(`no builder ${name}`);
  return build();
}

function stored(name: string): string {
  return readFileSync(join(FOLDER, `${name}.json`), 'utf8');
}

describe('generated dashboards', () => {
  test('every JSON file has a builder and every builder its file', () => {
    const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));
    expect(files.sort()).toEqual(names.map((name) => `${name}.json`).sort());
  });

  test.each(names)('%s.json is what its builder makes; "npm run dashboards" writes it anew', (name) => {
    expect(stored(name)).toBe(dashboardText(built(name)));
  });

  test.each(names)('%s keeps the rules of our dashboards', (name) => {
    expect(lintDashboard(JSON.parse(stored(name)))).toEqual([]);
  });

  test('no two dashboards share a uid', () => {
    const uids = names.map((name) => built(name).uid);
    expect(new Set(uids).size).toBe(names.length);
  });

  test('every metric that service health reads is one that the service exposes', async () => {
    const metrics = createServiceMetrics('test');
    metrics.storeInsertSeconds({}, 0.01);
    const { text } = await metrics.expose('prometheus');
    const exposed = new Set([...text.matchAll(/^# TYPE (\S+)/gm)].map((match) => match[1]));
    const read = panelQueries(built('service-health')).flatMap(({ sql }) => sql.match(/leeway_\w+/g) ?? []);
    expect(read.length).toBeGreaterThan(8);
    expect(read.filter((name) => !exposed.has(name.replace(/_bucket$/, '')))).toEqual([]);
  });
});

/** A dashboard that keeps every rule, to break one at a time. */
function good() {
  const datasource = { type: 'grafana-clickhouse-datasource', uid: '${datasource}' };
  return {
    uid: 'a',
    title: 'A',
    description: 'What A shows.',
    editable: false,
    templating: { list: [{ type: 'datasource', name: 'datasource' }] },
    panels: [
      {
        type: 'timeseries',
        id: 1,
        title: 'P',
        description: 'What P shows.',
        datasource,
        gridPos: { x: 0, y: 0, w: 8, h: 8 },
        fieldConfig: { defaults: { unit: 'ms' } },
        options: { legend: { showLegend: true } },
        targets: [{ refId: 'A', datasource, rawSql: 'SELECT 1 WHERE $__timeFilter(at)' }],
      },
    ],
  };
}

type Good = ReturnType<typeof good>;
type Panel = Good['panels'][number];

/** The rules that the good dashboard breaks after `change` of its panel, or of the whole. */
function broken(change: (panel: Panel, whole: Good) => object): string[] {
  const whole = good();
  const [panel] = whole.panels;
  if (panel === undefined) throw new Error('the good dashboard has a panel');
  change(panel, whole);
  return lintDashboard(whole).map((error) => error.rule);
}

describe('the rules catch what they are for', () => {
  test('the example keeps them all', () => {
    expect(lintDashboard(good())).toEqual([]);
  });

  test.each<[string, (panel: Panel, whole: Good) => object]>([
    ['uid', (_, whole) => Object.assign(whole, { uid: 'with space' })],
    ['uid', (_, whole) => Object.assign(whole, { uid: 'x'.repeat(41) })],
    ['title', (_, whole) => Object.assign(whole, { title: ' ' })],
    ['description', (_, whole) => Object.assign(whole, { description: undefined })],
    ['uneditable', (_, whole) => Object.assign(whole, { editable: true })],
    ['template-datasource', (_, whole) => Object.assign(whole, { templating: {} })],
    ['panel-count', (_, whole) => Object.assign(whole, { panels: [] })],
    ['panel-type', (panel) => Object.assign(panel, { type: '' })],
    ['panel-id', (panel) => Object.assign(panel, { id: undefined })],
    ['panel-title', (panel) => Object.assign(panel, { title: '' })],
    ['panel-description', (panel) => Object.assign(panel, { description: '' })],
    ['panel-unit', (panel) => Object.assign(panel, { fieldConfig: {} })],
    ['panel-unit', (panel) => Object.assign(panel, { fieldConfig: { defaults: { unit: 'furlongs' } } })],
    ['panel-datasource', (panel) => Object.assign(panel, { datasource: { uid: 'P4169E866C3094E38' } })],
    ['panel-no-targets', (panel) => Object.assign(panel, { targets: [] })],
    ['legend', (panel) => Object.assign(panel, { options: { legend: { showLegend: false } } })],
    ['target-ref-id', (panel) => Object.assign(panel.targets[0] ?? {}, { refId: undefined })],
    ['target-datasource', (panel) => Object.assign(panel.targets[0] ?? {}, { datasource: { uid: 'prod' } })],
    ['target-query', (panel) => Object.assign(panel.targets[0] ?? {}, { rawSql: '' })],
    ['target-time-filter', (panel) => Object.assign(panel.targets[0] ?? {}, { rawSql: 'SELECT 1' })],
    ['target-time-filter', (panel) => Object.assign(panel.targets[0] ?? {}, { rawSql: 'SELECT $__fromTime' })],
    [
      'target-rate-interval',
      (panel) => Object.assign(panel.targets[0] ?? {}, { rawSql: undefined, expr: 'rate(leeway_x_total[5m])' }),
    ],
  ])('%s', (rule, change) => {
    expect(broken(change)).toEqual([rule]);
  });

  test('two panels on one place, or with one id', () => {
    const twice = (panel: Panel, whole: Good) => Object.assign(whole, { panels: [panel, { ...panel, title: 'Q' }] });
    expect(broken(twice)).toEqual(['panel-id', 'overlap']);
  });

  test.each([[null], ['text'], [[]], [{}]])('%j is no dashboard', (value) => {
    expect(lintDashboard(value).length).toBeGreaterThan(0);
  });
});

describe('macros', () => {
  const view = { from_ms: 1000, to_ms: 2000, interval_s: 30, chosen: { job: ["it's"], all: null } };

  test('expand as the plugin documents them', () => {
    expect(expandMacros('$__timeFilter_ms(at)', view)).toBe(
      '(at >= fromUnixTimestamp64Milli(1000) AND at <= fromUnixTimestamp64Milli(2000))',
    );
    expect(expandMacros('$__timeInterval(at)', view)).toBe('toStartOfInterval(toDateTime(at), INTERVAL 30 second)');
    expect(expandMacros('$__conditionalAll(job IN (${job:singlequote}), $job)', view)).toBe("job IN ('it\\'s')");
    expect(expandMacros('$__conditionalAll(job IN (${job:singlequote}), $all)', view)).toBe('1=1');
  });

  test('an unknown macro or variable fails instead of reaching the store', () => {
    expect(() => expandMacros('$__sorcery(at)', view)).toThrow('every macro must be expanded');
    expect(() => expandMacros('${model:singlequote}', view)).toThrow('the variable model must be one');
  });
});
