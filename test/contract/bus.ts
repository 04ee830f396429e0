import { expect, test } from 'vitest';
import { ok, reject, retry } from '../../src/core/outcome.ts';
import type { Bus, Delivery, FrameHeader } from '../../src/core/ports.ts';
import { heartbeat, stepRecord, steps } from './records.ts';

/** A bus under test: `open` starts it over what an earlier one left behind and what the store holds (`held`). */
export type BusSubject = AsyncDisposable & { readonly open: (held?: readonly FrameHeader[]) => Promise<Bus> };

/**
 * Whether the driver knows what it acknowledged: by source in `backlog`, and as a repeat when it comes again. A producer to
 * Kafka does not: it keeps nothing, and a repeat is a second copy that the store's key absorbs.
 */
export type BusMemory = { readonly remembers: boolean };

const signal = new AbortController().signal;

/** Takes deliveries until `rows` have come, answering ok. */
export async function take(bus: Bus, rows: number): Promise<Delivery[]> {
  const stop = new AbortController();
  const taken: Delivery[] = [];
  let seen = 0;
  await bus.consume(async (delivery) => {
    taken.push(delivery);
    seen += delivery.rows;
    if (seen >= rows) stop.abort();
    return ok(undefined);
  }, stop.signal);
  return taken;
}

/** Names of the frames of `deliveries`, each once: what the store's key makes of copies. */
function distinct(deliveries: readonly Delivery[]): Map<string, FrameHeader> {
  const frames = deliveries.flatMap((delivery) => delivery.frames);
  return new Map(frames.map((frame) => [`${frame.source} ${frame.epoch} ${frame.sequence} ${frame.table}`, frame]));
}

/** What every driver of Bus must do. */
export function busContract(
  driver: string,
  subject: () => Promise<BusSubject>,
  { remembers }: BusMemory = { remembers: true },
): void {
  test(`${driver}: a published batch is delivered whole, with its headers, and then trimmed`, async () => {
    await using place = await subject();
    await using bus = await place.open();
    const records = [...steps(0, 3), heartbeat(1)];
    expect(await bus.publish({ source: 'node-1', epoch: 7, sequence: 1, records }, signal)).toEqual({
      repeated: false,
    });
    if (remembers) expect(bus.backlog().in_flight).toMatchObject([{ source: 'node-1', epoch: 7, records: 4 }]);
    const deliveries = await take(bus, 4);
    const frames = deliveries.flatMap((delivery) => delivery.frames);
    expect(
      frames.map(({ source, epoch, sequence, parts, table, rows }) => [source, epoch, sequence, parts, table, rows]),
    ).toEqual(
      expect.arrayContaining([
        ['node-1', 7, 1, 2, 'step', 3],
        ['node-1', 7, 1, 2, 'heartbeat', 1],
      ]),
    );
    expect(frames).toHaveLength(2);
    expect(bus.backlog()).toMatchObject({ bytes: 0, frames: 0, oldest_ms: 0, in_flight: [] });
  });

  test(`${driver}: a repeat of a batch is acknowledged and ${remembers ? 'delivered once' : 'one batch by its key'}`, async () => {
    await using place = await subject();
    await using bus = await place.open();
    const batch = { source: 'node-1', epoch: 7, sequence: 1, records: steps(0, 2) };
    const [first, twin] = await Promise.all([bus.publish(batch, signal), bus.publish(batch, signal)]);
    expect([first.repeated, twin.repeated]).toEqual([false, true]);
    expect(await bus.publish(batch, signal)).toEqual({ repeated: remembers });
    const other = { ...batch, epoch: 8, records: steps(2, 3) };
    expect(await bus.publish(other, signal)).toEqual({ repeated: false });
    const deliveries = await take(bus, remembers ? 3 : 5);
    if (remembers) expect(deliveries.flatMap((delivery) => delivery.frames)).toHaveLength(2);
    expect([...distinct(deliveries).values()].reduce((rows, frame) => rows + frame.rows, 0)).toBe(3);
  });

  test(`${driver}: a batch is ${remembers ? 'known as a repeat' : 'still there'} after a restart, delivered or not`, async () => {
    await using place = await subject();
    const batch = { source: 'node-1', epoch: 7, sequence: 1, records: steps(0, 2) };
    {
      await using bus = await place.open();
      await bus.publish(batch, signal);
    }
    await using bus = await place.open();
    if (remembers) expect(bus.backlog().in_flight).toMatchObject([{ source: 'node-1', epoch: 7, records: 2 }]);
    expect(await bus.publish(batch, signal)).toEqual({ repeated: remembers });
    const deliveries = await take(bus, remembers ? 2 : 4);
    if (remembers) expect(deliveries.map((delivery) => delivery.rows)).toEqual([2]);
    expect([...distinct(deliveries).keys()]).toEqual(['node-1 7 1 step']);
  });

  test(`${driver}: lineage rises in the order of acceptance and across restarts`, async () => {
    await using place = await subject();
    const held: FrameHeader[] = [];
    for (const sequence of [1, 2, 3]) {
      await using bus = await place.open(held);
      await bus.publish({ source: 'node-1', epoch: 7, sequence, records: [stepRecord(sequence)] }, signal);
      for (const delivery of await take(bus, 1)) held.push(...delivery.frames);
    }
    const lineages = held.map((frame) => frame.lineage);
    expect(lineages).toHaveLength(3);
    expect(lineages).toEqual(lineages.toSorted((a, b) => (a < b ? -1 : 1)));
    expect(new Set(lineages).size).toBe(3);
  });

  test(`${driver}: a delivery answered with retry comes again, one rejected is set aside and the next one comes`, async () => {
    await using place = await subject();
    await using bus = await place.open();
    await bus.publish({ source: 'bad', epoch: 1, sequence: 1, records: steps(0, 2) }, signal);
    const stop = new AbortController();
    const seen: string[] = [];
    await bus.consume(async (delivery) => {
      const source = delivery.frames[0]?.source ?? '';
      seen.push(source);
      if (source === 'good') {
        stop.abort();
        return ok(undefined);
      }
      if (seen.length < 3) return retry('LW-STORE', 'busy', 1);
      await bus.publish({ source: 'good', epoch: 1, sequence: 1, records: steps(2, 3) }, signal);
      return reject('LW-STORE', 'cannot be stored');
    }, stop.signal);
    expect(seen).toEqual(['bad', 'bad', 'bad', 'good']);
    expect(bus.backlog()).toMatchObject({
      frames: 0,
      in_flight: [],
      quarantined: [{ source: 'bad', epoch: 1, records: 2 }],
    });
  });

  test(`${driver}: a thousand concurrent batches are all durable and delivered once`, async () => {
    await using place = await subject();
    await using bus = await place.open();
    const sequences = Array.from({ length: 1_000 }, (_, index) => index + 1);
    await Promise.all(
      sequences.map((sequence) =>
        bus.publish({ source: 'node-1', epoch: 7, sequence, records: [stepRecord(sequence)] }, signal),
      ),
    );
    const frames = (await take(bus, 1_000)).flatMap((delivery) => delivery.frames);
    expect(frames.map((frame) => frame.sequence).toSorted((a, b) => a - b)).toEqual(sequences);
  });
}
