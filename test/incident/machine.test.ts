import { describe, expect, test } from 'vitest';
import type { Incident } from '../../src/core/incident.ts';
import { normal, seededRandom } from '../../src/core/random.ts';
import { incidentId, notificationId } from '../../src/incident/identity.ts';
import { type IncidentChange, kindOf, type Observation, resolved, step } from '../../src/incident/machine.ts';
import type { Rule } from '../../src/incident/rules.ts';
import { findingOf, ruleOf } from './fixtures.ts';

/** Observation at a time: a number is a finding's value, `x` no data, `e` could not be computed, `ok` looked and clear. */
type Moment = readonly [at_ms: number, what: number | 'x' | 'e' | 'ok'];

function observe(what: Moment[1]): Observation {
  if (what === 'x') return null;
  if (what === 'ok') return 'clear';
  return findingOf(what === 'e' ? null : what);
}

function play(rule: Rule, moments: readonly Moment[]): { states: string[]; told: string[]; last: Incident | null } {
  let incident: Incident | null = null;
  const states: string[] = [];
  const told: string[] = [];
  for (const [at_ms, what] of moments) {
    const result: { incident: Incident | null; events: readonly IncidentChange[] } = step(
      incident,
      rule,
      observe(what),
      at_ms,
    );
    incident = result.incident;
    states.push(incident?.state ?? '-');
    for (const { kind, tells } of result.events) if (tells !== null) told.push(`${at_ms} ${kind}`);
  }
  return { states, told, last: incident };
}

const held = { for_ms: 100, keep_firing_ms: 200, reopen_ms: 1000, no_data_resolve_ms: 500 };

