import { differences, loadConfig } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import { appendAudit } from '../pipeline/audit.ts';
import { recipientOf } from '../pipeline/deliver.ts';
import type { Change } from '../server/services.ts';
import { destinationsOf, loadRules } from './alerting.ts';
import type { Deciding, Live } from './deciding.ts';
import type { Doors } from './doors.ts';

export type ReloadParts = {
  readonly doors: Doors;
  readonly deciding: Deciding;
  readonly live: Live;
  readonly clock: Clock;
};

/**
 * SIGHUP and `POST /-/reload`: loads the configuration from where it came and, when all of it is valid, puts rules,
 * sinks and targets in force at once; every other change is listed and takes a restart. Throws LW-CONFIG and changes
 * nothing when it is not valid. The audit log says who asked and which paths changed.
 */
export async function reload({ doors, deciding, live, clock }: ReloadParts, actor: string): Promise<readonly Change[]> {
  const loaded = await loadConfig(live.loaded.source);
  const changes = differences(live.loaded.config, loaded.config);
  const rules = await loadRules(loaded.paths.rules_dir);
  const destinations = destinationsOf(loaded);
  deciding.desk.reload({ rules, recipients: destinations.map(recipientOf) });
  deciding.courier.reload(destinations);
  Object.assign(live, { loaded, rules, destinations });
  const detail = { changed: changes.map(({ path }) => path) };
  await doors.control.transaction((tx) =>
    appendAudit(tx, { at_ms: clock.now_ms(), actor, action: 'configuration.reload', subject: 'configuration', detail }),
  );
  return changes;
}
