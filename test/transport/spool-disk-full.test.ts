import { readdir, rm, statfs, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test, vi } from 'vitest';
import { type Clock, systemClock } from '../../src/core/clock.ts';
import { isDiskFull, reserveBytes } from '../../src/transport/disk-space.ts';
import { retry } from '../../src/core/outcome.ts';
import type { Bus } from '../../src/core/ports.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolEvent, SpoolOptions } from '../../src/transport/spool-options.ts';
import { take } from '../contract/bus.ts';
import { steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';
import { mountedTmpfs, tmpfsRefusal } from './tmpfs.ts';

vi.setConfig({ testTimeout: 30_000 });

const MIB = 1_048_576;
const signal = new AbortController().signal;
const skipped = tmpfsRefusal ?? '';
/** Time runs a hundred times as fast, so that "once a second" is soon. */
const fastClock: Clock = { ...systemClock, elapsed_ms: () => performance.now() * 100 };

type Opened = { readonly bus: Bus; readonly events: string[] };

async function open(data_dir: string, more: Partial<SpoolOptions> = {}): Promise<Opened> {
  const events: string[] = [];
  const onEvent = (event: SpoolEvent): void => void events.push(event.kind);
  const known = { sequences: [], lineage_max: 0n };
  const limits = { bytes_max: 1e9, reserve_bytes: MIB, segment_bytes_max: MIB / 2, close_ms: 0 };
  const bus = await openSpool({ data_dir, fsync: true, clock: fastClock, known, ...limits, onEvent, ...more });
  await until(async () => (await readdir(path.join(data_dir, 'spool'))).includes('.reserve'));
  return { bus, events };
}

/** Asks until it holds; the disk is what is waited for. */
async function until(holds: () => Promise<boolean>): Promise<void> {
  const end_ms = performance.now() + 10_000;
  while (!(await holds())) {
    if (performance.now() > end_ms) throw new Error('not within 10 s');
    await new Promise((resolve) => setImmediate(resolve));
  }
}

const records = (sequence: number) => steps(sequence * 500, sequence * 500 + 500);
const publish = (bus: Bus, sequence: number) =>
  bus.publish({ source: 'node-1', epoch: 7, sequence, records: records(sequence) }, signal);

/** Publishes until a batch is refused; returns its sequence and the code. */
async function untilRefused(bus: Bus, from: number): Promise<{ sequence: number; code: unknown }> {
  for (let sequence = from; ; sequence++)
    try {
      await publish(bus, sequence);
    } catch (error) {
      return { sequence, code: typeof error === 'object' && error !== null ? Reflect.get(error, 'code') : null };
    }
}

const sum = (rows: readonly { readonly records: number }[] = []): number =>
  rows.reduce((total, row) => total + row.records, 0);

test.skipIf(tmpfsRefusal !== null)(
  `block: a full disk is refused, what was acknowledged stays deliverable, and room is taken without a restart ${skipped}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    const { bus, events } = await open(tmpfs.path);
    await using _closing = bus;
    const ballast = path.join(tmpfs.path, 'ballast');
    await writeFile(ballast, Buffer.alloc(4 * MIB));
    const full = await untilRefused(bus, 1);
    expect(full.code).toBe('LW-SPOOL-IO');
    expect(await untilRefused(bus, full.sequence)).toEqual({ sequence: full.sequence, code: 'LW-SPOOL-FULL' });
    expect(events).toContain('spool_disk_full');
    expect(await readdir(path.join(tmpfs.path, 'spool'))).not.toContain('.reserve');
    const { bavail, bsize } = await statfs(tmpfs.path);
    expect(bavail * bsize).toBeGreaterThanOrEqual(MIB); // for the store and for deleting, not for senders
    expect(sum(bus.backlog().in_flight)).toBe((full.sequence - 1) * 500);
    await rm(ballast);
    await until(async () => (await untilRefused(bus, full.sequence)).sequence > full.sequence);
    expect(events).toContain('spool_disk_free');
    expect(bus.backlog()).not.toHaveProperty('dropped');
  },
);

test.skipIf(tmpfsRefusal !== null)(
  `block: when the backlog is delivered the disk has room again, without a restart ${skipped}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    const { bus } = await open(tmpfs.path);
    await using _closing = bus;
    const full = await untilRefused(bus, 1);
    const rows = sum(bus.backlog().in_flight);
    expect(rows).toBe((full.sequence - 1) * 500);
    const delivered = await take(bus, rows);
    expect(delivered.reduce((total, delivery) => total + delivery.rows, 0)).toBe(rows);
    await until(async () => (await untilRefused(bus, full.sequence)).sequence > full.sequence);
  },
);

