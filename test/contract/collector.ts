import { expect, test } from 'vitest';
import type { Clock } from '../../src/core/clock.ts';
import type { AnyCollector, OpenCollector } from '../../src/core/define.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import { parseRecord } from '../../src/core/parse-record.ts';
import type { LeewayRecord } from '../../src/core/records.ts';
import { checkAgainst } from '../../src/core/schema-check.ts';
import { ABSENT_REASONS } from '../../src/core/quality.ts';

/** A machine on which the collector's source is there, or is not. */
export type Place = AsyncDisposable & {
  readonly settings: Readonly<Record<string, unknown>>;
  readonly clock: Clock;
  /** Lets the source say something new before the next collect. */
  readonly feed: () => Promise<void>;
  /** Whether something of an opened collector is still held: a socket that listens, a process that runs. */
  readonly isHeld: () => Promise<boolean>;
};

export type CollectorCase = {
  readonly collector: AnyCollector;
  readonly present?: () => Promise<Place>;
  readonly absent?: () => Promise<Place>;
};

const signal = new AbortController().signal;

/** Settings with every default of the collector's schema, as the configuration would hand them over. */
export function withDefaults(
  collector: AnyCollector,
  settings: Readonly<Record<string, unknown>>,
): Record<string, unknown> {
  const checked = checkAgainst(collector.config, settings, '', new Map());
  expect(checked.errors).toEqual([]);
  return checked.value as Record<string, unknown>; // the parse door: just checked
}

/** Opens the collector at a place, as pipeline/collect.ts does. */
export function openAt(collector: AnyCollector, place: Pick<Place, 'settings' | 'clock'>): Promise<OpenCollector> {
  return collector.open({ settings: withDefaults(collector, place.settings), clock: place.clock, node: 'node-1' });
}

/** Collects until records came, at most `attempts` times. */
export async function collectUntilRecords(
  opened: OpenCollector,
  place: Pick<Place, 'feed'>,
  attempts = 50,
): Promise<readonly LeewayRecord[]> {
  for (let attempt = 0; attempt < attempts; attempt++) {
    const outcome = await opened.collect(signal);
    if (outcome.kind === 'ok' && outcome.value.length > 0) return outcome.value;
    await place.feed();
  }
  throw new Error(`no record after ${attempts} readings`);
}

/** What every collector keeps, whatever its source. */
export function describeCollector({ collector, present, absent }: CollectorCase): void {
  const { name } = collector;
  if (present !== undefined) {
    test(`${name}: what it collects are valid records whose absent fields carry a reason and no value`, async () => {
      await using place = await present();
      await using opened = await openAt(collector, place);
      const records = await collectUntilRecords(opened, place);
      for (const record of records) expectHonest(record);
    });

    test(`${name}: reading again and again never throws, and disposing frees what it held`, async () => {
      await using place = await present();
      const opened = await openAt(collector, place);
      await collectUntilRecords(opened, place);
      for (let reading = 0; reading < 3; reading++) expect((await opened.collect(signal)).kind).toBe('ok');
      await opened[Symbol.asyncDispose]();
      expect(await place.isHeld()).toBe(false);
    });

    test(`${name}: can be opened again after it was disposed`, async () => {
      await using place = await present();
      for (let round = 0; round < 2; round++) {
        await using opened = await openAt(collector, place);
        expect((await collectUntilRecords(opened, place)).length).toBeGreaterThan(0);
      }
    });
  }
  if (absent !== undefined)
    test(`${name}: where the source is missing it opens, says "absent" with a reason and holds nothing`, async () => {
      await using place = await absent();
      const opened = await openAt(collector, place);
      const outcome: Outcome<readonly LeewayRecord[]> = await opened.collect(signal);
      expect(outcome).toMatchObject({ kind: 'reject', code: 'LW-NOT-FOUND' });
      expect('reason' in outcome ? outcome.reason : '').toMatch(/^absent/);
      await opened[Symbol.asyncDispose]();
      expect(await place.isHeld()).toBe(false);
    });
}

function expectHonest(record: LeewayRecord): void {
  const parsed = parseRecord(JSON.stringify(record));
  expect(parsed, JSON.stringify(parsed)).toMatchObject({ kind: 'ok' });
  if (!('quality' in record) || record.quality === undefined) return;
  for (const [field, reason] of Object.entries(record.quality)) {
    expect(ABSENT_REASONS).toContain(reason);
    expect(record, `${field} is absent, so it has no value`).not.toHaveProperty(field);
  }
}