describe('states over time, fire above 0.2, clear below 0.1', () => {
  test.each<[string, Partial<Rule>, Moment[], string[], string[]]>([
    [
      'a value that does not fire opens nothing',
      {},
      [
        [0, 0.2],
        [1, 0.15],
        [2, 'x'],
      ],
      ['-', '-', '-'],
      [],
    ],
    ['without for_ms the first breach opens', {}, [[0, 0.3]], ['firing'], ['0 opened']],
    [
      'with for_ms the condition must hold',
      held,
      [
        [0, 0.3],
        [99, 0.3],
        [100, 0.3],
      ],
      ['pending', 'pending', 'firing'],
      ['100 opened'],
    ],
    [
      'a break while pending starts anew',
      held,
      [
        [0, 0.3],
        [50, 0.1],
        [60, 0.3],
        [110, 0.3],
      ],
      ['pending', '-', 'pending', 'pending'],
      [],
    ],
    [
      'between the thresholds a pending incident ends',
      held,
      [
        [0, 0.3],
        [50, 0.15],
      ],
      ['pending', '-'],
      [],
    ],
    [
      'a gap shorter than for_ms keeps it pending',
      held,
      [
        [0, 0.3],
        [50, 'x'],
        [100, 0.3],
      ],
      ['pending', 'pending', 'firing'],
      ['100 opened'],
    ],
    [
      'a gap longer than for_ms ends what is pending',
      held,
      [
        [0, 0.3],
        [150, 'x'],
      ],
      ['pending', '-'],
      [],
    ],
    [
      'between the thresholds a firing incident stays',
      {},
      [
        [0, 0.3],
        [1, 0.15],
        [2, 0.11],
      ],
      ['firing', 'firing', 'firing'],
      ['0 opened'],
    ],
    [
      'at the clear threshold itself it stays',
      {},
      [
        [0, 0.3],
        [1, 0.1],
      ],
      ['firing', 'firing'],
      ['0 opened'],
    ],
    [
      'below the clear threshold it resolves at once without keep_firing_ms',
      {},
      [
        [0, 0.3],
        [1, 0.09],
      ],
      ['firing', 'resolved'],
      ['0 opened', '1 resolved'],
    ],
    [
      'an engine that looked and saw nothing clears it too',
      {},
      [
        [0, 0.3],
        [1, 'ok'],
      ],
      ['firing', 'resolved'],
      ['0 opened', '1 resolved'],
    ],
    [
      'a recovery must hold for keep_firing_ms',
      { keep_firing_ms: 200 },
      [
        [0, 0.3],
        [10, 0],
        [209, 0],
        [210, 0],
      ],
      ['firing', 'recovering', 'recovering', 'resolved'],
      ['0 opened', '210 resolved'],
    ],
    [
      'a relapse while recovering tells nobody',
      { keep_firing_ms: 200 },
      [
        [0, 0.3],
        [10, 0],
        [100, 0.3],
        [110, 0],
        [310, 0],
      ],
      ['firing', 'recovering', 'firing', 'recovering', 'resolved'],
      ['0 opened', '310 resolved'],
    ],
    [
      'between the thresholds the hold of a recovery starts again',
      { keep_firing_ms: 200 },
      [
        [0, 0.3],
        [10, 0],
        [100, 0.15],
        [210, 0],
        [300, 0],
      ],
      ['firing', 'recovering', 'recovering', 'recovering', 'resolved'],
      ['0 opened', '300 resolved'],
    ],
    [
      'no data keeps it open',
      {},
      [
        [0, 0.3],
        [10, 'x'],
        [20, 0.3],
      ],
      ['firing', 'no_data', 'firing'],
      ['0 opened'],
    ],
    [
      'what could not be computed keeps it open and is told apart from no data',
      {},
      [
        [0, 0.3],
        [10, 'e'],
        [20, 'x'],
      ],
      ['firing', 'error', 'no_data'],
      ['0 opened'],
    ],
    [
      'no data for no_data_resolve_ms ends it',
      held,
      [
        [0, 0.3],
        [100, 0.3],
        [200, 'x'],
        [699, 'x'],
        [700, 'x'],
      ],
      ['pending', 'firing', 'no_data', 'no_data', 'resolved'],
      ['100 opened', '700 resolved'],
    ],
    [
      'a relapse inside the reopen window reopens the same incident',
      { reopen_ms: 1000 },
      [
        [0, 0.3],
        [1, 0],
        [1001, 0.3],
      ],
      ['firing', 'resolved', 'firing'],
      ['0 opened', '1 resolved', '1001 reopened'],
    ],
    [
      'for_ms holds for a relapse too',
      held,
      [
        [0, 0.3],
        [100, 0.3],
        [200, 0],
        [400, 0],
        [500, 0.3],
        [600, 0.3],
      ],
      ['pending', 'firing', 'recovering', 'resolved', 'resolved', 'firing'],
      ['100 opened', '400 resolved', '600 reopened'],
    ],
  ])('%s', (_title, changes, moments, states, told) => {
    const played = play(ruleOf(changes), moments);
    expect(played.states).toEqual(states);
    expect(played.told).toEqual(told);
  });

  test('a fault that is older than for_ms opens when it is first seen, a younger one when it has lasted', () => {
    const rule = ruleOf(held);
    const seen = (started_at_ms: number, now_ms: number) =>
      step(null, rule, findingOf(0.3, { started_at_ms }), now_ms).incident;
    expect(seen(899, 1000)?.state).toBe('firing');
    expect(seen(900, 1000)?.state).toBe('firing');
    expect(seen(901, 1000)?.state).toBe('pending');
    expect(seen(5000, 1000)?.breach_since_ms).toBe(1000); // a clock ahead of ours
    const pending = seen(950, 1000);
    expect(step(pending, rule, findingOf(0.3, { started_at_ms: 950 }), 1050).incident?.state).toBe('firing');
  });

  test('thresholds the other way round: fire below 0.9, clear above 0.95', () => {
    const rule = ruleOf({ fire: { below: 0.9 }, clear: { above: 0.95 } });
    const played = play(rule, [
      [0, 0.9],
      [1, 0.89],
      [2, 0.93],
      [3, 0.96],
    ]);
    expect(played.states).toEqual(['-', 'firing', 'firing', 'resolved']);
  });
});

test('a relapse keeps the id and after the reopen window a new incident opens', () => {
  const rule = ruleOf({ reopen_ms: 1000 });
  const first = play(rule, [[0, 0.3]]).last;
  const relapse = play(rule, [
    [0, 0.3],
    [1, 0],
    [900, 0.3],
  ]).last;
  const later = play(rule, [
    [0, 0.3],
    [1, 0],
    [1002, 0.3],
  ]).last;
  expect(relapse?.id).toBe(first?.id);
  expect(relapse?.relapses).toBe(1);
  expect(relapse?.resolved_at_ms).toBeNull();
  expect(later?.id).not.toBe(first?.id);
  expect(later?.opened_at_ms).toBe(1002);
});

