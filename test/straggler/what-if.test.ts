import { existsSync, readFileSync } from 'node:fs';
import { resolve } from 'node:path';
import { describe, expect, test } from 'vitest';
import { readTable } from '../../src/files/table.ts';
import { type TraceRow, traceParser } from '../../src/straggler/trace-operation.ts';
import { analyseTrace, type WhatIfReport } from '../../src/straggler/what-if.ts';

const DATA = resolve(import.meta.dirname, '../../../shared/data/stragglers/what-if');
const HAS_DATA = existsSync(DATA);
const NOTE = HAS_DATA ? '' : ' — SKIPPED: published traces not found beside the repository';

async function published(name: string): Promise<TraceRow[]> {
  const rows: TraceRow[] = [];
  const place = { path: `${DATA}/${name}`, cwd: '/', stdin: process.stdin };
  for await (const batch of readTable(place, (rejected) => expect.fail(rejected.reason))) {
    const parse = traceParser(batch.columns);
    if (typeof parse === 'string') return expect.fail(parse);
    for (const cells of batch.rows) {
      const row = parse(cells);
      if (typeof row === 'string') return expect.fail(row);
      rows.push(row);
    }
  }
  return rows;
}

function answer(rows: readonly TraceRow[]): WhatIfReport {
  const report = analyseTrace(rows);
  return typeof report === 'string' ? expect.fail(report) : report;
}

/** Two ranks of data parallelism, one stage, no communication but the last barrier; times in seconds. */
function tiny(forward: (dp: number, step: number) => number): TraceRow[] {
  const rows: TraceRow[] = [];
  for (let step = 0; step < 4; step++) {
    const barrier = Math.max(...[0, 1].map((dp) => 2 * forward(dp, step) + 1));
    for (const dp_rank of [0, 1]) {
      const compute = forward(dp_rank, step);
      const base = { dp_rank, stage: 0, step, model_chunk: 0, micro_batch: -1, global_chunk: 0, seq_id: 0 };
      rows.push(
        { ...base, optype: 'forward-compute', start_s: 0, duration_s: compute, micro_batch: 0 },
        { ...base, optype: 'forward-compute', seq_id: 1, start_s: compute, duration_s: compute, micro_batch: 1 },
        { ...base, optype: 'backward-compute', start_s: 2 * compute, duration_s: 1, micro_batch: 0 },
        {
          ...base,
          optype: 'optimizer-clip-main-grad',
          start_s: 2 * compute + 1,
          duration_s: barrier - 2 * compute - 1 + 0.5,
        },
        { ...base, optype: 'optimizer', start_s: barrier + 0.5, duration_s: 0.25 },
      );
    }
  }
  return rows;
}

describe('the replay of a trace worked out by hand', () => {
  test('a rank twice as slow: step times, slowdown and shares', () => {
    // forward 1 s and 3 s, twice each; backward 1 s, transfer 0.5 s, optimizer 0.25 s.
    // recorded step: max(2, 6) + 1 + 0.5 + 0.25 = 7.75; ideal: forward 2 s each → 2·2 + 1.75 = 5.75
    const report = answer(tiny((dp) => (dp === 1 ? 3 : 1)));
    expect(report.trace).toEqual({ operations: 40, steps: 4, dp: 2, stages: 1 });
    expect(report.what_if.slowdown).toBeCloseTo(7.75 / 5.75, 12);
    // only dp 0 as recorded (1 s): the other at 2 s still decides; only dp 1: 7.75
    expect(report.what_if.by_dp[0]).toBeCloseTo(1, 12);
    expect(report.what_if.by_dp[1]).toBeCloseTo(7.75 / 5.75, 12);
    expect(report.what_if.by_optype['forward-compute']).toBeCloseTo(7.75 / 5.75, 12);
    expect(report.what_if.by_optype['optimizer']).toBe(1);
    // the worst of two ranks explains all of the loss: with it fixed the step takes 2·max(1, 2) + 1.75
    expect(report.what_if.m_w).toBeCloseTo(1, 12);
    expect(report.verdict).toBe('worker');
    expect(report.workers).toEqual([{ dp: 1, stage: 0, slowdown: expect.closeTo(7.75 / 5.75, 12) }]);
  });

  test('equal ranks lose nothing, and nothing explains a loss that is none', () => {
    const report = answer(tiny(() => 1));
    expect(report.what_if).toMatchObject({ slowdown: 1, m_w: null, m_s: null });
    expect(report.verdict).toBe('none');
    expect(report.workers).toEqual([]);
  });

  test('the order of rows does not matter', () => {
    const rows = tiny((dp, step) => 1 + dp * 0.5 + step * 0.1);
    expect(answer([...rows].reverse())).toEqual(answer(rows));
  });
});

