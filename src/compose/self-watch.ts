import { busOver } from '../core/bus-over.ts';
import { type Clock, systemClock } from '../core/clock.ts';
import type { DeliveryTotal } from '../core/delivery-total.ts';
import type { Finding } from '../core/finding.ts';
import type { Bus, Control, Store } from '../core/ports.ts';
import type { Desk } from '../pipeline/decide.ts';
import type { AcknowledgedReader } from '../read/acknowledged.ts';
import { type DeclaredLoss, deliveryAccount } from '../read/delivery.ts';
import { deliveryTotals } from '../read/delivery-totals.ts';
import type { SourceRegistry } from '../read/sources.ts';
import type { Logger } from '../telemetry/logger.ts';
import type { ServiceMetrics } from '../telemetry/metrics.ts';
import type { CollectorEvents } from './collecting.ts';
import { ACCOUNT_MS, ownFinding } from './own-finding.ts';
import type { AccountSilence } from './silence.ts';

// How the service watches itself: the account, its own metrics, its collectors, the watchdog.

/** An account is shown for so long: beside that of the process which goes on it would hide what is so now. */
const SHOWN_MS = 3 * ACCOUNT_MS;

export type AccountWatch = {
  readonly findings: (now_ms: number, signal: AbortSignal) => Promise<Finding[]>;
  /** Another process takes the account. */
  readonly forget: () => void;
};

/**
 * Compares emitted with stored every ten seconds and tells /metrics; each source with rows has three findings: records that do
 * not add up, batches that never came, and how long the oldest record waits, 0 when there are none. Where the account could
 * not be taken for 30 s, or another process takes it, /metrics has none.
 */
export function accountWatch(doors: {
  readonly store: Store;
  readonly bus: Bus;
  readonly clock: Clock;
  readonly acknowledged: AcknowledgedReader | null;
  readonly losses: () => DeclaredLoss[];
  readonly metrics: Pick<ServiceMetrics, 'delivery' | 'deliveryUnknown' | 'beforeScrape'>;
  /** Where other processes have the collectors. */
  readonly silence?: AccountSilence;
}): AccountWatch {
  const { clock, metrics } = doors;
  let looked_ms = Number.NEGATIVE_INFINITY;
  let taken_ms = Number.NEGATIVE_INFINITY;
  let findings: Finding[] = [];
  const forgetOld = (): void => {
    if (clock.elapsed_ms() - taken_ms > SHOWN_MS) metrics.deliveryUnknown();
  };
  metrics.beforeScrape({ name: 'delivery', gauges: [], read: () => forgetOld });
  return {
    findings: async (now_ms, signal) => {
      const elapsed_ms = clock.elapsed_ms(); // not the time of day, which may step back
      if (elapsed_ms - looked_ms < ACCOUNT_MS) return findings;
      looked_ms = elapsed_ms;
      const items = await deliveryAccount(doors, doors.losses(), signal);
      const totals = deliveryTotals(items);
      taken_ms = elapsed_ms;
      metrics.delivery(totals, now_ms);
      // of records that wait and nobody knows of, a source may have sent many
      const is_known = items.every(({ in_flight_known }) => in_flight_known);
      const silences = is_known ? (doors.silence?.(totals, now_ms) ?? []) : [];
      const sums = totals.flatMap((total) => [imbalance(total, now_ms), gap(total, now_ms), delay(total, now_ms)]);
      findings = [...sums, ...silences];
      return findings;
    },
    forget: metrics.deliveryUnknown,
  };
}

function imbalance({ source, unaccounted, emitted }: DeliveryTotal, now_ms: number): Finding {
  return {
    ...ownFinding(source, now_ms),
    name: 'delivery.imbalance',
    key: `source:${source}/imbalance`,
    cause: 'storage',
    value: unaccounted,
    data_count: emitted,
    coverage_ratio: emitted === 0 ? 1 : 1 - unaccounted / emitted,
    title: `${unaccounted} records of ${source} were acknowledged and are not in the store`,
    evidence: { emitted, missing: unaccounted },
  };
}

