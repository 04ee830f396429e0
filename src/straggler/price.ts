import { divideHalfEven, formatUsd, parseUsd } from '../core/money.ts';
import { scaledDecimal } from '../core/rational.ts';

/** Decimals of a printed `gpu_seconds_lost`: microseconds of one GPU. */
const SECONDS_DECIMALS = 6;

/** GPU-milliseconds as the printed GPU-seconds: a number with at most six decimals. */
export function printedSeconds(gpu_ms: number): number {
  return Number((gpu_ms / 1000).toFixed(SECONDS_DECIMALS));
}

/**
 * USD lost = printed `gpu_seconds_lost` × `gpu_usd_per_hour` / 3600, exactly on the decimals, rounded half-even to nine
 * places; null when the price is not a decimal with at most nine places. Contract: `leeway stragglers`, Semantics.
 * @example usdLost(3, '2.50') === '0.002083333'
 */
export function usdLost(gpu_seconds_lost: number, gpu_usd_per_hour: string | null): string | null {
  const price_nano_usd = gpu_usd_per_hour === null ? null : parseUsd(gpu_usd_per_hour);
  if (price_nano_usd === null) return null;
  const microseconds = scaledDecimal(gpu_seconds_lost, SECONDS_DECIMALS);
  return formatUsd(divideHalfEven(microseconds * price_nano_usd, 3_600_000_000n));
}
