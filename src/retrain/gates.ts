import { divideHalfEven, formatCents, NANO_PER_CENT } from '../core/money.ts';
import type { Gate } from '../core/retraining.ts';
import type { RetrainPolicy } from './policy.ts';

/** Everything the gates look at, measured at one moment. Counts in rows, times in Unix ms, money in nano-USD. */
export type Situation = {
  readonly now_ms: number;
  readonly created_at_ms: number;
  /** Verdicts of the last `hysteresis.windows` windows: assessed at all, and drifting. */
  readonly windows_assessed: number;
  readonly windows_drifted: number;
  readonly rows: number;
  readonly labelled_rows: number;
  readonly coverage_ratio: number;
  /** Measured accuracy since the drift began against the reference; null where there are too few labels. */
  readonly accuracy: {
    readonly reference: number;
    readonly current: number;
    readonly p_value: number;
    readonly worse: boolean;
  } | null;
  /** Runs of this model that are dispatched or running. */
  readonly runs_active: number;
  readonly last_dispatch_ms: number | null;
  readonly runs_last_week: number;
  /** Money reserved or spent by runs of this policy in the current UTC month. */
  readonly spent_month_nano_usd: bigint;
  /** A person's word on this decision. */
  readonly approved_by: string | null;
};

/** Share of the rows that must be whole for a decision; below, the drift may be an outage of the telemetry. */
const COVERAGE_MIN_RATIO = 0.9;

/**
 * Judges all gates of a policy, every one recorded, also those behind the first that holds.
 * `defer` may pass later, `fail` ends the decision, `override` is a person's approval.
 */
export function judgeGates(policy: RetrainPolicy, situation: Situation): Gate[] {
  return [
    modeGate(policy),
    dataGate(policy, situation),
    hysteresisGate(policy, situation),
    evidenceGate(policy, situation),
    singleFlightGate(situation),
    cooldownGate(policy, situation),
    rateGate(policy, situation),
    budgetGate(policy, situation),
    expiryGate(policy, situation),
    approvalGate(policy, situation),
  ];
}

function modeGate(policy: RetrainPolicy): Gate {
  const result = policy.mode === 'off' ? 'fail' : 'pass';
  return { gate: 'mode', result, observed: policy.mode, threshold: 'not off', note: `policy ${policy.id}` };
}

function dataGate(policy: RetrainPolicy, { coverage_ratio, rows, labelled_rows }: Situation): Gate {
  const whole = coverage_ratio >= COVERAGE_MIN_RATIO;
  const labelled = labelled_rows >= policy.labels_min;
  return {
    gate: 'data_quality',
    result: whole && labelled ? 'pass' : 'defer',
    observed: `${rows} rows, ${labelled_rows} labelled, coverage ${coverage_ratio.toFixed(3)}`,
    threshold: `>= ${policy.labels_min} labelled, coverage >= ${COVERAGE_MIN_RATIO}`,
    note: whole
      ? labelled
        ? 'enough labelled rows since the drift began'
        : 'waiting for labels'
      : 'telemetry has holes',
  };
}

function hysteresisGate({ hysteresis }: RetrainPolicy, { windows_assessed, windows_drifted }: Situation): Gate {
  const result = windows_drifted >= hysteresis.drifted_min ? 'pass' : 'defer';
  return {
    gate: 'hysteresis',
    result,
    observed: `${windows_drifted} of the last ${windows_assessed} windows drift`,
    threshold: `>= ${hysteresis.drifted_min} of ${hysteresis.windows}`,
    note: result === 'pass' ? 'the drift persists' : 'one window is not enough',
  };
}

function evidenceGate(policy: RetrainPolicy, { accuracy }: Situation): Gate {
  if (policy.evidence === 'drift')
    return {
      gate: 'performance_evidence',
      result: 'pass',
      observed: accuracy === null ? 'not measured' : accuracy.current.toFixed(4),
      threshold: 'none',
      note: 'the policy asks for evidence of drift only',
    };
  const threshold = 'accuracy measurably below the reference';
  if (accuracy === null)
    return {
      gate: 'performance_evidence',
      result: 'defer',
      observed: 'not measured',
      threshold,
      note: 'too few labels to measure accuracy',
    };
  return {
    gate: 'performance_evidence',
    result: accuracy.worse ? 'pass' : 'defer',
    observed: `${accuracy.current.toFixed(4)} against ${accuracy.reference.toFixed(4)}, p ${accuracy.p_value.toExponential(1)}`,
    threshold,
    note: accuracy.worse ? 'accuracy really fell' : 'inputs moved, accuracy did not: retraining is not justified yet',
  };
}

