import type { Clock } from '../core/clock.ts';
import type { Outcome } from '../core/outcome.ts';
import type { Bus, Delivery, Store } from '../core/ports.ts';

/** One delivery that the store took or refused; `duration_ms` is that of the insert. */
export type IngestEvent = {
  readonly outcome: Outcome;
  readonly table: Delivery['table'];
  readonly rows: number;
  readonly frames: number;
  readonly duration_ms: number;
};

export type IngestOptions = {
  readonly bus: Bus;
  readonly store: Store;
  readonly clock: Clock;
  readonly onEvent: (event: IngestEvent) => void;
};

/**
 * Bus to store until `signal` fires: a delivery is trimmed only after its rows and its ledger are durable. The bus
 * redelivers on `retry` and sets aside on `reject`, so one bad delivery never blocks the rest.
 */
export async function ingest(options: IngestOptions, signal: AbortSignal): Promise<void> {
  const { bus, store, clock, onEvent } = options;
  // an insert that has begun is let finish at shutdown: aborting it would only leave it to be replayed
  const uninterrupted = new AbortController().signal;
  await bus.consume(async (delivery) => {
    const started_ms = clock.elapsed_ms();
    const outcome = await store.insert(delivery, uninterrupted);
    const { table, rows, frames } = delivery;
    onEvent({ outcome, table, rows, frames: frames.length, duration_ms: clock.elapsed_ms() - started_ms });
    return outcome;
  }, signal);
}
