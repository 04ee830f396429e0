/** The account of the delivery is looked at this often, ms: it counts rows. */
export const ACCOUNT_MS = 10_000;

/** What all findings of the service about its sources share. */
export function ownFinding(source: string, now_ms: number) {
  return {
    scope: { source },
    subjects: [{ type: 'source', id: source }],
    reason: null,
    window: { from_ms: now_ms - ACCOUNT_MS, to_ms: now_ms },
    started_at_ms: null,
    gpu_seconds_lost: null,
    usd_lost: null,
    usd_per_hour: null,
  };
}
