import type { LeewayRecord } from '../src/core/records.ts';
import type { Parent } from './child.ts';
import type { LeewayTarget } from './event-transport.ts';
import { openSender, type Sender } from './sender.ts';
import { processStart_ms, unixNow_ms } from './timeline.ts';

/**
 * Where a process of the demo puts its records: a sender to the service, or, when there is no target, messages
 * `{record}` to the parent, each acknowledged as soon as it has left.
 */
export function openEmitter(target: LeewayTarget | null, parent: Parent): Sender {
  return target === null ? toParent(parent) : openSender(target);
}

function toParent(parent: Parent): Sender {
  let emitted = 0;
  let acknowledged = 0;
  let last = Promise.resolve();
  const account: Sender['account'] = () => ({
    source: 'parent',
    epoch: 0,
    emitted,
    acknowledged,
    rejected: 0,
    pending: emitted - acknowledged,
    lost: { buffer_full: 0, refused: 0, unsent: 0 },
    batches: acknowledged,
    retries: 0,
    last_error: null,
  });
  return {
    emit: (record) => {
      emitted++;
      last = parent.send({ record }).then(() => {
        acknowledged++;
      });
    },
    account,
    close: async () => {
      await last;
      return account();
    },
  };
}

/** Who pays for a process: one GPU of an asset, whole, in the name of a tenant. */
export type ClaimOf = {
  readonly asset: string;
  readonly gpu_index: number;
  readonly tenant: Readonly<Record<string, string>>;
};

/** A half-open interval of Unix milliseconds. */
export type Slice = { readonly from_ms: number; readonly to_ms: number };

/**
 * Claims of a process's lifetime: each call of the returned function emits one `claim` from where the last one ended (first:
 * the start of the process) to now, and returns its interval, or null when no whole millisecond has passed. Slices are
 * contiguous, half-open and in whole milliseconds, so that their sum is exact.
 */
export function claimSlices(claim: ClaimOf, emit: (record: LeewayRecord) => void): () => Slice | null {
  const { asset, tenant, gpu_index } = claim;
  const shares = { gpus: 1, gpu_indexes: [gpu_index], mode: 'whole' };
  let from_ms = Math.round(processStart_ms());
  return () => {
    const slice = { from_ms, to_ms: Math.round(unixNow_ms()) };
    if (slice.to_ms <= slice.from_ms) return null;
    emit({ type: 'claim', asset, tenant: { ...tenant }, ...slice, ...shares });
    from_ms = slice.to_ms;
    return slice;
  };
}
