import { readFile, writeFile } from 'node:fs/promises';
import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { collector } from '../../collectors/nvidia.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { OpenCollector } from '../../src/core/define.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { QUERY_GPU_FIELDS } from '../../src/formats/nvidia-smi-query.ts';
import { describeCollector, openAt, type Place } from '../contract/collector.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { gpuRow, type StandInOptions, writeStandIn } from './nvidia-stand-in.ts';

const signal = new AbortController().signal;

/** A machine whose nvidia-smi is a stand-in with the given behaviour. */
async function machine(
  options: StandInOptions = {},
): Promise<Place & { readonly clock: ManualClock; readonly starts: () => string[] }> {
  const directory = await scratchDirectory();
  const command = await writeStandIn(directory.path, { period_ms: 5, ...options });
  const starts = (): string[] =>
    existsSync(`${command}.starts`) ? readFileSync(`${command}.starts`, 'utf8').trim().split('\n') : [];
  return {
    settings: { command },
    clock: new ManualClock(),
    feed: turn,
    starts,
    isHeld: async () => starts().some((line) => isAlive(Number(line.split(' ')[0]))),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    return false; // no such process
  }
}

/** A real process answers in real time. */
function turn(): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, 10));
}

/** Reads until `enough` says so; all records and the outcomes that were not ok. */
async function readUntil(
  opened: OpenCollector,
  enough: (seen: { records: LeewayRecord[]; others: string[] }) => boolean,
  each: () => Promise<void> = turn,
): Promise<{ records: LeewayRecord[]; others: string[] }> {
  const seen = { records: [] as LeewayRecord[], others: [] as string[] };
  for (let reading = 0; reading < 500 && !enough(seen); reading++) {
    const outcome = await opened.collect(signal);
    if (outcome.kind === 'ok') seen.records.push(...outcome.value);
    else seen.others.push(`${outcome.kind} ${outcome.code}`);
    await each();
  }
  return seen;
}

describeCollector({
  collector,
  present: () => machine({ gpus: 2 }),
  absent: async () => ({ ...(await machine()), settings: { command: '/nowhere/nvidia-smi' } }),
});

test('a row becomes a record in the units of the contract, stamped when it arrived', async () => {
  await using place = await machine();
  await using opened = await openAt(collector, place);
  const { records } = await readUntil(opened, (seen) => seen.records.length > 0);
  expect(records[0]).toEqual({
    type: 'gpu',
    node: 'node-1',
    gpu: 0,
    at_ms: place.clock.now_ms(),
    utilization: 0.97, // 97 %
    memory_used_bytes: 41_943_040_000, // 40,000 MiB × 1,048,576
    memory_total_bytes: 85_520_809_984, // 81,559 MiB × 1,048,576
    sm_clock_mhz: 1980,
    sm_clock_max_mhz: 1980,
    temperature_c: 63,
    power_w: 612.34,
    ecc_uncorrected: 0,
    pcie_generation: 5,
    pcie_width: 16,
    throttle: [],
  });
});

test('the program is asked at the interval of the configuration for the fields that its own help names', async () => {
  const fields = ['index', 'utilization.gpu', 'clocks_throttle_reasons.hw_slowdown'];
  await using place = await machine({ fields });
  await using opened = await openAt(collector, { ...place, settings: { ...place.settings, interval_ms: 250 } });
  const { records } = await readUntil(opened, (seen) => seen.records.length > 0);
  expect(place.starts()).toHaveLength(1);
  expect(place.starts()[0]).toContain(`--query-gpu=${fields.join(',')} --format=csv,noheader,nounits -lms 250`);
  expect(records[0]).not.toHaveProperty('power_w');
});

test('values that the driver does not have are left out with their reason', async () => {
  const row = gpuRow(0, {
    'power.draw': '[N/A]',
    'power.draw.average': '[N/A]',
    'power.draw.instant': '[N/A]',
    'temperature.gpu': '[GPU is lost]',
  });
  await using place = await machine({ script: [[row]] });
  await using opened = await openAt(collector, place);
  const { records } = await readUntil(opened, (seen) => seen.records.length > 0);
  expect(records[0]).toMatchObject({ quality: { power_w: 'unsupported', temperature_c: 'lost' } });
  expect(records[0]).not.toHaveProperty('power_w');
  expect(records[0]).not.toHaveProperty('temperature_c');
});

test('lines that are no rows are counted under their reason and cost only themselves', async () => {
  const script = [
    [
      'Unable to determine the device handle for GPU0000:04:00.0: GPU is lost.  Reboot the system to recover this GPU',
      gpuRow(1),
    ],
    ['1, 2, 3', '\u0000\u0001\u0002', ',,,,,,', gpuRow(0, { index: '[Unknown Error]' }), 'x'.repeat(100_000)],
  ];
  await using place = await machine({ script });
  await using opened = await openAt(collector, place);
  const { records, others } = await readUntil(opened, (seen) => seen.records.length > 1);
  expect(records[0]).toMatchObject({ gpu: 1 });
  expect(others).toEqual([]);
  expect(opened.rejected?.()).toEqual({
    'LW-DECODE-SOURCE-ERROR': 3, // the lost GPU, control characters, one endless word
    'LW-DECODE-COLUMNS': 2, // three cells and seven
    'LW-DECODE-NO-IDENTITY': 1, // a row without an index
  });
});

