import { EXTERNAL_ALERTS } from '../control/collections.ts';
import type { StoredAlert } from '../core/external-alert.ts';
import type { Finding } from '../core/finding.ts';
import { LIMITS } from '../core/limits.ts';
import type { Condition, Control, ControlTransaction, Document } from '../core/ports.ts';
import { alertId, externalFindings, mergeAlert } from '../incident/external.ts';
import type { AlertMessage } from '../incident/external-message.ts';

/** How often every alert is judged, changed or not: a rule's `for_ms`, a reload and a failed judgement get their turn. */
const ALL_MS = 15_000;
/** Looks back that far for changes, so that a step of the clock or a slow transaction hides none. */
const OVERLAP_MS = 5_000;
/** Prometheus repeats a resolved alert for 15 minutes (rules/alerting.go, resolvedRetention): until then it is remembered. */
const KEPT_MS = 1_200_000;
/** Alerts that are over, removed at once to make room. */
const REMOVED_MAX = 500;

/** Alerts of other systems: remembered in the control store, judged again as time passes. */
export class ExternalAlerts {
  readonly #control: Control;
  #looked_ms: number | null = null;
  #all_ms: number | null = null;

  constructor(control: Control) {
    this.#control = control;
  }

  /**
   * Remembers what the messages say; durable when it resolves. New alerts beyond LIMITS.external_alerts_max are refused
   * and counted; room is made of those that are over. Known alerts always take what is new.
   */
  take(messages: readonly AlertMessage[], now_ms: number): Promise<{ readonly refused: number }> {
    return this.#control.transaction(async (tx) => {
      let room = LIMITS.external_alerts_max - (await tx.count(EXTERNAL_ALERTS, []));
      let refused = 0;
      for (const message of messages) {
        const id = alertId(message.labels);
        const stored = await tx.get(EXTERNAL_ALERTS, id);
        const next = mergeAlert(stored?.body ?? null, message, now_ms);
        if (stored !== null) {
          if (next !== stored.body) await tx.update(EXTERNAL_ALERTS, id, stored.revision, next);
          continue;
        }
        const over = next.ends_ms <= now_ms;
        if (room <= 0 && !over) room = await removeOver(tx, now_ms);
        if (room > 0) await tx.insert(EXTERNAL_ALERTS, id, next);
        else if (!over) refused++; // one that is over and was never known asks for nothing
        if (room > 0) room--;
      }
      return { refused };
    });
  }

  /** Findings of the alerts that changed or ended since the last call, of all of them every ALL_MS. */
  findings(now_ms: number): Promise<Finding[]> {
    const since_ms = Math.min(this.#looked_ms ?? 0, now_ms) - OVERLAP_MS;
    const all = this.#all_ms === null || now_ms - this.#all_ms >= ALL_MS || now_ms < this.#all_ms;
    return this.#control.transaction(async (tx) => {
      const alerts = all ? await tx.list(EXTERNAL_ALERTS, {}) : await changed(tx, since_ms, now_ms);
      if (all) await forget(tx, alerts, now_ms);
      tx.afterCommit(() => {
        this.#looked_ms = now_ms;
        if (all) this.#all_ms = now_ms;
      });
      return externalFindings(
        alerts.map(({ body }) => body),
        now_ms,
      );
    });
  }
}

/** Every alert of each key of which one changed or ended after `since_ms`. */
async function changed(tx: ControlTransaction, since_ms: number, now_ms: number): Promise<Document<StoredAlert>[]> {
  const updated = await tx.list(EXTERNAL_ALERTS, { where: [{ field: 'updated_at_ms', is: '>=', value: since_ms }] });
  const ended: Condition[] = [
    { field: 'ends_ms', is: '>=', value: since_ms },
    { field: 'ends_ms', is: '<=', value: now_ms },
  ];
  const over = await tx.list(EXTERNAL_ALERTS, { where: ended });
  const keys = [...new Set([...updated, ...over].map(({ body }) => body.key))];
  return keys.length === 0 ? [] : tx.list(EXTERNAL_ALERTS, { where: [{ field: 'key', is: 'in', value: keys }] });
}

/** Removes alerts that are long over, so that the collection does not grow for ever; this once they are still judged. */
async function forget(tx: ControlTransaction, alerts: readonly Document<StoredAlert>[], now_ms: number): Promise<void> {
  const old_ms = now_ms - KEPT_MS;
  for (const { id, body } of alerts)
    if (body.ends_ms < old_ms && body.updated_at_ms < old_ms) await tx.remove(EXTERNAL_ALERTS, id);
}

/** Makes room of alerts that are over and were judged since, the oldest first; returns how much. */
async function removeOver(tx: ControlTransaction, now_ms: number): Promise<number> {
  const over = await tx.list(EXTERNAL_ALERTS, {
    where: [
      { field: 'ends_ms', is: '<=', value: now_ms - ALL_MS },
      { field: 'updated_at_ms', is: '<', value: now_ms - ALL_MS },
    ],
    order: { field: 'ends_ms', descending: false },
    limit: REMOVED_MAX,
  });
  for (const { id } of over) await tx.remove(EXTERNAL_ALERTS, id);
  return over.length;
}
