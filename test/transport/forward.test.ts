import { mkdir, readdir } from 'node:fs/promises';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { ManualClock, systemClock } from '../../src/core/clock.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../../src/core/outcome.ts';
import type { Bus } from '../../src/core/ports.ts';
import { seededRandom } from '../../src/core/random.ts';
import type { LinkGap, LinkMessage } from '../../src/formats/link-batch.ts';
import type { SpoolDisk } from '../../src/transport/disk.ts';
import { type ForwardEvent, Forwarder } from '../../src/transport/forward.ts';
import { forwardDisk } from '../../src/transport/forward-disk.ts';
import type { GatewayLink, Sent } from '../../src/transport/forward-link.ts';
import { ForwardLog } from '../../src/transport/forward-log.ts';
import { ForwardSpool } from '../../src/transport/forward-spool.ts';
import { openSpool } from '../../src/transport/spool.ts';
import type { SpoolOptions } from '../../src/transport/spool-options.ts';
import { heartbeat, stepRecord, steps } from '../contract/records.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

const NEVER = new AbortController().signal;

type Node = {
  readonly bus: ForwardSpool;
  readonly log: ForwardLog;
  readonly disk: SpoolDisk;
  readonly [Symbol.asyncDispose]: () => Promise<void>;
};

/** Opens the spool of a sidecar in `directory`, as its role does. */
async function node(directory: string, epoch: number, options: Partial<SpoolOptions> = {}): Promise<Node> {
  const disk = forwardDisk(false);
  const log = await ForwardLog.open(disk, path.join(directory, 'spool'), () => epoch);
  const spool = await openSpool({
    data_dir: directory,
    bytes_max: 64 * 1_048_576,
    fsync: false,
    clock: systemClock,
    known: { sequences: log.known(), lineage_max: 0n },
    disk,
    close_ms: 5,
    ...options,
  });
  const bus = new ForwardSpool(spool, log);
  return { bus, log, disk, [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose]() };
}

/** A gateway that keeps what it acknowledges; `judge` decides each message. */
class MemoryGateway implements GatewayLink {
  readonly taken: LinkMessage[] = [];
  readonly asked: LinkMessage[] = [];
  readonly #judge: (message: LinkMessage) => Outcome<Sent>;
  #wake: () => void = () => undefined;

  constructor(judge: (message: LinkMessage) => Outcome<Sent> = () => ok({ declared: true })) {
    this.#judge = judge;
  }

  async send(message: LinkMessage): Promise<Outcome<Sent>> {
    this.asked.push(message);
    const outcome = this.#judge(message);
    if (outcome.kind === 'ok') this.taken.push(message);
    this.#wake();
    return outcome;
  }

  /** Names and the records under them: what a gateway that knows repeats would store. */
  get stored(): Map<string, readonly object[]> {
    const stored = new Map<string, readonly object[]>();
    for (const { source, epoch, sequence, records } of this.taken.flatMap(({ frames }) => frames)) {
      const name = `${source} ${epoch} ${sequence}`;
      if (!stored.has(name)) stored.set(name, records);
    }
    return stored;
  }