test('a program that ends is told once and started again after five seconds', async () => {
  await using place = await machine({ script: [[gpuRow(0)]], exit: 1 });
  await using opened = await openAt(collector, place);
  const first = await readUntil(opened, (seen) => seen.others.length > 0);
  expect(first).toMatchObject({ records: [{ gpu: 0 }], others: ['retry LW-UNREACHABLE'] });
  await place.clock.advance(4_999);
  expect(await opened.collect(signal)).toEqual({ kind: 'ok', value: [] });
  expect(place.starts()).toHaveLength(1);
  await place.clock.advance(1);
  const second = await readUntil(opened, (seen) => seen.records.length > 0);
  expect(second).toMatchObject({ records: [{ gpu: 0 }], others: [] });
  expect(place.starts()).toHaveLength(2);
});

test('a driver that vanishes mid-run is absent after three runs without a row, not an error each second', async () => {
  await using place = await machine({ script: [[gpuRow(0)]], exit: 0 });
  await using opened = await openAt(collector, place);
  await readUntil(opened, (seen) => seen.others.length > 0);
  await writeFile(
    `${String(place.settings['command'])}`,
    `#!/bin/sh\necho "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver"\nexit 9\n`,
  );
  const advance = async (): Promise<void> => {
    await place.clock.advance(1_000);
    await turn();
  };
  const { records, others } = await readUntil(opened, (seen) => seen.others.at(-1) === 'reject LW-NOT-FOUND', advance);
  expect(records).toEqual([]);
  expect(others).toEqual(['retry LW-UNREACHABLE', 'retry LW-UNREACHABLE', 'reject LW-NOT-FOUND']);
});

test('a driver that hangs is reported and the process left alone', async () => {
  await using place = await machine({ script: [[gpuRow(0)]], hang: true });
  await using opened = await openAt(collector, place);
  await readUntil(opened, (seen) => seen.records.length > 0);
  await place.clock.advance(11_000);
  expect((await opened.collect(signal)).kind).toBe('ok');
  await place.clock.advance(1);
  expect(await opened.collect(signal)).toMatchObject({ kind: 'retry', code: 'LW-TIMEOUT' });
  expect(place.starts()).toHaveLength(1);
});

test('a driver that does not answer for its help is absent', async () => {
  await using place = await machine({ help_exit: 9 });
  await using opened = await openAt(collector, place);
  expect(await opened.collect(signal)).toMatchObject({
    kind: 'reject',
    reason: expect.stringMatching(/^absent: nvidia-smi does not answer/),
  });
});

const CAPTURES = path.resolve(import.meta.dirname, '../../../shared/data/collectors/nvidia-smi-text');
const isThere = existsSync(CAPTURES);

/** The output under a rule and title of a capture. */
function section(text: string, title: string): string {
  const [, after = ''] = text.split(`# ${title}`);
  return after.split(/^#{80}$/m)[1]?.trim() ?? '';
}

test.skipIf(!isThere).each([
  // values as printed in the capture: 0 %, 0 MiB, 345 MHz and so on are read from it here, not from our decoder
  ['linux-x86_64__nvidia-h100-80gb-hbm3__590.48.01.txt', false],
  ['linux-x86_64__nvidia-h100-mig__590.48.01.txt', true],
  ['linux-x86_64__nvidia-l40s__595.80.txt', false],
] as const)('%s: the row of a real driver becomes a record (MIG: %s)', async (name, isMig) => {
  const text = await readFile(path.join(CAPTURES, name), 'utf8');
  const csv = section(text, 'load :: query-gpu (csv, what the exporter parses)').split('\n');
  const titles = (csv[0] ?? '').split(', ').map((title) => title.replace(/ \[.*\]$/, ''));
  const cells = (csv[1] ?? '').split(', ').map((cell) => cell.trim());
  const printed = new Map(titles.map((title, index) => [title, cells[index] ?? '']));
  const bare = Object.fromEntries(
    [...printed].map(([title, cell]) => [title, cell.startsWith('[') ? cell : cell.replace(/ (%|MiB|MHz|W)$/, '')]),
  );
  await using place = await machine({ script: [[gpuRow(0, bare)]] });
  await using opened = await openAt(collector, place);
  const { records } = await readUntil(opened, (seen) => seen.records.length > 0);
  const number = (field: string): number => Number.parseFloat(printed.get(field) ?? '');
  expect(QUERY_GPU_FIELDS.filter((field) => !printed.has(field))).toEqual([]);
  expect(records[0]).toMatchObject({
    memory_used_bytes: number('memory.used') * 1_048_576,
    memory_total_bytes: number('memory.total') * 1_048_576,
    temperature_c: number('temperature.gpu'),
    power_w: number('power.draw'),
    ...(isMig ? { quality: { utilization: 'mig_unsupported' } } : { utilization: number('utilization.gpu') / 100 }),
  });
});

test.skipIf(isThere)('SKIPPED: captures of real drivers are not beside the repository', () => undefined);
