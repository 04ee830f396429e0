import { expect, test } from 'vitest';
import type { StoredAlert } from '../../src/core/external-alert.ts';
import { integerBelow, seededRandom, shuffled } from '../../src/core/random.ts';
import { alertId, externalFindings, mergeAlert } from '../../src/incident/external.ts';
import type { AlertMessage } from '../../src/incident/external-message.ts';

const NOW_MS = Date.UTC(2026, 0, 1);
const MINUTE_MS = 60_000;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

function message(changes: Partial<AlertMessage> = {}): AlertMessage {
  return {
    labels: { alertname: 'NodeDown', instance: 'n1' },
    annotations: { summary: 'n1 is down' },
    generator_url: null,
    starts_ms: NOW_MS - 1000,
    ends_ms: null,
    ...changes,
  };
}

type Told = { readonly at_ms: number; readonly message: AlertMessage; readonly closes?: boolean };

/** What is known after messages, each merged at its own time. */
function known(told: readonly Told[]): StoredAlert {
  let alert: StoredAlert | null = null;
  for (const { at_ms, message: one } of told) alert = mergeAlert(alert, one, at_ms);
  if (alert === null) throw new Error('nothing was told');
  return alert;
}

const once = (changes: Partial<AlertMessage>, at_ms = NOW_MS): StoredAlert => mergeAlert(null, message(changes), at_ms);

test('one incident a label set whatever the order of labels, severity aside', () => {
  const [a, b, c, d] = [
    { alertname: 'A', instance: 'n1' },
    { instance: 'n1', alertname: 'A', severity: 'critical' },
    { alertname: 'A', instance: 'n2' },
    { alertname: 'A' },
  ].map((labels) => once({ labels }));
  expect(a?.key).toBe(b?.key);
  expect(new Set([a?.key, c?.key, d?.key]).size).toBe(3);
  expect(alertId({ a: '1', b: '2' })).toBe(alertId({ b: '2', a: '1' }));
  expect(alertId({ a: '1' })).not.toBe(alertId({ a: '1', severity: 'page' }));
});

test('critical and page page, everything else warns, what is over is clear', () => {
  const valueOf = (labels: Record<string, string>, changes: Partial<AlertMessage> = {}) =>
    externalFindings([once({ labels: { alertname: 'A', ...labels }, ...changes })], NOW_MS)[0]?.value;
  expect(['critical', 'Page', 'info', 'warning'].map((severity) => valueOf({ severity }))).toEqual([2, 2, 1, 1]);
  expect(valueOf({})).toBe(1);
  expect(valueOf({ severity: 'critical' }, { ends_ms: NOW_MS })).toBe(0);
});

test('an alert without an end holds for five minutes after its last message, one with an end until then', () => {
  const silent = known([
    { at_ms: NOW_MS, message: message() },
    { at_ms: NOW_MS + MINUTE_MS, message: message() },
  ]);
  expect(silent.ends_ms).toBe(NOW_MS + 6 * MINUTE_MS);
  expect(externalFindings([silent], NOW_MS + 6 * MINUTE_MS - 1)[0]?.value).toBe(1);
  expect(externalFindings([silent], NOW_MS + 6 * MINUTE_MS)[0]?.value).toBe(0);
  expect(once({ ends_ms: NOW_MS + MINUTE_MS }).ends_ms).toBe(NOW_MS + MINUTE_MS);
});

test('an end that the sender names replaces that of the timeout, even when it is earlier', () => {
  const told = [
    { at_ms: NOW_MS, message: message() },
    { at_ms: NOW_MS + 1, message: message({ ends_ms: NOW_MS + MINUTE_MS }) },
  ];
  expect(known(told)).toMatchObject({ ends_ms: NOW_MS + MINUTE_MS, timeout: false });
});

test('a past end closes, with and without a start, however long ago', () => {
  const firing = { at_ms: NOW_MS, message: message({ ends_ms: NOW_MS + 4 * MINUTE_MS }) };
  for (const [starts_ms, ends_ms] of [
    [NOW_MS - 1000, NOW_MS],
    [null, NOW_MS],
    [null, Date.UTC(2020, 0, 1)],
    [Date.UTC(2019, 0, 1), NOW_MS],
  ] as const) {
    const alert = known([firing, { at_ms: NOW_MS + 1, message: message({ starts_ms, ends_ms }) }]);
    expect([ends_ms, externalFindings([alert], NOW_MS + 1)[0]?.value]).toEqual([ends_ms, 0]);
  }
});

test('a close of the episode before does not end the one that fires now', () => {
  const alert = known([
    { at_ms: NOW_MS, message: message({ ends_ms: NOW_MS + MINUTE_MS }) },
    { at_ms: NOW_MS + 10, message: message({ ends_ms: NOW_MS + 5 }) },
    { at_ms: NOW_MS + 30, message: message({ starts_ms: NOW_MS + 20, ends_ms: NOW_MS + 2 * MINUTE_MS }) },
    { at_ms: NOW_MS + 40, message: message({ ends_ms: NOW_MS + 5 }) },
  ]);
  expect(alert).toMatchObject({ starts_ms: NOW_MS + 20, ends_ms: NOW_MS + 2 * MINUTE_MS });
});

