import { describe, expect, test } from 'vitest';
import { judgeOutcome, resolveDecision } from '../../src/retrain/decision.ts';
import type { GateName } from '../../src/core/retraining.ts';
import { judgeGates, type Situation } from '../../src/retrain/gates.ts';
import { policyFor, type RetrainPolicy } from '../../src/retrain/policy.ts';

const HOUR_MS = 3_600_000;
const NOW_MS = 1_767_225_600_000;

const policy: RetrainPolicy = {
  id: 'default',
  model: '*',
  mode: 'auto',
  hysteresis: { windows: 4, drifted_min: 3 },
  cooldown_ms: 24 * HOUR_MS,
  runs_per_week_max: 3,
  budget_per_month_nano_usd: 100_000_000_000n,
  estimated_run_nano_usd: 5_000_000_000n,
  labels_min: 500,
  approval_above_nano_usd: 50_000_000_000n,
  decision_ttl_ms: 24 * HOUR_MS,
  evidence: 'performance',
};

const good: Situation = {
  now_ms: NOW_MS,
  created_at_ms: NOW_MS - HOUR_MS,
  windows_assessed: 4,
  windows_drifted: 3,
  rows: 900,
  labelled_rows: 600,
  coverage_ratio: 1,
  accuracy: { reference: 0.96, current: 0.72, p_value: 1e-20, worse: true },
  runs_active: 0,
  last_dispatch_ms: null,
  runs_last_week: 0,
  spent_month_nano_usd: 0n,
  approved_by: null,
};

function decide(changes: Partial<Situation>, rules: Partial<RetrainPolicy> = {}) {
  const applied = { ...policy, ...rules };
  const gates = judgeGates(applied, { ...good, ...changes });
  return { ...resolveDecision(applied, gates), gates };
}

describe('gates of a retraining decision', () => {
  test('with everything in order all ten gates pass and the run is dispatched', () => {
    const { gates, state, dispatch } = decide({});
    expect(gates.map((gate) => gate.result)).toEqual(Array(10).fill('pass'));
    expect({ state, dispatch }).toEqual({ state: 'dispatched', dispatch: true });
  });

  test.each<[GateName, Partial<Situation>, string]>([
    ['data_quality', { labelled_rows: 499 }, 'one label short of labels_min'],
    ['data_quality', { coverage_ratio: 0.89 }, 'more than a tenth of the telemetry missing'],
    ['hysteresis', { windows_drifted: 2 }, 'two of four windows where three are asked'],
    ['performance_evidence', { accuracy: null }, 'accuracy not measured'],
    [
      'performance_evidence',
      { accuracy: { reference: 0.96, current: 0.95, p_value: 0.4, worse: false } },
      'accuracy unchanged',
    ],
    ['single_flight', { runs_active: 1 }, 'a run under way'],
    ['cooldown', { last_dispatch_ms: NOW_MS - 24 * HOUR_MS + 1 }, 'one millisecond before the cooldown ends'],
    ['rate', { runs_last_week: 3 }, 'three runs in the week'],
    ['budget', { spent_month_nano_usd: 95_000_000_001n }, 'a nano-dollar over the budget'],
  ])('%s defers the decision on %o', (name, changes) => {
    const { gates, state, dispatch } = decide(changes);
    expect(gates.filter((gate) => gate.result !== 'pass').map((gate) => [gate.gate, gate.result])).toEqual([
      [name, 'defer'],
    ]);
    expect({ state, dispatch }).toEqual({ state: 'deferred', dispatch: false });
  });

  test('the last allowed value of each bound passes', () => {
    const edge = {
      labelled_rows: 500,
      coverage_ratio: 0.9,
      last_dispatch_ms: NOW_MS - 24 * HOUR_MS,
      runs_last_week: 2,
      spent_month_nano_usd: 95_000_000_000n,
    };
    expect(decide(edge).dispatch).toBe(true);
  });

  test('a decision older than its time to live expires, whatever else holds', () => {
    expect(decide({ created_at_ms: NOW_MS - 24 * HOUR_MS, windows_drifted: 0 }).state).toBe('expired');
  });

  test('mode off suppresses, suggest suggests, approve waits for a person', () => {
    expect(decide({}, { mode: 'off' }).state).toBe('suppressed');
    expect(decide({}, { mode: 'suggest' }).state).toBe('suggested');
    expect(decide({}, { mode: 'approve' }).state).toBe('awaiting_approval');
  });

  test('a run above approval_above_usd needs a person even in mode auto; the approval is recorded as an override', () => {
    const dear = { estimated_run_nano_usd: 50_000_000_001n };
    expect(decide({}, dear).state).toBe('awaiting_approval');
    const approved = decide({ approved_by: 'mia' }, dear);
    expect(approved.dispatch).toBe(true);
    expect(approved.gates.find((gate) => gate.gate === 'approval')).toMatchObject({
      result: 'override',
      observed: 'mia',
    });
  });

  test('durations are said in their two largest units', () => {
    const { gates } = decide({ created_at_ms: NOW_MS - 8_400, last_dispatch_ms: NOW_MS - 3 * HOUR_MS - 120_000 });
    const said = (name: GateName) => gates.find((gate) => gate.gate === name);
    expect(said('expiry')).toMatchObject({ observed: '8 s old', threshold: '< 1 d' });
    expect(said('cooldown')).toMatchObject({
      observed: '3 h 2 min since the last dispatch',
      threshold: '>= 1 d',
      note: 'held back for another 20 h 58 min',
    });
  });

  test('an approval never overrides another gate', () => {
    expect(decide({ approved_by: 'mia', runs_active: 1 }, { mode: 'approve' }).state).toBe('deferred');
  });

  test('with evidence "drift" accuracy is recorded but not asked for', () => {
    expect(decide({ accuracy: null }, { evidence: 'drift' }).dispatch).toBe(true);
  });
});

describe('outcome after promotion', () => {
  const window = (drifted: boolean, accuracy_worse = false) => ({ from_ms: 0, to_ms: 1, drifted, accuracy_worse });

  test('nothing is said before enough windows are in', () => {
    expect(judgeOutcome(policy, [window(false), window(true), window(false)])).toBeNull();
  });

  test('confirmed when fewer than drifted_min of the windows drift', () => {
    expect(judgeOutcome(policy, [window(false), window(true), window(true), window(false)])).toBe('confirmed');
  });

  test('not fixed as soon as drifted_min windows drift or stay worse, and later windows change nothing', () => {
    expect(judgeOutcome(policy, [window(true), window(false, true), window(true)])).toBe('not_fixed');
    expect(judgeOutcome(policy, [window(true), window(true), window(false), window(false), window(true)])).toBe(
      'confirmed',
    );
  });
});

describe('policies', () => {
  test('the first policy whose pattern matches applies, and * matches any rest', () => {
    const named = { ...policy, id: 'named', model: 'digits-*' };
    expect(policyFor([named, policy], 'digits-v2')?.id).toBe('named');
    expect(policyFor([named, policy], 'digits')?.id).toBe('default');
    expect(policyFor([named], 'other')).toBeNull();
  });
});
