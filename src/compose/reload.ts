import { differences, loadConfig } from '../config.ts';
import type { Config } from '../config/schema.ts';
import type { Clock } from '../core/clock.ts';
import { appendAudit } from '../pipeline/audit.ts';
import { recipientOf } from '../pipeline/deliver.ts';
import type { Change } from '../server/services.ts';
import { destinationsOf, loadRules, policiesOf } from './alerting.ts';
import type { Deciding, Live } from './deciding.ts';
import type { Doors } from './doors.ts';

export type ReloadParts = {
  readonly doors: Pick<Doors, 'control'>;
  readonly deciding: Pick<Deciding, 'desk' | 'courier' | 'retraining'>;
  readonly live: Live;
  readonly clock: Clock;
};

/** The keys of the configuration that a reload puts in force. */
const AT_ONCE = ['rules_dir', 'sinks', 'retraining'] as const satisfies readonly (keyof Config)[];

/**
 * SIGHUP and `POST /-/reload`: loads the configuration from where it came and, when all of it is valid, puts rules,
 * sinks, targets and retraining policies in force at once. Answers how it differs from what was in force; whatever needs
 * a restart says so, again and again until it is restarted. Throws LW-CONFIG and changes nothing when it is not valid.
 * The audit log says who asked and which paths changed.
 */
export async function reload({ doors, deciding, live, clock }: ReloadParts, actor: string): Promise<readonly Change[]> {
  const loaded = await loadConfig(live.loaded.source);
  const changes = differences(live.loaded.config, loaded.config).map((change) => ({
    ...change,
    needs_restart: !AT_ONCE.some((key) => change.path.split(/[.[]/, 1)[0] === key),
  }));
  const rules = await loadRules(loaded.paths.rules_dir);
  const destinations = destinationsOf(loaded);
  const policies = policiesOf(loaded);
  deciding.desk.reload({ rules, recipients: destinations.map(recipientOf) });
  deciding.courier.reload(destinations);
  deciding.retraining.reload(policies);
  const { rules_dir, sinks, retraining } = loaded.config;
  const in_force = { ...loaded, config: { ...live.loaded.config, rules_dir, sinks, retraining } };
  Object.assign(live, { loaded: in_force, rules, destinations, policies });
  const detail = changedPaths(changes);
  await doors.control.transaction((tx) =>
    appendAudit(tx, { at_ms: clock.now_ms(), actor, action: 'configuration.reload', subject: 'configuration', detail }),
  );
  return changes;
}

/** For logs: the paths that are in force now, and those that take a restart. */
export function changedPaths(changes: readonly Change[]): { changed: string[]; needs_restart: string[] } {
  const paths = (restart: boolean): string[] =>
    changes.filter(({ needs_restart }) => needs_restart === restart).map(({ path }) => path);
  return { changed: paths(false), needs_restart: paths(true) };
}
