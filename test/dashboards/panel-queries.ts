import type { Dashboard } from '../../dashboards/grafana.ts';

/** A panel's title with the text of its only query, SQL or PromQL. */
export type PanelQuery = { readonly title: string; readonly sql: string };

/** The query of every panel that has one, as the JSON holds it. */
export function panelQueries(dashboard: Dashboard): PanelQuery[] {
  const panels: unknown = JSON.parse(JSON.stringify(dashboard.panels ?? []));
  if (!Array.isArray(panels)) return [];
  return panels.flatMap((panel: { title: string; targets?: { rawSql?: string; expr?: string }[] }) =>
    (panel.targets ?? []).map((target) => ({ title: panel.title, sql: target.rawSql ?? target.expr ?? '' })),
  );
}
