import { readdir, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import type { SelftestReport } from '../../src/cli/selftest/report.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { LeewayProcess, processesWith, runLeeway, until } from './leeway-process.ts';

const ROUNDS = 12;
const seed = Number(process.env['LEEWAY_SEED'] ?? Date.now() % 1_000_000);

async function installations(): Promise<string[]> {
  return (await readdir(tmpdir())).filter((name) => name.startsWith('leeway-selftest-'));
}

test(`leeway selftest --faults: ${ROUNDS} kills and stalls, everything acknowledged is stored once (seed ${seed})`, async () => {
  await using directory = await scratchDirectory();
  const before = await installations();
  const argv = ['selftest', '--faults', '--rounds', String(ROUNDS), '--seed', String(seed), '--format', 'json'];
  const ran = await runLeeway(argv, directory.path);
  expect(ran.code, ran.err).toBe(0);
  const report = JSON.parse(ran.out) as SelftestReport; // the command's own document
  expect(report).toMatchObject({ proven: true, problems: [], faults: { rounds: ROUNDS, seed } });
  const { faults, account, sent } = report;
  const injected = Object.values(faults?.injected ?? {}).reduce((sum, count) => sum + count, 0);
  expect(injected).toBe(ROUNDS);
  expect(sent.batches).toBeGreaterThan(40);
  expect(account).toMatchObject({ stored: sent.records - sent.copied_records + 2, in_flight: 0, declared_loss: {} });
  expect((await installations()).filter((name) => !before.includes(name))).toEqual([]); // proven: removed
  console.log(
    `${JSON.stringify(faults?.injected)}: ${sent.batches} batches, ${sent.retried_batches} sent again after failures, ` +
      `${account?.duplicates_absorbed} duplicates absorbed, settled after ${report.settled_after_ms} ms`,
  );
}, 180_000);

test('a selftest with faults starts the embedded doors whatever the configuration names, and says what that does not cover', async () => {
  await using directory = await scratchDirectory();
  const config = {
    bus: { kind: 'kafka', brokers: ['127.0.0.1:1'] },
    control: { kind: 'postgres', url_file: 'absent' },
  };
  await writeFile(path.join(directory.path, 'leeway.config.json'), JSON.stringify(config));
  const ran = await runLeeway(['selftest', '--faults', '--rounds', '1', '--batches', '4'], directory.path);
  expect([ran.code, ran.out]).toEqual([0, expect.stringContaining('note: not covered: your Kafka, PostgreSQL; run ')]);
}, 120_000);

test('leeway selftest that is interrupted says that it has judged nothing, and its service of --faults is gone', async () => {
  await using directory = await scratchDirectory();
  await using selftest = new LeewayProcess(['selftest', '--faults', '--rounds', '100'], directory.path);
  await until(
    () => Promise.resolve(selftest.err),
    (said) => /fault 1 of 100/.test(said),
    30_000,
  );
  const own = /a service of its own in (\S+);/.exec(selftest.err)?.[1] ?? '';
  expect(await selftest.end('SIGINT')).toEqual({ code: 7, signal: null });
  expect(selftest.err).toContain('error[LW-TIMEOUT]: the selftest was stopped before it could judge');
  expect(selftest.err).toContain(`its data is kept in ${own}`);
  await until(
    () => Promise.resolve(processesWith(own)),
    (left) => left.length === 0,
    5_000,
  );
  await rm(own, { recursive: true, force: true });
}, 60_000);
