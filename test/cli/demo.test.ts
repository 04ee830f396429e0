import { readdirSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { expect, test } from 'vitest';
import { type DemoReport, emptyReport, failuresOf } from '../../demo/report.ts';
import { command } from '../../src/cli/demo.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { runIn } from './terminal.ts';

test.each([
  [['--ranks', '2'], 'option --ranks is "2", expected a whole number from 3 to 7'],
  [['--ranks', '8'], 'option --ranks is "8", expected a whole number from 3 to 7'],
  [['--ranks', '4.5'], 'option --ranks is "4.5", expected a whole number from 3 to 7'],
  [['--slow-rank', '4'], 'option --slow-rank is "4", expected a whole number from 0 to 3'],
  [['--ranks', '5', '--slow-rank', '5'], 'option --slow-rank is "5", expected a whole number from 0 to 4'],
  [['--seed', '-1'], 'option --seed is "-1", expected a whole number from 0 to 2147483648'],
  [['--port', '65536'], 'option --port is "65536", expected a whole number from 0 to 65535'],
  [['--drift', 'sideways'], 'option --drift is "sideways", expected one of '],
])('leeway demo %j is refused before anything starts, exit 2', async (argv, expected) => {
  await using directory = await scratchDirectory();
  const before = demoDirectories();
  const ran = await runIn(directory.path, command, ['--headless', '--exit', ...argv]);
  expect([ran.exit, ran.out, ran.err]).toEqual([2, '', '']);
  expect(ran.error?.message).toContain(expected);
  expect(ran.error?.message).toContain('see "leeway demo --help"');
  expect(demoDirectories()).toEqual(before);
});

function demoDirectories(): string[] {
  return readdirSync(tmpdir()).filter((name) => name.startsWith('leeway-demo-'));
}

/** A run in which everything was found. */
function success(): DemoReport {
  const empty = emptyReport({ seed: 1, ranks: 4, slow_rank: 2, drift: 'rotate' });
  return {
    ...empty,
    training: { ...empty.training, detected_rank: 2, detected_after_s: 8.4, cleared_after_s: 6.1 },
    serving: {
      ...empty.serving,
      accuracy_before: 0.97,
      accuracy_drifted: 0.61,
      accuracy_after: 0.95,
      detected_after_s: 7,
      decision: 'confirmed',
      retrained_version: '2',
      confirmed: true,
    },
    cost: { billed_nano_usd: '12', allocated_nano_usd: '7', idle_nano_usd: '5' },
    delivery: { emitted: 9_000, stored: 9_000, duplicates: 0, declared_loss: 0 },
    notifications: [{ sink: 'webhook', kind: 'leeway.incident.opened', status: 'delivered' }],
  };
}

test('a run in which everything was found has no failure', () => {
  expect(failuresOf(success())).toEqual([]);
});

test('a run in which nothing happened fails on every account', () => {
  expect(failuresOf(emptyReport({ seed: 1, ranks: 4, slow_rank: 0, drift: 'rotate' })).length).toBeGreaterThanOrEqual(
    9,
  );
});

/** One thing planted wrong into an otherwise good report, and the failure that must name it. */
const PLANTED: readonly (readonly [string, (report: DemoReport) => object, RegExp])[] = [
  [
    'another rank named',
    ({ training }) => ({ training: { ...training, detected_rank: 1 } }),
    /slow rank 2 .*, 1 detected/,
  ],
  ['an incident that stays', ({ training }) => ({ training: { ...training, cleared_after_s: null } }), /did not clear/],
  ['a false incident', ({ training }) => ({ training: { ...training, false_incidents: 1 } }), /1 false incidents/],
  [
    'an undetected drift',
    ({ serving }) => ({ serving: { ...serving, detected_after_s: null } }),
    /rotate was not detected/,
  ],
  [
    'no new version',
    ({ serving }) => ({ serving: { ...serving, retrained_version: null } }),
    /no version was retrained/,
  ],
  ['no confirmation', ({ serving }) => ({ serving: { ...serving, confirmed: false } }), /not confirmed/],
  ['harmless drift', ({ serving }) => ({ serving: { ...serving, accuracy_drifted: 0.97 } }), /accuracy did not fall/],
  ['a bad retraining', ({ serving }) => ({ serving: { ...serving, accuracy_after: 0.91 } }), /did not come back/],
  ['a nano-dollar too few', ({ cost }) => ({ cost: { ...cost, idle_nano_usd: '4' } }), /does not add up/],
  [
    'a bill of nothing',
    () => ({ cost: { billed_nano_usd: '0', allocated_nano_usd: '0', idle_nano_usd: '0' } }),
    /add up/,
  ],
  [
    'a lost record',
    ({ delivery }) => ({ delivery: { ...delivery, stored: 8_999 } }),
    /9000 records emitted, 8999 stored/,
  ],
  ['a doubled record', ({ delivery }) => ({ delivery: { ...delivery, duplicates: 1 } }), /1 duplicates/],
  ['a declared loss', ({ delivery }) => ({ delivery: { ...delivery, declared_loss: 3 } }), /3 records declared lost/],
  ['nobody told', () => ({ notifications: [] }), /0 of 0 notifications not delivered/],
  [
    'a notification that failed',
    ({ notifications }) => ({ notifications: [...notifications, { sink: 'slack', kind: 'x', status: 'failed' }] }),
    /1 of 2 notifications not delivered/,
  ],
];

test.each(PLANTED)('a report with %s fails on that alone', (_what, change, expected) => {
  const report = success();
  const failures = failuresOf({ ...report, ...change(report) });
  expect(failures).toEqual([expect.stringMatching(expected)]);
});
