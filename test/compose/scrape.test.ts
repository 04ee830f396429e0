import { expect, test } from 'vitest';
import { absentBus, absentStore } from '../../src/compose/absent-doors.ts';
import { scrapeGauges } from '../../src/compose/scrape.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Control } from '../../src/core/ports.ts';
import { CostBook } from '../../src/read/costs.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';

/** Samples of a scrape whose names begin with one of `names`. */
async function samples(metrics: ReturnType<typeof createServiceMetrics>, ...names: string[]): Promise<string[]> {
  const { text } = await metrics.expose('prometheus');
  return text.split('\n').filter((line) => names.some((name) => line.startsWith(name)));
}

/** A PostgreSQL that is away. */
function goneControl(): Control {
  const refuse = async (): Promise<never> => {
    throw new LeewayError('LW-CONTROL-GONE', 'the control store does not answer');
  };
  return { transaction: refuse, lease: refuse, release: refuse, [Symbol.asyncDispose]: async () => undefined };
}

test('while store and control store are gone a scrape has all that the process knows itself', async () => {
  const metrics = createServiceMetrics('1.2.3');
  metrics.framesPublished({}, 12);
  const bus = { ...absentBus(), backlog: () => ({ ...absentBus().backlog(), bytes: 4096, oldest_ms: 1_500 }) };
  scrapeGauges(metrics, { bus, costs: new CostBook(absentStore(), []), control: goneControl() });
  expect(
    await samples(
      metrics,
      'leeway_frames_published',
      'leeway_spool',
      'leeway_incidents',
      'leeway_cost',
      'leeway_scrape',
    ),
  ).toEqual([
    'leeway_frames_published_total 12',
    'leeway_spool_bytes 4096',
    'leeway_spool_oldest_seconds 1.5',
    'leeway_scrape_errors_total{reading="bus"} 0',
    'leeway_scrape_errors_total{reading="incidents"} 1',
    'leeway_scrape_errors_total{reading="costs"} 1',
  ]);
});
