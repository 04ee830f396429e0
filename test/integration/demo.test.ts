import { existsSync } from 'node:fs';
import { readFile, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { DRIFT_KINDS } from '../../demo/drifts.ts';
import type { DemoReport } from '../../demo/report.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { descendantsOf, type Exit, LeewayProcess, until, untilGone } from './leeway-process.ts';

const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);
/** Contract: found within 30 s, the whole loop within 150 s. */
const DETECTED_S_MAX = 30;
const DEMO_MS_MAX = 150_000;

const seconds = expect.any(Number);
const nano_usd = expect.stringMatching(/^[0-9]+$/);
const whole = expect.toSatisfy((value: unknown) => Number.isSafeInteger(value), 'a whole number');

/** The shape of the report: every field of the contract, and no unknown one that a reader might come to rely on. */
const SHAPE = {
  version: 1,
  seed,
  training: {
    ranks: 4,
    slow_rank: whole,
    detected_rank: whole,
    detected_after_s: seconds,
    cleared_after_s: seconds,
    false_incidents: 0,
  },
  serving: {
    drift: expect.toBeOneOf([...DRIFT_KINDS]),
    accuracy_before: seconds,
    accuracy_drifted: seconds,
    accuracy_after: seconds,
    detected_after_s: seconds,
    decision: 'confirmed',
    gates: expect.any(Array),
    retrained_version: expect.any(String),
    confirmed: true,
  },
  cost: { billed_nano_usd: nano_usd, allocated_nano_usd: nano_usd, idle_nano_usd: nano_usd },
  delivery: { emitted: whole, stored: whole, duplicates: 0, declared_loss: 0 },
  notifications: expect.any(Array),
};

const GATES = [
  'mode',
  'data_quality',
  'hysteresis',
  'performance_evidence',
  'single_flight',
  'cooldown',
  'rate',
  'budget',
  'expiry',
  'approval',
];

function judge(report: DemoReport): void {
  expect(report).toEqual(SHAPE);
  const { training, serving, cost, delivery, notifications } = report;
  expect(training.slow_rank).toBeLessThan(training.ranks);
  expect(training.detected_rank).toBe(training.slow_rank);
  for (const detected_s of [training.detected_after_s, serving.detected_after_s]) {
    expect(detected_s).toBeGreaterThan(0);
    expect(detected_s).toBeLessThanOrEqual(DETECTED_S_MAX);
  }
  expect(training.cleared_after_s).toBeGreaterThan(0);
  // the drift costs accuracy, the retraining brings it back on the same drifted inputs
  const [before, drifted, after] = [serving.accuracy_before, serving.accuracy_drifted, serving.accuracy_after];
  for (const accuracy of [before, drifted, after]) expect(accuracy).toBeLessThanOrEqual(1);
  expect(drifted).toBeLessThan(before ?? 0);
  expect(after).toBeGreaterThan(drifted ?? 1);
  expect(after).toBeGreaterThanOrEqual((before ?? 1) - 0.05);
  expect(serving.gates).toEqual(GATES.map((gate) => expect.objectContaining({ gate, result: 'pass' })));
  expect(serving.retrained_version).not.toBe('1');
  // to the nano-dollar
  const billed = BigInt(cost.billed_nano_usd ?? 0);
  expect(BigInt(cost.allocated_nano_usd ?? 0) + BigInt(cost.idle_nano_usd ?? 0)).toBe(billed);
  expect(billed).toBeGreaterThan(0n);
  expect(delivery.stored).toBe(delivery.emitted);
  expect(delivery.emitted).toBeGreaterThan(1_000);
  judgeNotifications(notifications);
}

/** Both incidents were told to each kind of destination, everything arrived. */
function judgeNotifications(notifications: DemoReport['notifications']): void {
  for (const item of notifications)
    expect(item).toEqual({ sink: expect.any(String), kind: expect.any(String), status: 'delivered' });
  for (const sink of ['webhook', 'slack', 'pagerduty', 'alertmanager'])
    expect(notifications, sink).toContainEqual(expect.objectContaining({ sink }));
  const kinds = new Set(notifications.filter(({ sink }) => sink === 'webhook').map(({ kind }) => kind));
  for (const kind of ['leeway.incident.opened', 'leeway.incident.resolved']) expect(kinds).toContain(kind);
}