  async until(enough: () => boolean): Promise<void> {
    while (!enough()) await new Promise<void>((resolve) => (this.#wake = resolve));
  }

  [Symbol.dispose](): void {
    this.asked.length = 0;
  }
}

type Running = { readonly forwarder: Forwarder; readonly events: ForwardEvent[] } & AsyncDisposable;

function forwarding(
  { bus, log, disk }: Pick<Node, 'log' | 'disk'> & { readonly bus: Bus },
  link: GatewayLink,
  losses: readonly LinkGap[] = [],
): Running {
  const cut = new AbortController();
  const events: ForwardEvent[] = [];
  const forwarder = new Forwarder({
    bus,
    log,
    disk,
    link,
    clock: systemClock,
    random: seededRandom(1),
    run: 'r1',
    losses: () => losses,
    cut: cut.signal,
    onEvent: (event) => void events.push(event),
  });
  const running = forwarder.run(cut.signal);
  return {
    forwarder,
    events,
    [Symbol.asyncDispose]: async () => {
      cut.abort();
      await running;
    },
  };
}

async function empty(bus: Bus): Promise<void> {
  while (bus.backlog().frames > 0) await systemClock.sleep(2, NEVER);
}

describe('the names of batches', () => {
  test('each type of a batch is a batch of its own, numbered without gaps by source', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    const gateway = new MemoryGateway();
    await using _running = forwarding(sidecar, gateway);
    await sidecar.bus.publish({ source: 'a', records: [stepRecord(1), heartbeat(1), stepRecord(2)] }, NEVER);
    await sidecar.bus.publish({ source: 'b', records: [stepRecord(3)] }, NEVER);
    await sidecar.bus.publish({ source: 'a', records: [stepRecord(4)] }, NEVER);
    await empty(sidecar.bus);
    expect(Object.fromEntries(gateway.stored)).toEqual({
      'a 77 1': [stepRecord(1), stepRecord(2)],
      'a 77 2': [heartbeat(1)],
      'b 77 1': [stepRecord(3)],
      'a 77 3': [stepRecord(4)],
    });
  });

  test('after a restart epoch and numbers go on, whether the spool was empty or not', async () => {
    await using place = await scratchDirectory();
    {
      await using first = await node(place.path, 77);
      const gateway = new MemoryGateway();
      await using _running = forwarding(first, gateway);
      for (const step of [1, 2]) await first.bus.publish({ source: 'a', records: [stepRecord(step)] }, NEVER);
      await empty(first.bus);
    }
    {
      await using second = await node(place.path, 88); // what it would be called if it were new
      await second.bus.publish({ source: 'a', records: [stepRecord(3)] }, NEVER); // nobody takes it
    }
    await using third = await node(place.path, 99);
    await third.bus.publish({ source: 'a', records: [stepRecord(4)] }, NEVER);
    const gateway = new MemoryGateway();
    await using _running = forwarding(third, gateway);
    await empty(third.bus);
    expect(Object.fromEntries(gateway.stored)).toEqual({ 'a 77 3': [stepRecord(3)], 'a 77 4': [stepRecord(4)] });
  });

  test('a number whose batch found no room goes to that batch when it comes again', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    let full = true;
    const refusing: Bus = {
      publish: async (batch, signal) => {
        if (full && batch.records[0]?.type === 'heartbeat') throw new Error('no room');
        return sidecar.bus.publish(batch, signal);
      },
      consume: () => Promise.resolve(),
      backlog: () => sidecar.bus.backlog(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const numbers: number[] = [];
    const counting: Bus = {
      ...refusing,
      publish: (batch, signal) => {
        numbers.push(batch.sequence);
        return refusing.publish(batch, signal);
      },
    };
    const outer = new ForwardSpool(counting, sidecar.log);
    const records = [stepRecord(1), heartbeat(1)];
    await expect(outer.publish({ source: 'a', records }, NEVER)).rejects.toThrow('no room');
    expect(outer.begunOf('a')).toBe(1); // the step is durable, its sender holds both
    full = false;
    await outer.publish({ source: 'a', records }, NEVER);
    expect(outer.begunOf('a')).toBe(0);
    expect(numbers).toEqual([1, 2, 2]); // the step is not sent again
  });

  test('a batch is durable at once and keeps its sender waiting for the pace, until it must hurry', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    const clock = new ManualClock();
    const paced = new ForwardSpool(sidecar.bus, sidecar.log, { clock, pace_ms: 1_900 });
    let answered = 0;
    const publish = async (step: number): Promise<void> => {
      await paced.publish({ source: 'a', records: [stepRecord(step)] }, NEVER);
      answered++;
    };
    const first = publish(1);
    while (sidecar.bus.backlog().frames < 1) await systemClock.sleep(1, NEVER);
    await clock.advance(1_899);
    expect(answered).toBe(0);
    await clock.advance(1);
    await first;
    const second = publish(2);
    while (sidecar.bus.backlog().frames < 2) await systemClock.sleep(1, NEVER);
    paced.hurry();
    await second;
    await publish(3);
    expect(answered).toBe(3);
  });

  test('a new directory has a new epoch, a torn line of the log says nothing', async () => {
    await using place = await scratchDirectory();
    const disk = forwardDisk(false);
    const directory = path.join(place.path, 'spool');
    const log = await ForwardLog.open(disk, directory, () => 1);
    await log.append(new Map([['a', 5]]), []);
    await log.append(new Map([['a', 9]]), [
      { source: 'a', epoch: 1, reason: 'gateway_refused', records: 2, ranges: [[9, 9]] },
    ]);
    await log.close();
    const [file = ''] = await readdir(directory);
    const bytes = await disk.read(path.join(directory, file));
    for (const cut of [1, 30, bytes.length - bytes.lastIndexOf('\n', bytes.length - 2) - 1]) {
      const torn = path.join(place.path, `torn-${cut}`);
      await mkdir(torn);
      await disk.write(path.join(torn, file), bytes.subarray(0, bytes.length - cut));
      const again = await ForwardLog.open(disk, torn, () => 2);
      expect([again.epoch, again.acknowledged('a'), again.lost()]).toEqual([1, 5, []]);
      await again.close();
    }
    const whole = await ForwardLog.open(disk, directory, () => 2);
    expect([whole.epoch, whole.acknowledged('a')]).toEqual([1, 9]);
    expect(whole.lost()).toEqual([{ source: 'a', epoch: 1, reason: 'gateway_refused', records: 2, ranges: [[9, 9]] }]);
    await whole.close();
    expect((await readdir(directory)).length).toBe(1); // the old file is gone
    const fresh = await ForwardLog.open(disk, path.join(place.path, 'new'), () => 2);
    expect(fresh.epoch).toBe(2);
    await fresh.close();
  });

  test('the files of the log are those of every version before and after', async () => {
    await using place = await scratchDirectory();
    const disk = forwardDisk(false);
    const lost = '{"source":"a","epoch":1,"reason":"gateway_refused","records":2,"ranges":[[9,9]]}';
    const before = `{"epoch":1,"acknowledged":{"a":9},"lost":[]}\n{"epoch":1,"acknowledged":{"b":3},"lost":[${lost}]}\n`;
    await disk.write(path.join(place.path, 'forward-000007.ndjson'), Buffer.from(before));
    const log = await ForwardLog.open(disk, place.path, () => 2);
    await log.append(new Map([['b', 4]]), []);
    await log.close();
    expect(await readdir(place.path)).toEqual(['forward-000008.ndjson']);
    expect((await disk.read(path.join(place.path, 'forward-000008.ndjson'))).toString()).toBe(
      `{"epoch":1,"acknowledged":{"a":9,"b":3},"lost":[${lost}]}\n{"epoch":1,"acknowledged":{"b":4},"lost":[]}\n`,
    );
  });

  test('a log of more than 1 MiB goes on in a file of its own with all that it said, and the next line', async () => {
    await using place = await scratchDirectory();
    const disk = forwardDisk(false);
    const log = await ForwardLog.open(disk, place.path, () => 1);
    const long = 'x'.repeat(600_000);
    const loss = { source: 'a', epoch: 1, reason: 'gateway_refused', records: 2 };
    await log.append(new Map([[long, 2]]), [{ ...loss, ranges: [[8, 8]] }]);
    await log.append(new Map([[long, 1]]), []);
    await log.append(new Map([['a', 9]]), [{ ...loss, ranges: [[9, 9]] }]);
    await log.close();
    expect(await readdir(place.path)).toEqual(['forward-000002.ndjson']);
    const again = await ForwardLog.open(disk, place.path, () => 2);
    expect([again.epoch, again.acknowledged(long), again.acknowledged('a')]).toEqual([1, 2, 9]);
    expect(again.lost()).toEqual([{ ...loss, records: 4, ranges: [[8, 9]] }]);
    await again.close();
  });
});

describe('forwarding', () => {
  test('nothing leaves the spool before the gateway has it, and all that waited goes in few messages', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    let down = true;
    const gateway = new MemoryGateway(() => (down ? retry('LW-UNREACHABLE', 'down', 1) : ok({ declared: true })));
    await using running = forwarding(sidecar, gateway);
    for (let step = 1; step <= 50; step++)
      await sidecar.bus.publish({ source: 'a', records: steps(step, step + 1) }, NEVER);
    await gateway.until(() => gateway.asked.length > 0);
    expect(sidecar.bus.backlog().in_flight).toMatchObject([{ source: 'a', epoch: 77, records: 50 }]);
    down = false;
    await empty(sidecar.bus);
    expect(gateway.stored.size).toBe(50);
    expect(gateway.taken.length).toBeLessThan(10);
    expect(running.events.map(({ kind }) => kind)).toEqual(['forward_waiting', 'forward_reaching']);
    expect(running.forwarder.isReaching).toBe(true);
  });

  test('a batch that a gateway calls too large is cut in halves with names of their own, each once', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    const rows = ({ frames }: LinkMessage): number => frames.reduce((sum, { records }) => sum + records.length, 0);
    const gateway = new MemoryGateway((message) =>
      rows(message) > 3 ? reject('LW-BODY-SIZE', 'large') : ok({ declared: true }),
    );
    await using _running = forwarding(sidecar, gateway);
    await sidecar.bus.publish({ source: 'a', records: steps(0, 10) }, NEVER);
    await empty(sidecar.bus);
    const all = [...gateway.stored.values()].flat().map((record) => Number(Reflect.get(record, 'step')));
    expect(all.toSorted((one, other) => one - other)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9]);
  });

  test('a batch that is too large for the gateway and keeps the spool full does not hold it up for ever', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    const records = steps(0, 4);
    await sidecar.bus.publish({ source: 'a', records }, NEVER);
    const full: Bus = {
      publish: () => Promise.reject(new LeewayError('LW-SPOOL-FULL', 'no room for half a batch')),
      consume: (handle, signal) => sidecar.bus.consume(handle, signal),
      backlog: () => sidecar.bus.backlog(),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    };
    const gateway = new MemoryGateway(({ frames }) =>
      frames.some((frame) => frame.records.length > 2) ? reject('LW-BODY-SIZE', 'large') : ok({ declared: true }),
    );
    await using _running = forwarding({ ...sidecar, bus: full }, gateway);
    await empty(sidecar.bus);
    expect(Object.fromEntries(gateway.stored)).toEqual({ 'a 77 1': records.slice(0, 2) });
    expect(sidecar.log.lost()).toMatchObject([{ source: 'a', reason: 'gateway_too_large', records: 2, ranges: [] }]);
  });

  test('what is refused for good is lost alone, declared with its number, and known after a restart', async () => {
    await using place = await scratchDirectory();
    const isBad = ({ frames }: LinkMessage): boolean =>
      frames.some(({ records }) => records.some((record) => Reflect.get(record, 'step') === 2));
    const wanted = { source: 'a', epoch: 77, run: '', reason: 'gateway_refused', records: 1, ranges: [[2, 2]] };
    {
      await using sidecar = await node(place.path, 77);
      const gateway = new MemoryGateway((message) =>
        isBad(message) ? reject('LW-DELIVERY', 'no') : ok({ declared: false }),
      );
      await using running = forwarding(sidecar, gateway);
      for (const step of [1, 2, 3]) await sidecar.bus.publish({ source: 'a', records: [stepRecord(step)] }, NEVER);
      await empty(sidecar.bus);
      expect([...gateway.stored.keys()]).toEqual(['a 77 1', 'a 77 3']);
      expect(running.events).toMatchObject([{ kind: 'forward_lost', source: 'a', records: 1 }]);
      expect(sidecar.log.lost()).toMatchObject([{ records: 1, ranges: [[2, 2]] }]);
    }
    await using sidecar = await node(place.path, 88);
    const gateway = new MemoryGateway();
    await using _running = forwarding(sidecar, gateway); // with nothing to send but what was lost
    await gateway.until(() => gateway.taken.length > 0);
    expect(gateway.taken[0]).toEqual({ frames: [], gaps: [wanted] });
  });

  test('what is refused for its gaps goes without them: no record is lost for a declaration', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77);
    const held = { source: 'a', epoch: 77, run: 'r1', reason: 'buffer_full', records: 4, ranges: [] };
    const gateway = new MemoryGateway(({ gaps }) =>
      gaps.length > 0 ? reject('LW-DELIVERY', 'no') : ok({ declared: true }),
    );
    await using running = forwarding(sidecar, gateway, [held]);
    for (const step of [1, 2, 3]) await sidecar.bus.publish({ source: 'a', records: [stepRecord(step)] }, NEVER);
    await empty(sidecar.bus);
    expect([...gateway.stored.values()].flat()).toEqual([1, 2, 3].map((step) => stepRecord(step)));
    expect([running.events, sidecar.log.lost()]).toEqual([[], []]);
  });

  test('what quota policy dropped and publishers gave up is declared as totals, once they have grown', async () => {
    await using place = await scratchDirectory();
    await using sidecar = await node(place.path, 77, {
      bytes_max: 100_000,
      segment_bytes_max: 10_000,
      policy: 'drop_oldest',
    });
    for (let step = 0; step < 300; step++)
      await sidecar.bus.publish({ source: 'a', records: steps(step * 10, step * 10 + 10) }, NEVER);
    const lost = (sidecar.bus.backlog().dropped ?? []).reduce((sum, { records }) => sum + records, 0);
    expect(lost).toBeGreaterThan(0);
    const held = { source: 'a', epoch: 77, run: 'r1', reason: 'buffer_full', records: 4, ranges: [] };
    const gateway = new MemoryGateway();
    await using _running = forwarding(sidecar, gateway, [held]);
    await empty(sidecar.bus);
    const stored = [...gateway.stored.values()].flat().length;
    expect(stored + lost).toBe(3_000);
    const gaps = gateway.taken.flatMap((message) => message.gaps);
    expect(gaps).toContainEqual(held);
    expect(gaps).toContainEqual(expect.objectContaining({ run: '', reason: 'spool_full_oldest', records: lost }));
    const ranges = gaps.find(({ reason }) => reason === 'spool_batches')?.ranges ?? [];
    const batches = ranges.reduce((sum, [from, to]) => sum + to - from + 1, 0);
    expect(batches + gateway.stored.size).toBe(300); // every number is stored or declared
    const told = gateway.taken.length;
    await sidecar.bus.publish({ source: 'a', records: steps(0, 1) }, NEVER);
    await empty(sidecar.bus);
    expect(gateway.taken.slice(told).flatMap((message) => message.gaps)).toEqual([]); // nothing has grown
  });
});