function singleFlightGate({ runs_active }: Situation): Gate {
  return {
    gate: 'single_flight',
    result: runs_active === 0 ? 'pass' : 'defer',
    observed: `${runs_active} runs under way`,
    threshold: '0',
    note: runs_active === 0 ? 'no other run of this model' : 'another run of this model is under way',
  };
}

function cooldownGate({ cooldown_ms }: RetrainPolicy, { now_ms, last_dispatch_ms }: Situation): Gate {
  const since_ms = last_dispatch_ms === null ? null : now_ms - last_dispatch_ms;
  const over = since_ms === null || since_ms >= cooldown_ms;
  return {
    gate: 'cooldown',
    result: over ? 'pass' : 'defer',
    observed: since_ms === null ? 'no earlier dispatch' : `${spelled(since_ms)} since the last dispatch`,
    threshold: `>= ${spelled(cooldown_ms)}`,
    note: over ? 'cooldown is over' : `held back for another ${spelled(cooldown_ms - (since_ms ?? 0))}`,
  };
}

function rateGate({ runs_per_week_max }: RetrainPolicy, { runs_last_week }: Situation): Gate {
  return {
    gate: 'rate',
    result: runs_last_week < runs_per_week_max ? 'pass' : 'defer',
    observed: `${runs_last_week} runs in 7 days`,
    threshold: `< ${runs_per_week_max}`,
    note: 'runs of this model',
  };
}

function budgetGate(policy: RetrainPolicy, { spent_month_nano_usd }: Situation): Gate {
  const after = spent_month_nano_usd + policy.estimated_run_nano_usd;
  const result = after <= policy.budget_per_month_nano_usd ? 'pass' : 'defer';
  return {
    gate: 'budget',
    result,
    observed: `${dollars(after)} this month with this run`,
    threshold: `<= ${dollars(policy.budget_per_month_nano_usd)} a month`,
    note:
      result === 'pass' ? `${dollars(policy.estimated_run_nano_usd)} reserved` : 'the month has no room for this run',
  };
}

/** A duration for a sentence: its two largest units, `1 d 4 h`, `12 min 5 s`, `8 s`; below a second in ms. */
function spelled(duration_ms: number): string {
  if (duration_ms < 1_000) return `${Math.round(duration_ms)} ms`;
  const units: readonly (readonly [string, number])[] = [
    ['d', 86_400_000],
    ['h', 3_600_000],
    ['min', 60_000],
    ['s', 1_000],
  ];
  const first = units.findIndex(([, unit_ms]) => duration_ms >= unit_ms);
  let left_ms = duration_ms;
  const parts = units.slice(first, first + 2).flatMap(([name, unit_ms]) => {
    const count = Math.floor(left_ms / unit_ms);
    left_ms -= count * unit_ms;
    return count === 0 ? [] : [`${count} ${name}`];
  });
  return parts.join(' ');
}

/** Money for a sentence: dollars and cents, half-even. Sums are never made of these. */
function dollars(nano_usd: bigint): string {
  return `$${formatCents(divideHalfEven(nano_usd, NANO_PER_CENT))}`;
}

function expiryGate({ decision_ttl_ms }: RetrainPolicy, { now_ms, created_at_ms }: Situation): Gate {
  const age_ms = now_ms - created_at_ms;
  return {
    gate: 'expiry',
    result: age_ms < decision_ttl_ms ? 'pass' : 'fail',
    observed: `${spelled(age_ms)} old`,
    threshold: `< ${spelled(decision_ttl_ms)}`,
    note: age_ms < decision_ttl_ms ? 'the evidence is fresh' : 'nothing is dispatched on old evidence',
  };
}

function approvalGate(policy: RetrainPolicy, { approved_by }: Situation): Gate {
  const dear = policy.estimated_run_nano_usd > policy.approval_above_nano_usd;
  const needed = policy.mode !== 'auto' || dear;
  const common = { gate: 'approval', threshold: needed ? 'a person approves' : 'not needed' } as const;
  if (approved_by !== null)
    return { ...common, result: 'override', observed: approved_by, note: 'approved by a person' };
  if (!needed)
    return {
      ...common,
      result: 'pass',
      observed: `mode ${policy.mode}`,
      note: `a run costs at most ${dollars(policy.approval_above_nano_usd)}`,
    };
  const note = dear
    ? `a run above ${dollars(policy.approval_above_nano_usd)} needs a person`
    : `mode ${policy.mode} leaves it to a person`;
  return { ...common, result: 'defer', observed: 'nobody yet', note };
}