test(
  `leeway demo finds what it plants, retrains, accounts for every record and dollar, and leaves nothing behind (seed ${seed})`,
  async () => {
    await using directory = await scratchDirectory();
    const report_path = join(directory.path, 'report.json');
    const began_ms = performance.now();
    const argv = ['demo', '--headless', '--exit', '--report', report_path, '--port', '0', '--seed', String(seed)];
    await using demo = new LeewayProcess(argv, directory.path);
    const family = new Set<number>();
    const watch = setInterval(() => {
      for (const pid of descendantsOf(demo.pid)) family.add(pid);
    }, 1_000);
    const exit: Exit = await demo.exited;
    clearInterval(watch);
    const duration_ms = performance.now() - began_ms;
    const text = existsSync(report_path) ? await readFile(report_path, 'utf8') : 'none';
    const said = `seed ${seed}\n${demo.out}${demo.err}\nreport: ${text}`;
    expect(exit, said).toEqual({ code: 0, signal: null });
    try {
      judge(JSON.parse(text) as DemoReport); // the contract's shape, judged field by field
      expect(duration_ms).toBeLessThanOrEqual(DEMO_MS_MAX);
      const data = /data in (\S+)/.exec(demo.err)?.[1];
      expect(data).toContain('leeway-demo-');
      expect(existsSync(data ?? '')).toBe(false);
      // 4 ranks, the model server, its client, the trainer, the service and its store
      expect(family.size).toBeGreaterThanOrEqual(9);
      await untilGone([...family], 0);
    } catch (error) {
      console.error(said);
      throw error;
    }
    console.log(`${(duration_ms / 1_000).toFixed(1)} s\n${demo.err}`);
  },
  DEMO_MS_MAX + 30_000,
);

test('leeway demo stopped by Ctrl-C ends every process it started', async () => {
  await using directory = await scratchDirectory();
  await using demo = new LeewayProcess(['demo', '--headless', '--port', '0', '--seed', String(seed)], directory.path);
  const data = await new Promise<string>((resolve, reject) => {
    const look = setInterval(() => {
      const place = /data in (\S+)/.exec(demo.err)?.[1];
      if (place === undefined || !demo.err.includes('have joined their ring')) return;
      clearInterval(look);
      resolve(place);
    }, 50);
    void demo.exited.then(() => {
      clearInterval(look);
      reject(new Error(demo.err));
    });
  });
  const family = descendantsOf(demo.pid);
  expect(family.length).toBeGreaterThanOrEqual(7); // 4 ranks, the model server, the service and its store
  const exit = await demo.end('SIGINT');
  expect(exit, demo.err).toEqual({ code: 0, signal: null });
  await untilGone(family, 0);
  expect(existsSync(data)).toBe(false);
}, 90_000);

test.each(['SIGTERM'] as const)(
  'leeway demo --exit that is stopped by %s did not find what it was asked to find: exit 1, with a report',
  async (signal) => {
    await using directory = await scratchDirectory();
    const path = join(directory.path, 'report.json');
    const argv = ['demo', '--headless', '--exit', '--port', '0', '--report', path];
    await using demo = new LeewayProcess(argv, directory.path);
    await until(
      async () => demo.err,
      (err) => err.includes('its console is at'),
      60_000,
    );
    const started = descendantsOf(demo.pid);
    expect(await demo.end(signal)).toEqual({ code: 1, signal: null });
    expect(demo.err).toContain(`FAILED: stopped by ${signal} before the loop was closed`);
    expect(JSON.parse(await readFile(path, 'utf8'))).toMatchObject({ version: 1, serving: { confirmed: null } });
    await untilGone(started, 10_000);
    await rm(/kept in (\S+)/.exec(demo.err)?.[1] ?? path, { recursive: true });
  },
);
