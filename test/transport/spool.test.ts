import { systemClock } from '../../src/core/clock.ts';
import { openSpool } from '../../src/transport/spool.ts';
import { type BusSubject, busContract } from '../contract/bus.ts';
import { scratchDirectory } from '../contract/scratch-directory.ts';

async function subject(): Promise<BusSubject> {
  const directory = await scratchDirectory();
  return {
    open: (held = []) =>
      openSpool({
        data_dir: directory.path,
        bytes_max: 1e9,
        fsync: true,
        clock: systemClock,
        known: { sequences: [], lineage_max: held.at(-1)?.lineage ?? 0n },
        close_ms: 5,
      }),
    [Symbol.asyncDispose]: () => directory[Symbol.asyncDispose](),
  };
}

busContract('spool', subject);
