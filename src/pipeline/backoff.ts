import type { Random } from '../core/random.ts';

/** How deliveries are retried (contract: config.md `delivery`). */
export type RetryPolicy = {
  readonly timeout_ms: number;
  readonly retry_base_ms: number;
  readonly retry_max_ms: number;
  readonly retry_for_ms: number;
};

/** Half the width of the jitter: plus or minus a fifth, so that a thousand senders do not come back at once. */
const JITTER_RATIO = 0.2;

/**
 * How long to wait after attempt `attempt` (1, 2, …) failed: min(retry_max, retry_base · 2^(attempt−1)) ± 20 %, never
 * less than what the other side asked for. Source: config.md "Details".
 */
export function backoffMs(policy: RetryPolicy, attempt: number, after_ms: number | null, random: Random): number {
  const plain_ms = Math.min(policy.retry_max_ms, policy.retry_base_ms * 2 ** (attempt - 1));
  const jittered_ms = plain_ms * (1 - JITTER_RATIO + 2 * JITTER_RATIO * random.next());
  return Math.max(Math.round(jittered_ms), after_ms ?? 0);
}