describe('a trace that cannot be replayed says why', () => {
  test('a missing, a repeated and an absent last operation', () => {
    const rows = tiny(() => 1);
    expect(analyseTrace([])).toBe('it has no rows');
    expect(analyseTrace(rows.slice(0, -1))).toBe('optimizer_0_0 is missing in step 3 of dp_rank 1');
    expect(analyseTrace([...rows, ...rows.slice(0, 1)])).toBe(
      'forward-compute_0_0 appears twice in step 0 of dp_rank 0',
    );
    expect(analyseTrace(rows.filter((row) => row.optype !== 'optimizer'))).toBe(
      'it has no optimizer operation, where a step ends',
    );
  });

  test('a bad cell is named with its column', () => {
    const columns = 'dp_rank,stage,rank,step,optype,start_ts,duration,seq_id,mc,mb_id,gmc'.split(',');
    const parse = traceParser(columns);
    if (typeof parse === 'string') return expect.fail(parse);
    expect(parse('0,0,0,23,gc,0.5,-1,0,0,-1,-1'.split(','))).toBe('duration = "-1", expected a number of seconds ≥ 0');
    expect(parse('0.5,0,0,23,gc,0.5,1,0,0,-1,-1'.split(','))).toBe('dp_rank = "0.5", expected a whole number');
    expect(parse('0,0,0,23,gc,,1,0,0,-1,-1'.split(','))).toBe('start_ts = "", expected a number of seconds');
    expect(parse('1,0,4,23,gc,0.5,0,2,-1,0,-1'.split(','))).toMatchObject({
      dp_rank: 1,
      step: 23,
      optype: 'gc',
      seq_id: 2,
      micro_batch: 0,
    });
    expect(traceParser(['dp_rank', 'stage'])).toMatch(/^column step, optype, .* is missing$/);
  });
});

describe.skipIf(!HAS_DATA)(`published traces with published answers${NOTE}`, () => {
  // Inputs are single precision and the reference mixes it with double: agreement is asked to 1e-6 relative.
  test.each([
    ['ST', 'trace-ST.csv', 'stage_imbalance'],
    ['SE', 'trace-SE.parquet', 'sequence_imbalance'],
  ])('%s: slowdown, shares and attribution agree with the reference analyser', async (name, file, verdict) => {
    const json = (prefix: string): Record<string, unknown> =>
      JSON.parse(readFileSync(`${DATA}/${name}/${prefix}-${name}.json`, 'utf8'));
    const report = answer(await published(`${name}/${file}`));
    const near = (value: number | null | undefined, expected: unknown, what: string): void =>
      expect(Math.abs((value ?? Number.NaN) / Number(expected) - 1), what).toBeLessThan(2e-6);
    near(report.what_if.slowdown, json('result')['blocking_slowdown'], 'slowdown');
    near(report.what_if.m_s, json('ms')['Ms'], 'm_s');
    near(report.what_if.m_w, json('mw')['Mw'], 'm_w');
    const parts = [
      ['blocking_decompose_by_stage', report.what_if.by_stage],
      ['blocking_decompose_by_dp_rank', report.what_if.by_dp],
      ['blocking_decompose_by_optype', report.what_if.by_optype],
    ] as const;
    for (const [field, values] of parts) {
      const expected = Object.entries(json('result')[field] as Record<string, number>);
      expect(Object.keys(values)).toHaveLength(expected.length);
      for (const [key, ratio] of expected) near(Reflect.get(values, key), ratio, `${field} ${key}`);
    }
    expect(report.verdict).toBe(verdict);
  });

  test('a worker slowed in the published trace is found', async () => {
    // forward and backward of data-parallel rank 1, stage 2 take three times as long; what follows is shifted by replay,
    // which only looks at durations of compute
    const rows = (await published('ST/trace-ST.csv')).map((row) =>
      row.dp_rank === 1 && row.stage === 2 && row.optype.endsWith('-compute')
        ? { ...row, duration_s: 3 * row.duration_s }
        : row,
    );
    const report = answer(rows);
    expect(report.verdict).toBe('worker');
    expect(report.workers.map(({ dp, stage }) => ({ dp, stage }))).toEqual([{ dp: 1, stage: 2 }]);
  });
});
