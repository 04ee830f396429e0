import { expect, test } from 'vitest';
import { LIMITS } from '../../src/core/limits.ts';
import type { DeliveryTotal } from '../../src/core/delivery-total.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';

const NODE: DeliveryTotal = {
  source: 'node-1',
  emitted: 1_000,
  stored: 900,
  in_flight: 60,
  declared_loss: { spool_full_oldest: 30, buffer_full: 10 },
  duplicates_absorbed: 7,
  late: 5,
  unaccounted: 0,
  batches_lost: 2,
  oldest_in_flight_ms: 1_500,
};

async function lines(metrics: ReturnType<typeof createServiceMetrics>): Promise<string[]> {
  const { text } = await metrics.expose('prometheus');
  return text.split('\n').filter((line) => line.startsWith('leeway_delivery_'));
}

test('the account of a source is shown in base units, and its terms add up', async () => {
  const metrics = createServiceMetrics('1.2.3');
  expect(await lines(metrics)).toEqual(['leeway_delivery_account_timestamp_seconds 0']);
  metrics.delivery([NODE, { ...NODE, source: 'node-2', oldest_in_flight_ms: null }], 1_767_225_600_500);
  const shown = await lines(metrics);
  for (const line of [
    'leeway_delivery_emitted_records{source="node-1"} 1000',
    'leeway_delivery_stored_records{source="node-1"} 900',
    'leeway_delivery_in_flight_records{source="node-1"} 60',
    'leeway_delivery_declared_loss_records{source="node-1",reason="spool_full_oldest"} 30',
    'leeway_delivery_declared_loss_records{source="node-1",reason="buffer_full"} 10',
    'leeway_delivery_unaccounted_records{source="node-1"} 0',
    'leeway_delivery_duplicates_absorbed_records{source="node-1"} 7',
    'leeway_delivery_late_records{source="node-1"} 5',
    'leeway_delivery_lost_batches{source="node-1"} 2',
    'leeway_delivery_oldest_in_flight_seconds{source="node-1"} 1.5',
    'leeway_delivery_oldest_in_flight_seconds{source="node-2"} 0',
    'leeway_delivery_account_timestamp_seconds 1767225600.5',
  ])
    expect(shown).toContain(line);
  metrics.delivery([{ ...NODE, declared_loss: {} }], 1_767_225_610_500);
  const later = await lines(metrics);
  expect(later.some((line) => line.includes('node-2'))).toBe(false); // each account is shown as a whole
  expect(later.some((line) => line.includes('declared_loss'))).toBe(false);
});

test('beyond the limit sources are summed as "other", the largest have their own series, and a source keeps its own', async () => {
  const metrics = createServiceMetrics('1.2.3');
  const max = LIMITS.delivery_sources_max;
  const account = Array.from({ length: max + 3 }, (_, index) => ({
    ...NODE,
    source: `node-${index}`,
    emitted: index,
    oldest_in_flight_ms: index * 1_000,
  }));
  metrics.delivery(account, 1_000);
  const emitted = async () => (await lines(metrics)).filter((line) => line.includes('emitted_records{'));
  const shown = await emitted();
  expect(shown).toHaveLength(max + 1);
  expect(shown).toContain('leeway_delivery_emitted_records{source="other"} 3'); // 0 + 1 + 2
  expect(shown).toContain(`leeway_delivery_emitted_records{source="node-${max + 2}"} ${max + 2}`);
  const all = await lines(metrics);
  expect(all).toContain('leeway_delivery_oldest_in_flight_seconds{source="other"} 2');
  expect(all).toContain('leeway_delivery_declared_loss_records{source="other",reason="buffer_full"} 30');
  // the smallest of them overtakes: the series stay those that they were
  metrics.delivery([{ ...NODE, source: 'node-0', emitted: 1e9 }, ...account.slice(1)], 2_000);
  expect(await emitted()).toContain('leeway_delivery_emitted_records{source="other"} 1000000003');
});
