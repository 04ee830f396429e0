/** The plugin that reads Prometheus in Grafana. */
export const PROMETHEUS = 'prometheus';

/** One range query of the Prometheus plugin, as a panel's JSON keeps it. */
export type PrometheusQuery = {
  readonly refId: string;
  readonly datasource: { readonly type: string; readonly uid: string };
  readonly editorMode: 'code';
  readonly range: true;
  readonly expr: string;
  readonly legendFormat: string;
};

/** A PromQL query for the data source that the reader chose; `legend` is a template such as `{{sink}}`. */
export function prometheusQuery(expr: string, legend: string): PrometheusQuery {
  return {
    refId: 'A',
    datasource: { type: PROMETHEUS, uid: `\${datasource}` },
    editorMode: 'code',
    range: true,
    expr,
    legendFormat: legend,
  };
}