test('after the reopen window judgement stops looking at a resolved incident', () => {
  const rule = ruleOf({ reopen_ms: 1000 });
  expect(
    play(rule, [
      [0, 0.3],
      [1, 0],
      [500, 'ok'],
    ]).last?.watched,
  ).toBe(1);
  expect(
    play(rule, [
      [0, 0.3],
      [1, 0],
      [1002, 'ok'],
    ]).last?.watched,
  ).toBe(0);
});

test('too few rows or too little coverage is no data, never an opening and never a recovery', () => {
  const rule = ruleOf({ data_min: 50, coverage_min_ratio: 0.8 });
  expect(step(null, rule, findingOf(0.9, { data_count: 49 }), 0).incident).toBeNull();
  expect(step(null, rule, findingOf(0.9, { coverage_ratio: 0.79 }), 0).incident).toBeNull();
  const { incident } = step(null, rule, findingOf(0.9, { data_count: 50, coverage_ratio: 0.8 }), 0);
  expect(incident?.state).toBe('firing');
  expect(step(incident, rule, findingOf(0, { data_count: 49 }), 1).incident?.state).toBe('no_data');
});

test('an infinite or undefined number is an error, not a breach', () => {
  const { incident } = step(null, ruleOf(), findingOf(0.9), 0);
  expect(step(null, ruleOf(), findingOf(Number.POSITIVE_INFINITY), 0).incident).toBeNull();
  expect(step(incident, ruleOf(), findingOf(Number.NaN), 1).incident?.state).toBe('error');
});

test('beyond the page threshold a warning escalates once, and an acknowledgement no longer holds', () => {
  const rule = ruleOf({ page: { above: 0.5 } });
  const { incident } = step(null, rule, findingOf(0.3), 0);
  expect(incident?.severity).toBe('warn');
  const acknowledged =
    incident === null ? null : { ...incident, status: 'acknowledged' as const, acknowledged_by: 'ann' };
  const up = step(acknowledged, rule, findingOf(0.6), 1);
  expect(up.events.map(({ kind, tells }) => [kind, tells])).toEqual([['escalated', 'escalated']]);
  expect(up.incident).toMatchObject({ severity: 'page', status: 'open', acknowledged_by: null });
  const down = step(up.incident, rule, findingOf(0.3), 2);
  expect(down.events).toEqual([]);
  expect(down.incident?.severity).toBe('page');
  expect(step(down.incident, rule, findingOf(0.6), 3).events).toEqual([]);
});

test('an incident that opens beyond the page threshold is a page from the start', () => {
  const { incident, events } = step(null, ruleOf({ page: { above: 0.5 } }), findingOf(0.6), 0);
  expect(incident?.severity).toBe('page');
  expect(events.map(({ kind }) => kind)).toEqual(['opened']);
});

test('what a person resolved while the fault shows stays resolved until it was seen to be gone', () => {
  const rule = ruleOf({ reopen_ms: 1000 });
  const { incident } = step(null, rule, findingOf(0.3), 0);
  if (incident === null) throw new Error('expected an incident');
  const closed = { ...resolved(incident, 10, 'by ann').incident, latched: true };
  const still = step(closed, rule, findingOf(0.3), 20);
  expect(still.incident?.state).toBe('resolved');
  expect(still.events).toEqual([]);
  const gone = step(still.incident, rule, findingOf(0), 30);
  const back = step(gone.incident, rule, findingOf(0.3), 40);
  expect(back.incident).toMatchObject({ state: 'firing', id: incident.id });
});

