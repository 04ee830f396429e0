import type { DeliveryTotal } from '../core/delivery-total.ts';
import { LIMITS } from '../core/limits.ts';

/** A gauge that is set anew as a whole: `clear` forgets all of its series. */
export type WholeGauge = {
  readonly clear: () => void;
  readonly set: (labels: Readonly<Record<string, string>>, value: number) => void;
};

type MakeGauge = (name: string, help: string, labels: readonly string[]) => WholeGauge;

const OTHER = 'other';

/** Gauges with one series a source, in their base units. */
const BY_SOURCE: readonly (readonly [name: string, help: string, of: (total: DeliveryTotal) => number])[] = [
  ['emitted_records', 'Records that were acknowledged or declared lost.', ({ emitted }) => emitted],
  ['stored_records', 'Records counted in the telemetry store.', ({ stored }) => stored],
  ['in_flight_records', 'Records acknowledged and not yet stored.', ({ in_flight }) => in_flight],
  [
    'unaccounted_records',
    'Emitted less stored, in flight and declared loss, where that is above 0: records whose whereabouts nobody knows.',
    ({ unaccounted }) => unaccounted,
  ],
  [
    'duplicates_absorbed_records',
    'Records that came again and were stored once.',
    ({ duplicates_absorbed }) => duplicates_absorbed,
  ],
  ['late_records', 'Stored records that were accepted behind a higher sequence.', ({ late }) => late],
  [
    'lost_batches',
    'Sequences that never arrived, that nobody declared and nobody waits for.',
    ({ batches_lost }) => batches_lost,
  ],
  [
    'oldest_in_flight_seconds',
    'Age of the oldest record in flight, 0 when there is none.',
    ({ oldest_in_flight_ms }) => (oldest_in_flight_ms ?? 0) / 1000,
  ],
];

/** The `leeway_delivery_*` gauges as a whole. */
export type DeliveryGauges = {
  /** Sets them all from the account of `at_ms` (Unix ms). */
  readonly show: (account: readonly DeliveryTotal[], at_ms: number) => void;
  /** Leaves only when the account was last taken. */
  readonly forget: () => void;
};

/**
 * Makes the `leeway_delivery_*` gauges: the first LIMITS.delivery_sources_max sources ever shown, the largest first, have
 * series of their own, the rest is summed as source "other" (of ages the largest).
 */
export function deliveryGauges(make: MakeGauge): DeliveryGauges {
  const gauges = BY_SOURCE.map(([name, help, of]) => ({
    of,
    gauge: make(`leeway_delivery_${name}`, help, ['source']),
  }));
  const loss = make('leeway_delivery_declared_loss_records', 'Records given up by policy or refused, by reason.', [
    'source',
    'reason',
  ]);
  const time = make(
    'leeway_delivery_account_timestamp_seconds',
    'When the account was last taken, Unix time; 0 where it never was.',
    [],
  );
  const named = new Set<string>();
  const forget = (): void => {
    for (const { gauge } of gauges) gauge.clear();
    loss.clear();
  };
  const show: DeliveryGauges['show'] = (account, at_ms) => {
    const largest = account.toSorted((a, b) => b.emitted - a.emitted);
    for (const { source } of largest) if (named.size < LIMITS.delivery_sources_max) named.add(source);
    const shown = bounded(account, named);
    forget();
    for (const { gauge, of } of gauges) for (const total of shown) gauge.set({ source: total.source }, of(total));
    for (const { source, declared_loss } of shown)
      for (const [reason, records] of Object.entries(declared_loss)) loss.set({ source, reason }, records);
    time.set({}, at_ms / 1000);
  };
  return { show, forget };
}

function bounded(account: readonly DeliveryTotal[], named: ReadonlySet<string>): DeliveryTotal[] {
  const shown = new Map<string, DeliveryTotal>();
  for (const total of account) {
    const source = named.has(total.source) ? total.source : OTHER;
    const known = shown.get(source);
    shown.set(source, known === undefined ? { ...total, source } : sumOf(known, total));
  }
  return [...shown.values()];
}

function sumOf(one: DeliveryTotal, other: DeliveryTotal): DeliveryTotal {
  const declared_loss = { ...one.declared_loss };
  for (const [reason, records] of Object.entries(other.declared_loss))
    declared_loss[reason] = (declared_loss[reason] ?? 0) + records;
  const ages = [one, other].flatMap(({ oldest_in_flight_ms }) => oldest_in_flight_ms ?? []);
  return {
    source: one.source,
    emitted: one.emitted + other.emitted,
    stored: one.stored + other.stored,
    in_flight: one.in_flight + other.in_flight,
    declared_loss,
    duplicates_absorbed: one.duplicates_absorbed + other.duplicates_absorbed,
    late: one.late + other.late,
    unaccounted: one.unaccounted + other.unaccounted,
    batches_lost: one.batches_lost + other.batches_lost,
    oldest_in_flight_ms: ages.length === 0 ? null : Math.max(...ages),
  };
}
