import { LeewayError } from '../core/errors.ts';
import type { Backlog, Bus } from '../core/ports.ts';
import type { RolledStore } from '../store/sql-store.ts';

// What a role does not have: routes and loops that would need it are not there, and whoever asks all the same is told.

const EMPTY: Backlog = {
  bytes: 0,
  frames: 0,
  oldest_ms: 0,
  in_flight: [],
  torn_frames: 0,
  damaged_frames: 0,
  quarantined: [],
};

/** The store of a gateway: it has none. */
export function absentStore(): RolledStore {
  const refuse = async (): Promise<never> => {
    throw new LeewayError('LW-STORE-GONE', 'a gateway has no store; ask a worker or a console');
  };
  return {
    migrate: refuse,
    insert: refuse,
    query: refuse,
    account: refuse,
    sequences: refuse,
    lineageMax: refuse,
    marks: refuse,
    rollUp: refuse,
    expire: refuse,
    [Symbol.asyncDispose]: async () => undefined,
  };
}

/** The bus of a console: it neither sends nor takes. */
export function absentBus(): Bus {
  return {
    publish: async () => {
      throw new LeewayError('LW-SPOOL-IO', 'a console takes no records; send them to a gateway');
    },
    consume: (_handle, signal) =>
      new Promise((resolve) => {
        if (signal.aborted) resolve();
        signal.addEventListener('abort', () => resolve(), { once: true });
      }),
    backlog: () => EMPTY,
    [Symbol.asyncDispose]: async () => undefined,
  };
}
