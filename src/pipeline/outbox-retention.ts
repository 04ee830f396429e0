import { DELIVERY_ATTEMPTS, OUTBOX } from '../control/collections.ts';
import type { Control } from '../core/ports.ts';

/** How long what was told, and how, can be looked up and replayed. */
const KEPT_MS = 40 * 86_400_000;
/** Rows removed in one transaction: some milliseconds, so that nobody waits for it. */
const BATCH_MAX = 500;

/** Removes delivered and failed notifications older than 40 days with their attempts; returns how many. Call it until 0. */
export async function pruneOutbox(control: Control, now_ms: number): Promise<number> {
  return control.transaction(async (tx) => {
    const old = await tx.list(OUTBOX, {
      where: [
        { field: 'at_ms', is: '<', value: now_ms - KEPT_MS },
        { field: 'state', is: 'in', value: ['delivered', 'failed'] },
      ],
      limit: BATCH_MAX,
    });
    for (const { id } of old) {
      const attempts = await tx.list(DELIVERY_ATTEMPTS, { where: [{ field: 'notification_id', is: '=', value: id }] });
      for (const attempt of attempts) await tx.remove(DELIVERY_ATTEMPTS, attempt.id);
      await tx.remove(OUTBOX, id);
    }
    return old.length;
  });
}
