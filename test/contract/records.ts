import type { LeewayRecord, RecordOf } from '../../src/core/records.ts';

/** 2026-01-01T00:00:00Z. */
export const START_MS = 1_767_225_600_000;

/** A step record; equal arguments give equal records. */
export function stepRecord(step: number, rank = 0): RecordOf<'step'> {
  return {
    type: 'step',
    job: 'pretrain',
    rank,
    step,
    at_ms: START_MS + step * 1_000,
    duration_ms: 950.5,
    compute_ms: 700.25,
    data_ms: 20,
    loss: 2.5 / (step + 1),
    phase: 'train',
  };
}

export function heartbeat(step: number): RecordOf<'heartbeat'> {
  return { type: 'heartbeat', job: 'pretrain', rank: 0, at_ms: START_MS + step * 1_000, step, state: 'running' };
}

/** Step records [from, to). */
export function steps(from: number, to: number, rank = 0): LeewayRecord[] {
  return Array.from({ length: to - from }, (_, index) => stepRecord(from + index, rank));
}
