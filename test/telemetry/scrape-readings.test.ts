import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { createServiceMetrics } from '../../src/telemetry/metrics.ts';

/** Metrics under a clock that moves when told; `lines` are those of a scrape that begin with `leeway_<name>`. */
function scraped() {
  const clock = new ManualClock();
  const unread: string[] = [];
  const metrics = createServiceMetrics('1.2.3', {
    clock,
    onUnread: (name, error) => unread.push(`${name}: ${String(error)}`),
  });
  const lines = async (...names: string[]): Promise<string[]> => {
    const { text } = await metrics.expose('prometheus');
    return text.split('\n').filter((line) => names.some((name) => line.startsWith(`leeway_${name}`)));
  };
  return { clock, metrics, unread, lines };
}

type Readable = ReturnType<typeof scraped>['metrics'];

function readSpool(metrics: Readable, bytes: () => Promise<number> | number): void {
  const read = async (): Promise<() => void> => {
    const read = await bytes();
    return () => metrics.spoolBytes({}, read);
  };
  metrics.beforeScrape({ name: 'bus', gauges: ['leeway_spool_bytes'], read });
}

test('what is read before a scrape is in that scrape', async () => {
  const { metrics, lines } = scraped();
  let scrapes = 0;
  readSpool(metrics, () => ++scrapes * 10);
  expect(await lines('spool_bytes')).toEqual(['leeway_spool_bytes 10']);
  expect(await lines('spool_bytes')).toEqual(['leeway_spool_bytes 20']);
});

test('a gauge that is read as a whole forgets what is gone', async () => {
  const { metrics, lines } = scraped();
  const kinds = ['hang', 'drift'];
  metrics.beforeScrape({
    name: 'incidents',
    gauges: ['leeway_incidents'],
    read: () => {
      const kind = kinds.shift() ?? '';
      return () => metrics.incidents({ kind, severity: 'page', status: 'open' }, 1);
    },
  });
  expect(await lines('incidents')).toEqual(['leeway_incidents{kind="hang",severity="page",status="open"} 1']);
  expect(await lines('incidents')).toEqual(['leeway_incidents{kind="drift",severity="page",status="open"} 1']);
});

test('what cannot be read is absent and counted, told once, and the rest is served', async () => {
  const { metrics, unread, lines } = scraped();
  let is_gone = false;
  metrics.framesStored({}, 7);
  metrics.beforeScrape({
    name: 'costs',
    gauges: ['leeway_cost_usd'],
    read: () => {
      if (is_gone) throw new Error('the store is gone');
      return () => metrics.costUsd({ category: 'idle' }, 3);
    },
  });
  readSpool(metrics, () => (is_gone ? Promise.reject(new Error('no bus')) : 5));
  const names = ['cost_usd', 'spool_bytes', 'frames_stored', 'scrape_errors'];
  const whole = [
    'leeway_frames_stored_total 7',
    'leeway_spool_bytes 5',
    'leeway_cost_usd{category="idle"} 3',
    'leeway_scrape_errors_total{reading="costs"} 0',
    'leeway_scrape_errors_total{reading="bus"} 0',
  ];
  expect(await lines(...names)).toEqual(whole);
  is_gone = true;
  await lines();
  expect(await lines(...names)).toEqual([
    'leeway_frames_stored_total 7', // no spool_bytes 0, which would say that nothing waits
    'leeway_scrape_errors_total{reading="costs"} 2',
    'leeway_scrape_errors_total{reading="bus"} 2',
  ]);
  is_gone = false;
  expect(await lines(...names.slice(0, 3))).toEqual(whole.slice(0, 3));
  is_gone = true;
  await lines();
  const once = ['costs: Error: the store is gone', 'bus: Error: no bus'];
  expect(unread).toEqual([...once, ...once]);
});

test('a reading that hangs is waited for three seconds and not started twice; what it gives too late is not shown', async () => {
  const { clock, metrics, unread, lines } = scraped();
  let reads = 0;
  let answer = (_bytes: number): void => undefined;
  readSpool(metrics, () => {
    reads++;
    return new Promise<number>((resolve) => void (answer = resolve));
  });
  const hanging = async (): Promise<string[]> => {
    const shown = lines('spool_bytes', 'scrape_errors');
    await clock.advance(3_000);
    return shown;
  };
  expect(await hanging()).toEqual(['leeway_scrape_errors_total{reading="bus"} 1']);
  expect(await hanging()).toEqual(['leeway_scrape_errors_total{reading="bus"} 2']);
  expect(reads).toBe(1);
  expect(unread).toEqual(['bus: Error: not read within 3000 ms']);
  answer(5);
  await new Promise((resolve) => setImmediate(resolve));
  const later = hanging(); // reads anew: 5 is of an earlier moment
  expect(await later).toEqual(['leeway_scrape_errors_total{reading="bus"} 3']);
  expect(reads).toBe(2);
});
