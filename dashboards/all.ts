import { fleetOverview } from './fleet-overview.ts';
import type { Dashboard } from './grafana.ts';
import { serviceHealth } from './service-health.ts';

/** Every dashboard by the name of its JSON file. */
export const DASHBOARDS: Readonly<Record<string, () => Dashboard>> = {
  'fleet-overview': fleetOverview,
  'service-health': serviceHealth,
};

/** The file's text: the same builder gives the same bytes. */
export function dashboardText(dashboard: Dashboard): string {
  return `${JSON.stringify(dashboard, null, 2)}\n`;
}