test('a second sender of the same alert that still fires is believed', () => {
  const alert = known([
    { at_ms: NOW_MS, message: message({ ends_ms: NOW_MS + MINUTE_MS }) },
    { at_ms: NOW_MS + 10, message: message({ ends_ms: NOW_MS + 5 }) },
    { at_ms: NOW_MS + 20, message: message({ ends_ms: NOW_MS + MINUTE_MS + 20 }) },
  ]);
  expect(externalFindings([alert], NOW_MS + 20)[0]?.value).toBe(1);
});

test('a message that says nothing new leaves the very same object', () => {
  const firing = message({ ends_ms: NOW_MS + MINUTE_MS });
  const alert = mergeAlert(null, firing, NOW_MS);
  expect(mergeAlert(alert, firing, NOW_MS + 1)).toBe(alert);
  const closing = message({ ends_ms: NOW_MS + 2 });
  const over = mergeAlert(alert, closing, NOW_MS + 3);
  expect(mergeAlert(over, closing, NOW_MS + 4)).toBe(over);
  expect(mergeAlert(over, firing, NOW_MS + 5)).toBe(over);
});

/** An alert's life as Prometheus tells it: every minute until when it holds, at last that it is over; several episodes. */
function life(random: { next(): number }): Told[] {
  const told: Told[] = [];
  let now_ms = NOW_MS;
  for (let episode = 0; episode < 3; episode++) {
    const starts_ms = now_ms;
    const repeats = 1 + integerBelow(random, 5);
    for (let repeat = 0; repeat < repeats; repeat++, now_ms += MINUTE_MS)
      told.push({ at_ms: now_ms, message: message({ starts_ms, ends_ms: now_ms + 4 * MINUTE_MS }) });
    told.push({ at_ms: now_ms + 1, message: message({ starts_ms, ends_ms: now_ms }), closes: true });
    now_ms += 2 + integerBelow(random, 10 * MINUTE_MS);
  }
  return told.slice(0, told.length - integerBelow(random, 2)); // some lives end firing
}

test(`repeats change nothing, whenever and in whatever order they come (seed ${seed})`, () => {
  const random = seededRandom(seed);
  for (let run = 0; run < 300; run++) {
    const told = life(random);
    let alert: StoredAlert | null = null;
    let plain: StoredAlert | null = null;
    for (const [index, next] of told.entries()) {
      plain = mergeAlert(plain, next.message, next.at_ms);
      alert = mergeAlert(alert, next.message, next.at_ms);
      // a firing message that comes after its own end is a close to Alertmanager too: no repeat is that late here
      const soon = told.slice(0, index + 1).filter((old) => old.closes || (old.message.ends_ms ?? 0) > next.at_ms + 1);
      for (const old of shuffled(random, soon).slice(0, integerBelow(random, 4)))
        alert = mergeAlert(alert, old.message, next.at_ms + 1);
      const at_ms = next.at_ms + 1;
      expect({ run, index, over: alert.ends_ms <= at_ms }).toEqual({ run, index, over: plain.ends_ms <= at_ms });
      if (plain.ends_ms > at_ms) expect(alert.ends_ms).toBe(plain.ends_ms);
    }
  }
});

test('a label set that fires at two severities is one finding of the louder, until that one is over', () => {
  const warn = once({ labels: { alertname: 'A', severity: 'warning' }, ends_ms: NOW_MS + 9000 });
  const page = once({ labels: { alertname: 'A', severity: 'critical' }, ends_ms: NOW_MS + 5000 });
  for (const order of [
    [warn, page],
    [page, warn],
  ]) {
    const values = [0, 5000, 9000].map((after_ms) => externalFindings(order, NOW_MS + after_ms).map((f) => f.value));
    expect(values).toEqual([[2], [1], [0]]);
    expect(externalFindings(order, NOW_MS)[0]?.evidence['ends_at_ms']).toBe(NOW_MS + 9000);
  }
});

test('a title is the summary, the description or the name, whichever says something, and short', () => {
  const titleOf = (annotations: Record<string, string>) => externalFindings([once({ annotations })], NOW_MS)[0]?.title;
  expect(titleOf({ summary: 'S', description: 'D' })).toBe('S');
  expect(titleOf({ summary: '', description: 'D' })).toBe('D');
  expect(titleOf({})).toBe('NodeDown');
  expect(titleOf({ summary: 'x'.repeat(5000) })).toHaveLength(300);
});

test('a start in the future is not where the window begins', () => {
  const [finding] = externalFindings([once({ starts_ms: NOW_MS + 1e9 })], NOW_MS);
  expect(finding).toMatchObject({ window: { from_ms: NOW_MS, to_ms: NOW_MS }, started_at_ms: NOW_MS });
});
