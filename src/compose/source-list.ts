import type { LoadedConfig } from '../config.ts';
import type { Clock } from '../core/clock.ts';
import type { Store } from '../core/ports.ts';
import type { SourceRegistry } from '../read/sources.ts';
import { storedSources } from '../read/stored-sources.ts';
import type { SourceItem } from '../server/shapes/telemetry.ts';
import type { RolePlan } from './role-plan.ts';

/** How long the store may take to list its sources. */
const LIST_MS_MAX = 20_000;

type Listed = {
  readonly loaded: Pick<LoadedConfig, 'extensions'>;
  readonly clock: Clock;
  readonly store: Store;
  readonly plan: Pick<RolePlan, 'collects'>;
};

/** The sources that a role knows: what it took itself, or, where gateways take the records, what the store has of them. */
export function sourcesOf(
  sources: SourceRegistry,
  { loaded, clock, store, plan }: Listed,
): () => Promise<SourceItem[]> {
  if (plan.collects) return async () => sources.items(clock.now_ms());
  const collectors = loaded.extensions.collectors.map(({ name }) => name);
  return () => storedSources(store, { collectors, now_ms: clock.now_ms() }, AbortSignal.timeout(LIST_MS_MAX));
}
