import { isDeepStrictEqual } from 'node:util';
import { canonicalJson } from '../../../src/core/canonical.ts';
import { decodeLink, encodeLink } from '../../../src/formats/link-batch.ts';
import { heartbeat, steps } from '../../contract/records.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';

const AT = 1_767_225_600_000;
const GPUS = Array.from({ length: 24 }, (_, index) => ({
  type: 'gpu',
  node: 'n1',
  gpu: index % 8,
  at_ms: AT + Math.floor(index / 8) * 1_000,
  utilization_ratio: 0.5 + index / 100,
  power_watts: 300.5,
  mixed: index % 3 === 0 ? 'ü' : index % 3 === 1 ? -0 : { deep: [null, true, 1e300] },
}));
const frame = (sequence: number, records: readonly object[]) => ({ source: 'node/ü', epoch: 7, sequence, records });
const GAP = {
  source: 's',
  epoch: 1,
  run: 'r',
  table: 'gpu',
  reason: 'full',
  records: 3,
  ranges: [
    [1, 2],
    [9, 9],
  ] as const,
}; // prettier-ignore

/** Batches of the link between collector and gateway: what is taken encodes and decodes to itself. */
export const target = (): FuzzTarget => ({
  seeds: [
    encodeLink({ frames: [frame(1, steps(0, 5)), frame(2, [heartbeat(1)]), frame(3, GPUS)], gaps: [GAP] }),
    encodeLink({ frames: [frame(1, GPUS.slice(0, 8)), frame(2, GPUS.slice(8))], gaps: [] }),
    encodeLink({ frames: [], gaps: [GAP] }),
  ],
  run: (bytes) => {
    const outcome = decodeLink(Buffer.from(bytes));
    if (outcome.kind !== 'ok') return outcomeWord(outcome.kind, outcome.code, outcome.reason);
    const { frames, gaps } = outcome.value;
    const again = decodeLink(encodeLink(outcome.value));
    if (again.kind !== 'ok') throw new Error(`what was taken cannot be sent on: ${again.code}: ${again.reason}`);
    const rows = frames.reduce((sum, { records }) => sum + records.length, 0);
    // frames of one type are sent together, and fields in the order of their first row: order may differ
    const sorted = (list: readonly object[]): string[] => list.map((item) => canonicalJson(item)).toSorted();
    if (rows < 200 && !isDeepStrictEqual(sorted(again.value.frames), sorted(frames))) throw new Error('frames differ');
    return outcomeWord('ok', frames.length, rows, gaps.length);
  },
});
