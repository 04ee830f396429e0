const MONTH_MS = 30 * 24 * 3_600_000;

export type AlarmBudget = { readonly false_alarms_per_month: number; readonly window_ms: number };

/**
 * The chance of a false alarm that one window may take, over all its features: false_alarms_per_month divided by the
 * windows of a 30-day month. By linearity the expected number of false alarms is then the budget, however windows
 * depend on each other. Capped at 0.05 so that a rare, generous window still needs evidence.
 */
export function windowAlpha(budget: AlarmBudget): number {
  return Math.min(0.05, (budget.false_alarms_per_month * budget.window_ms) / MONTH_MS);
}

/** Stable windows expected between two false alarms at `alpha`. */
export function windowsPerFalseAlarm(alpha: number): number {
  return 1 / alpha;
}
