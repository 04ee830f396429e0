/** The account of one source over its epochs, in records. */
export type DeliveryTotal = {
  readonly source: string;
  readonly emitted: number;
  readonly stored: number;
  readonly in_flight: number;
  readonly declared_loss: Readonly<Record<string, number>>;
  readonly duplicates_absorbed: number;
  readonly late: number;
  /** Records that were acknowledged and are neither stored, in flight nor declared lost; summed by epoch, never below 0. */
  readonly unaccounted: number;
  /** Batches that never arrived, that nobody declared and nobody waits for. */
  readonly batches_lost: number;
  /** Age of the oldest record in flight, ms; null where there is none, or nobody knows. */
  readonly oldest_in_flight_ms: number | null;
};