test.skipIf(tmpfsRefusal !== null)(
  `room is noticed while nothing is sent, so that the next sender is not refused ${skipped}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    const { bus, events } = await open(tmpfs.path);
    await using _closing = bus;
    const ballast = path.join(tmpfs.path, 'ballast');
    await writeFile(ballast, Buffer.alloc(4 * MIB));
    const full = await untilRefused(bus, 1);
    const stop = new AbortController();
    const idle = bus.consume(async () => retry('LW-STORE-GONE', 'the store is away', 50), stop.signal);
    await rm(ballast);
    await until(async () => events.includes('spool_disk_free'));
    await publish(bus, full.sequence);
    stop.abort();
    await idle;
  },
);

test.skipIf(tmpfsRefusal !== null)(
  `drop_oldest: a full disk gives up the oldest and goes on taking; the account holds after a restart ${skipped}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    let taken = 0;
    {
      const { bus, events } = await open(tmpfs.path, { policy: 'drop_oldest' });
      await using _closing = bus;
      for (let sequence = 1; sequence <= 200; sequence++, taken++) await publish(bus, sequence);
      expect(events).toContain('spool_disk_full');
      const { in_flight, dropped } = bus.backlog();
      expect(sum(dropped)).toBeGreaterThan(0);
      expect(sum(in_flight) + sum(dropped)).toBe(taken * 500);
    }
    const { bus } = await open(tmpfs.path, { policy: 'drop_oldest', reserve_bytes: 4096 });
    await using _closing = bus;
    expect(sum(bus.backlog().in_flight) + sum(bus.backlog().dropped)).toBe(taken * 500);
  },
);

test.skipIf(tmpfsRefusal !== null)(
  `drop_newest: a full disk keeps what it has; what arrives is acknowledged, declared and survives a restart ${skipped}`,
  async () => {
    using tmpfs = mountedTmpfs(8 * MIB);
    let kept = 0;
    {
      const { bus } = await open(tmpfs.path, { policy: 'drop_newest' });
      await using _closing = bus;
      for (let sequence = 1; sequence <= 200; sequence++) await publish(bus, sequence);
      kept = sum(bus.backlog().in_flight);
      expect(kept).toBeGreaterThan(500);
      expect(bus.backlog().dropped).toMatchObject([{ reason: 'spool_full_newest', records: 200 * 500 - kept }]);
    }
    const { bus } = await open(tmpfs.path, { policy: 'drop_newest', reserve_bytes: 4096 });
    await using _closing = bus;
    expect([sum(bus.backlog().in_flight), sum(bus.backlog().dropped)]).toEqual([kept, 200 * 500 - kept]);
  },
);

test('the reserve is a sixteenth of the quota, at most 64 MiB and at most a sixteenth of the disk', async () => {
  await using directory = await scratchDirectory();
  const { blocks, bsize } = await statfs(directory.path);
  const share = (blocks * bsize) / 16;
  expect(await reserveBytes(directory.path, 16 * MIB)).toBe(MIB);
  expect(await reserveBytes(directory.path, 1e15)).toBe(Math.floor(Math.min(64 * MIB, share)));
  expect(isDiskFull(Object.assign(new Error('full'), { code: 'ENOSPC' }))).toBe(true);
  expect(isDiskFull(new Error('ENOSPC'))).toBe(false);
});