test('the incident says what the newest finding that showed the fault said, and keeps the first known start', () => {
  const { incident } = step(null, ruleOf(), findingOf(0.3), 0);
  const next = step(
    incident,
    ruleOf(),
    findingOf(0.5, { title: 'worse', started_at_ms: 700, usd_lost: '1.00' }),
    10,
  ).incident;
  expect(next).toMatchObject({ title: 'worse', started_at_ms: 500, usd_lost: '1.00', updated_at_ms: 10 });
  expect(next?.findings).toEqual([
    {
      name: 'straggler.slow_rank',
      value: 0.5,
      threshold: 0.2,
      window: { from_ms: 0, to_ms: 1000 },
      evidence: { clock_ratio: 0.7 },
    },
  ]);
  const over = step(next, ruleOf(), findingOf(0, { title: 'fine now', usd_lost: '1.20' }), 20).incident;
  expect(over).toMatchObject({ title: 'worse', usd_lost: '1.20', state: 'resolved', resolved_at_ms: 20 });
});

test('a value that flaps for a day every ten seconds tells a bounded number of times', () => {
  // hold after relapse k: 60 s * 2^k, at most 32 * 60 s = 1,920 s. A reopening needs a resolution before it, which needs
  // that long of clear values; random values are clear for 1,920 s = 192 draws in a row with probability 2^-192.
  const rule = ruleOf({ keep_firing_ms: 0, reopen_ms: 3_600_000 });
  for (const seed of [1, 2, 3, 4, 5]) {
    const random = seededRandom(seed);
    const moments = Array.from({ length: 8640 }, (_, index): Moment => [index * 10_000, random.next() < 0.5 ? 0.3 : 0]);
    const { told } = play(rule, moments);
    expect(told.length, `seed ${seed}: ${told.length} notifications`).toBeLessThanOrEqual(10);
  }
});

test('a slow flapping, one minute bad and two minutes good, tells three times and then stays open', () => {
  // every third minute is bad; judged every 20 s the good values are seen over 100 s. The first time no hold is asked
  // for: resolved. After that relapse a recovery must hold 60 s * 2 = 120 s, which never comes: opened, resolved, reopened.
  const moments = Array.from({ length: 4320 }, (_, index): Moment => [index * 20_000, index % 9 < 3 ? 0.3 : 0]);
  expect(play(ruleOf({ keep_firing_ms: 0, reopen_ms: 3_600_000 }), moments).told).toHaveLength(3);
});

test('for any sequence of values the states obey: opened before resolved, alternating, and never a page that was not told', () => {
  for (const seed of [10, 11, 12, 13]) {
    const random = seededRandom(seed);
    const rule = ruleOf({ for_ms: 30, keep_firing_ms: 50, reopen_ms: 400, page: { above: 0.4 } });
    let incident: Incident | null = null;
    let open = false;
    for (let at_ms = 0; at_ms < 20_000; at_ms += 10) {
      const draw = random.next();
      const observation: Observation =
        draw < 0.1 ? null : draw < 0.2 ? 'clear' : findingOf(0.15 + 0.15 * normal(random));
      const result: { incident: Incident | null; events: readonly IncidentChange[] } = step(
        incident,
        rule,
        observation,
        at_ms,
      );
      incident = result.incident;
      for (const { tells } of result.events) {
        if (tells === 'opened') expect(open, `seed ${seed} at ${at_ms}`).toBe(false);
        if (tells === 'resolved' || tells === 'escalated') expect(open, `seed ${seed} at ${at_ms}`).toBe(true);
        if (tells !== null) open = tells !== 'resolved';
      }
      expect(incident?.status === 'resolved', `seed ${seed} at ${at_ms}`).toBe(incident?.state === 'resolved');
    }
  }
});

test('ids depend on rule, key and opening alone, and notifications of one event differ by destination', () => {
  expect(incidentId('r', 'k', 1)).toBe(incidentId('r', 'k', 1));
  expect(
    new Set([incidentId('r', 'k', 1), incidentId('r', 'k', 2), incidentId('r', 'k2', 1), incidentId('rk', '', 1)]).size,
  ).toBe(4);
  expect(notificationId('incident/a', '1', 'ops')).not.toBe(notificationId('incident/a', '1', 'chat'));
  expect(notificationId('incident/a', '1', 'ops')).toMatch(/^msg_[0-9a-f]{32}$/);
});

test('the kind of an incident is the straggler kind, or the area of the finding', () => {
  expect(
    ['straggler.slow_rank', 'straggler.hang', 'drift.features', 'quality.accuracy', 'external.alert'].map(kindOf),
  ).toEqual(['slow_rank', 'hang', 'drift', 'quality', 'external']);
});
