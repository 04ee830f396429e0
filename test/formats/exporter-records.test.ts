import { expect, test } from 'vitest';
import { exporterRecords } from '../../src/formats/exporter-records.ts';

const AT = 1_767_225_600_000;

test.each([
  ['of this hour', AT - 60_000, AT - 60_000],
  ['in seconds instead of milliseconds', AT / 1_000, AT],
  ['in microseconds', AT * 1_000, AT],
  ['negative', -AT, AT],
])('a sample with a time %s gives a record of a time that a record can have', (_, stamp_ms, expected_ms) => {
  const labels = 'gpu="0",UUID="GPU-0",Hostname="n1"';
  const text = `# TYPE DCGM_FI_DEV_GPU_UTIL gauge\nDCGM_FI_DEV_GPU_UTIL{${labels}} 50 ${stamp_ms}\n`;
  const { gpus } = exporterRecords(text, { at_ms: AT, node: null, fallback_node: 'n' });
  expect(gpus).toEqual([expect.objectContaining({ type: 'gpu', node: 'n1', at_ms: expected_ms, utilization: 0.5 })]);
});
