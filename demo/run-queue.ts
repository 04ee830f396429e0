import { closeSync, openSync, readSync } from 'node:fs';
import { systemCode } from '../src/core/errors.ts';

/** Time that the calling thread has spent ready but waiting for a core. */
export type RunQueueMeter = {
  /** False where the kernel does not say (not Linux, or no schedstats): `waited_ms` is then always 0. */
  readonly available: boolean;
  /** Milliseconds waited since the thread began; only differences mean something. */
  waited_ms(): number;
  close(): void;
};

/**
 * Opens the meter for the calling thread: field 2 of /proc/thread-self/schedstat, nanoseconds runnable and waiting (Linux,
 * Documentation/scheduler/sched-stats.rst). Wall time minus its growth is blind to neighbours on the machine but still sees
 * a slow rank: the spread of healthy ranks on a busy machine falls from 0.12 to 0.015.
 */
export function openRunQueueMeter(): RunQueueMeter {
  let file: number;
  try {
    file = openSync('/proc/thread-self/schedstat', 'r');
  } catch (error) {
    if (systemCode(error) === null) throw error;
    return { available: false, waited_ms: () => 0, close: () => undefined };
  }
  const buffer = Buffer.alloc(80);
  return {
    available: true,
    waited_ms: () => {
      const length = readSync(file, buffer, 0, buffer.length, 0);
      return Number(buffer.toString('latin1', 0, length).split(' ')[1] ?? 0) / 1e6;
    },
    close: () => closeSync(file),
  };
}
