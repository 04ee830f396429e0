import { assert } from '../../src/core/assert.ts';

/** What Grafana fills into a query: the time range [from, to] in Unix ms, the interval, the chosen values of each list. */
export type View = {
  readonly from_ms: number;
  readonly to_ms: number;
  readonly interval_s: number;
  /** Values by variable; null = All. */
  readonly chosen: Readonly<Record<string, readonly string[] | null>>;
};

/**
 * The macros of grafana-clickhouse-datasource 4.x that our queries use, with the expansions that its documentation
 * gives. Any other `$__macro` or variable fails: a query must not depend on what is not expanded here.
 */
export function expandMacros(sql: string, view: View): string {
  const from = `fromUnixTimestamp64Milli(${view.from_ms})`;
  const to = `fromUnixTimestamp64Milli(${view.to_ms})`;
  const expanded = sql
    .replace(/\$__conditionalAll\(((?:[^()]|\([^()]*\))*), \$(\w+)\)/g, (_, condition: string, name: string) =>
      chosenValues(view, name) === null ? '1=1' : condition,
    )
    .replace(/\$\{(\w+):singlequote\}/g, (_, name: string) =>
      (chosenValues(view, name) ?? []).map((value) => `'${value.replaceAll("'", "\\'")}'`).join(','),
    )
    .replace(/\$__timeFilter_ms\((\w+)\)/g, (_, column: string) => `(${column} >= ${from} AND ${column} <= ${to})`)
    .replace(
      /\$__timeInterval\(([\w.]+)\)/g,
      (_, column: string) => `toStartOfInterval(toDateTime(${column}), INTERVAL ${view.interval_s} second)`,
    )
    .replaceAll('$__fromTime_ms', from)
    .replaceAll('$__toTime_ms', to)
    .replaceAll('$__interval_s', String(view.interval_s));
  assert(!expanded.includes('$'), `every macro must be expanded, left in: ${expanded}`);
  return expanded;
}

function chosenValues(view: View, name: string): readonly string[] | null {
  const values = view.chosen[name];
  assert(values !== undefined, `the variable ${name} must be one of the dashboard`);
  return values;
}
