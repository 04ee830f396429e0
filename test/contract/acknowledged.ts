import { expect, test } from 'vitest';
import { ACKNOWLEDGED, QUARANTINED } from '../../src/control/collections.ts';
import { ManualClock } from '../../src/core/clock.ts';
import type { Control } from '../../src/core/ports.ts';
import { acknowledgedReader, unstored } from '../../src/read/acknowledged.ts';

type Batches = readonly (readonly [sequence: number, records: number, age_ms: number])[];

type Gaps = readonly (readonly [from: number, to: number])[];

const acknowledge = (control: Control, id: string, at_ms: number, batches: Batches): Promise<void> =>
  control.transaction((tx) =>
    tx.insert(ACKNOWLEDGED, id, {
      at_ms,
      whole: true,
      sources: [{ source: 's', epoch: 1, batches: batches.map(([...row]) => row) }],
    }),
  );

const left = (control: Control): Promise<number> => control.transaction((tx) => tx.count(ACKNOWLEDGED, []));

/** One look at the account, of a store that holds every batch up to `stored_to`. */
async function look(control: Control, stored_to: number, now_ms: number, gaps: Gaps = []) {
  const reader = acknowledgedReader(control);
  const log = await reader.read();
  const held = { source: 's', epoch: 1, sequence_min: 1, sequence_max: stored_to, gaps };
  const { settled, ...account } = unstored(log, stored_to === 0 ? [] : [held], now_ms);
  await reader.forget(settled);
  return { ...account, whole: log.whole };
}

/** What the log of the acknowledged must do over every control store. `open` gives a fresh, empty one. */
export function acknowledgedContract(open: () => Promise<Control>): void {
  test('a log of many pages is read whole, the oldest first, documents of one moment included', async () => {
    await using control = await open();
    // 7 gateways that write at the same moments
    const ids = Array.from({ length: 70 }, (_, at) => ({ id: `${at % 7}/${at}`, at_ms: 1_000 + Math.floor(at / 7) }));
    for (const [at, { id, at_ms }] of ids.entries()) await acknowledge(control, id, at_ms, [[at + 1, 10, 0]]);
    await control.transaction(async (tx) => {
      for (let sequence = 1; sequence <= 2_500; sequence++)
        await tx.insert(QUARANTINED, `q${sequence}`, {
          source: 'q',
          epoch: 1,
          sequence,
          parts: 1,
          records: 3,
          at_ms: 1_000,
        });
    });
    const { documents, quarantined, whole } = await acknowledgedReader(control).read();
    expect(documents.map(({ id }) => id)).toEqual(ids.map(({ id }) => id));
    expect(new Set(quarantined.map(({ id }) => id)).size).toBe(2_500);
    expect(whole).toBe(true);
  });

  test('ten gateways write for minutes: what is stored goes at each look, and all that waits is in flight', async () => {
    await using control = await open();
    const clock = new ManualClock();
    let sequence = 0;
    const write = async (seconds: number): Promise<void> => {
      for (let second = 0; second < seconds; second += 2) {
        for (let gateway = 0; gateway < 10; gateway++)
          await acknowledge(control, `${gateway}/${clock.now_ms()}`, clock.now_ms(), [[++sequence, 10, 0]]);
        await clock.advance(2_000);
      }
    };
    for (let looks = 0; looks < 6; looks++) {
      await write(10);
      expect(await left(control)).toBe(50);
      expect(await look(control, sequence, clock.now_ms())).toMatchObject({ in_flight: [], whole: true });
      expect(await left(control)).toBe(0);
    }
    const stored_to = sequence;
    await write(60); // the store is away: 30 times ten batches of ten records
    const waiting = { source: 's', epoch: 1, records: 3_000, oldest_ms: 60_000, sequence_min: stored_to + 1 };
    expect(await look(control, stored_to, clock.now_ms())).toMatchObject({ in_flight: [waiting], whole: true });
    expect(await left(control)).toBe(300);
  });

  test('half a million batches that wait are counted; where there are more, the account says that it knows only the oldest', async () => {
    await using control = await open();
    const batches = (from: number, count: number): Batches =>
      Array.from({ length: count }, (_, index) => [from + index, 1, 0] as const);
    for (let document = 0; document < 25; document++)
      await acknowledge(control, `g/${document}`, document, batches(1 + 20_000 * document, 20_000));
    expect(await look(control, 0, 100)).toMatchObject({ in_flight: [{ records: 500_000 }], whole: true });
    await acknowledge(control, 'g/25', 25, batches(500_001, 1));
    await acknowledge(control, 'g/26', 26, batches(500_002, 1));
    expect(await look(control, 0, 100)).toMatchObject({ whole: false });
    // once the store is back, the rest is known again
    expect(await look(control, 500_000, 100)).toMatchObject({ whole: false });
    expect(await look(control, 500_000, 100)).toMatchObject({ in_flight: [{ records: 2 }], whole: true });
  });

  test('batches that will never be stored do not hide the ones that came later: of their documents only they are kept', async () => {
    await using control = await open();
    const rows = (from: number): Batches => Array.from({ length: 20_000 }, (_, index) => [from + index, 1, 5] as const);
    for (let document = 0; document < 30; document++)
      await acknowledge(control, `g/${document}`, document, rows(1 + 20_000 * document));
    // one of each 20,000 is lost
    const gaps = Array.from({ length: 30 }, (_, document) => [3 + 20_000 * document, 3 + 20_000 * document] as const);
    expect(await look(control, 600_000, 1_000, gaps)).toMatchObject({ whole: false });
    await look(control, 600_000, 1_000, gaps);
    const waiting = { source: 's', epoch: 1, records: 30, oldest_ms: 1_005, sequence_min: 3 };
    expect(await look(control, 600_000, 1_000, gaps)).toMatchObject({ in_flight: [waiting], whole: true });
    const { documents } = await acknowledgedReader(control).read();
    expect(documents.map(({ body }) => body.sources[0]?.batches)).toEqual(gaps.map(([lost]) => [[lost, 1, 5]]));
    // one of them came after all
    const later = gaps.slice(1);
    expect(await look(control, 600_000, 1_000, later)).toMatchObject({ in_flight: [{ records: 29 }], whole: true });
    expect(await left(control)).toBe(29);
  });
}
