/** The plugin that reads ClickHouse in Grafana. */
export const CLICKHOUSE = 'grafana-clickhouse-datasource';

/**
 * One query of grafana-clickhouse-datasource 4.x, as a panel's JSON keeps it. grafana-foundation-sdk 0.0.21 has no type
 * for this plugin, so it is written here. `format`: 0 time series, 1 table; it repeats `queryType` for older plugins.
 */
export type ClickHouseQuery = {
  readonly refId: string;
  readonly datasource: { readonly type: string; readonly uid: string };
  /** A query without it is taken for one of version 3 and rewritten by the plugin. */
  readonly pluginVersion: string;
  readonly editorType: 'sql';
  readonly queryType: 'timeseries' | 'table';
  readonly format: 0 | 1;
  readonly rawSql: string;
};

/**
 * A query for the data source that the reader chose. A time series selects the time first, then the columns that name
 * a series, then the values; a table is shown as it comes.
 */
export function clickHouseQuery(shape: 'timeseries' | 'table', sql: string): ClickHouseQuery {
  return {
    refId: 'A',
    datasource: { type: CLICKHOUSE, uid: `\${datasource}` },
    pluginVersion: '4.0.0',
    editorType: 'sql',
    queryType: shape,
    format: shape === 'timeseries' ? 0 : 1,
    rawSql: sql.trim(),
  };
}