function gap({ source, batches_lost, emitted, stored, in_flight }: DeliveryTotal, now_ms: number): Finding {
  return {
    ...ownFinding(source, now_ms),
    name: 'delivery.gap',
    key: `source:${source}/gap`,
    cause: 'network',
    value: batches_lost,
    data_count: emitted,
    coverage_ratio: 1,
    title: `${batches_lost} ${batches_lost === 1 ? 'batch' : 'batches'} of ${source} never arrived, and nobody declared that`,
    evidence: { batches_lost, emitted, stored, in_flight },
  };
}

function delay({ source, oldest_in_flight_ms, in_flight, emitted }: DeliveryTotal, now_ms: number): Finding {
  const oldest_ms = oldest_in_flight_ms ?? 0;
  return {
    ...ownFinding(source, now_ms),
    name: 'delivery.delay',
    key: `source:${source}/delay`,
    cause: 'storage',
    value: oldest_ms,
    data_count: emitted,
    coverage_ratio: emitted === 0 ? 1 : 1 - in_flight / emitted,
    title: `${in_flight} records of ${source} were acknowledged and wait for the store, the oldest for ${Math.round(oldest_ms / 1000)} s`,
    evidence: { oldest_in_flight_ms: oldest_ms, in_flight },
  };
}

export async function watchdog(control: Control, desk: Desk): Promise<void> {
  const at_ms = systemClock.now_ms();
  await control.transaction(async (tx) => {
    await desk.enqueue(tx, {
      type: 'leeway.watchdog',
      subject: 'watchdog',
      event: String(at_ms),
      at_ms,
      data: { at_ms },
    });
  });
}

export function ingested(
  metrics: ServiceMetrics,
  { frames, ok, duration_ms }: { frames: number; rows: number; ok: boolean; duration_ms: number },
): void {
  metrics.framesIngested({}, frames);
  if (ok) metrics.framesStored({}, frames);
  metrics.storeInsertSeconds({}, duration_ms / 1000);
}

/** Collectors' reports as sources, metrics and log lines; an absent source is said once. */
export function collectorEvents(parts: {
  sources: SourceRegistry;
  metrics: ServiceMetrics;
  logger: Logger;
}): CollectorEvents {
  const said = new Map<string, string>();
  const rejected = new Map<string, Readonly<Record<string, number>>>();
  return {
    onReport: (source, report) => {
      const [collector = source] = source.split('@');
      if (report.kind === 'collected') {
        said.delete(source);
        parts.metrics.collectorSeconds({ collector }, report.seconds);
        const source_kind = collector === 'workload' ? 'workload' : 'collector';
        parts.metrics.recordsReceived({ source_kind }, report.records.length);
        if (report.records.length > 0)
          parts.sources.accepted(source, 'collector', report.records, systemClock.now_ms());
        return;
      }
      const reason = report.kind === 'failed' ? report.code : 'absent';
      if (report.kind === 'absent') parts.sources.absent(source, report.reason);
      else parts.metrics.collectorErrors({ collector, reason });
      if (said.get(source) === report.reason) return;
      said.set(source, report.reason);
      parts.logger.info({ source, reason }, report.reason);
    },
    onRejected: (source, counts) => {
      const before = rejected.get(source) ?? {};
      const fresh = Object.fromEntries(
        Object.entries(counts).flatMap(([code, count]) =>
          count > (before[code] ?? 0) ? [[code, count - (before[code] ?? 0)]] : [],
        ),
      );
      rejected.set(source, { ...counts });
      if (Object.keys(fresh).length > 0) parts.sources.rejected(source, 'collector', fresh, systemClock.now_ms());
    },
  };
}

/** The bus with its published frames counted: one a record type of an accepted batch. */
export function countedBus(bus: Bus, metrics: ServiceMetrics): Bus {
  return busOver(bus, {
    publish: async (batch, signal) => {
      const published = await bus.publish(batch, signal);
      const samples = batch.samples?.rows ?? 0;
      if (!published.repeated)
        metrics.framesPublished({}, new Set(batch.records.map((record) => record.type)).size + (samples > 0 ? 1 : 0));
      return published;
    },
  });
}
