import type { AfterWindow, DecisionState, Gate } from '../core/retraining.ts';
import type { RetrainPolicy } from './policy.ts';

/** States in which the gates are judged again at every analysis. */
export const OPEN_STATES: readonly DecisionState[] = ['deferred', 'suggested', 'awaiting_approval', 'approved'];

/** States that a person can still approve. */
export const APPROVABLE_STATES: readonly DecisionState[] = ['deferred', 'suggested', 'awaiting_approval'];

/** What follows from the gates: the new state, whether to dispatch now, and the reason in words. */
export type Resolution = { readonly state: DecisionState; readonly dispatch: boolean; readonly reason: string };

/**
 * Pure decision: gates in, state out. A failed `expiry` expires, another failure suppresses; any deferral but the
 * approval's defers; a missing approval leaves it `suggested` or `awaiting_approval` by the policy's mode.
 */
export function resolveDecision(policy: RetrainPolicy, gates: readonly Gate[]): Resolution {
  const failed = gates.find((gate) => gate.result === 'fail');
  if (failed !== undefined) {
    const state = failed.gate === 'expiry' ? 'expired' : 'suppressed';
    return { state, dispatch: false, reason: `${failed.gate}: ${failed.note}` };
  }
  const held = gates.filter((gate) => gate.result === 'defer' && gate.gate !== 'approval');
  const approval = gates.find((gate) => gate.gate === 'approval');
  const first = held[0];
  if (first !== undefined)
    return { state: 'deferred', dispatch: false, reason: held.map((gate) => `${gate.gate}: ${gate.note}`).join('; ') };
  if (approval?.result === 'defer') {
    const state = policy.mode === 'suggest' ? 'suggested' : 'awaiting_approval';
    return { state, dispatch: false, reason: approval.note };
  }
  return { state: 'dispatched', dispatch: true, reason: 'all gates passed' };
}

/**
 * Confirmation after promotion (contract: api.md "Outcome"): over `hysteresis.windows` windows of the new version,
 * `not_fixed` as soon as `drifted_min` of them drift or are measurably worse than before the drift, else `confirmed`
 * when all windows are in; null while too few windows are assessed.
 */
export function judgeOutcome(policy: RetrainPolicy, windows: readonly AfterWindow[]): 'confirmed' | 'not_fixed' | null {
  const seen = windows.slice(0, policy.hysteresis.windows);
  const bad = seen.filter((window) => window.drifted || window.accuracy_worse).length;
  if (bad >= policy.hysteresis.drifted_min) return 'not_fixed';
  return seen.length >= policy.hysteresis.windows ? 'confirmed' : null;
}
