import type { Clock } from '../core/clock.ts';
import type { DeliveryTotal } from '../core/delivery-total.ts';
import type { Finding } from '../core/finding.ts';
import type { SourceRegistry } from '../read/sources.ts';
import { isCollector } from '../read/stored-sources.ts';
import { ownFinding } from './own-finding.ts';

// Collectors that read on a clock and have read before: the value of the finding is how long they have been silent, ms.

/** Of the collectors of this process, from what it published. */
export function silenceFindings(sources: SourceRegistry, now_ms: number): Finding[] {
  return sources.items(now_ms).flatMap(({ source, kind, accepted, last_seen_ms }) => {
    if (kind !== 'collector' || !isClocked(source) || accepted === 0 || last_seen_ms === null) return [];
    return [silent({ source, accepted, last_seen_ms }, Math.max(0, now_ms - last_seen_ms), now_ms)];
  });
}

/** Given the account whenever it is taken, the findings of collectors elsewhere. */
export type AccountSilence = (totals: readonly DeliveryTotal[], now_ms: number) => Finding[];

type Heard = { emitted: number; heard: { readonly elapsed_ms: number; readonly at_ms: number } | null };

/**
 * Of collectors on other machines, from the account of all processes: a source is heard when its records acknowledged or
 * declared lost become more. One that was not heard since this process first looked is nobody's concern here: its node may
 * be gone for weeks. Sources are known by name, `<collector>@<node>`. Exact to the interval of the account.
 */
export function accountSilence(clock: Clock, collectors: readonly string[]): AccountSilence {
  let known = new Map<string, Heard>();
  return (totals, now_ms) => {
    const elapsed_ms = clock.elapsed_ms();
    const next = new Map<string, Heard>();
    for (const { source, emitted } of totals) {
      if (!isCollector(source, collectors) || !isClocked(source)) continue;
      const before = known.get(source);
      const heard = { elapsed_ms, at_ms: now_ms };
      if (before === undefined) next.set(source, { emitted, heard: known.size === 0 ? null : heard });
      else next.set(source, before.emitted === emitted ? before : { emitted, heard });
    }
    known = next;
    return [...next].flatMap(([source, { emitted, heard }]) =>
      heard === null
        ? []
        : [silent({ source, accepted: emitted, last_seen_ms: heard.at_ms }, elapsed_ms - heard.elapsed_ms, now_ms)],
    );
  };
}

/** The workload collector sends when a job does. */
function isClocked(source: string): boolean {
  return !source.startsWith('workload@');
}

type Silent = { readonly source: string; readonly accepted: number; readonly last_seen_ms: number };

function silent({ source, accepted, last_seen_ms }: Silent, silent_ms: number, now_ms: number): Finding {
  return {
    ...ownFinding(source, now_ms),
    name: 'collector.silent',
    key: `source:${source}/silent`,
    cause: 'host',
    value: silent_ms,
    data_count: accepted,
    coverage_ratio: 1,
    title: `${source} has sent nothing for ${Math.round(silent_ms / 1000)} s`,
    evidence: { last_seen_ms, accepted },
  };
}
