import { createHash } from 'node:crypto';
import { canonicalJson } from '../core/canonical.ts';
import { AUDIT, type AuditEntry } from '../control/collections.ts';
import type { ControlTransaction } from '../core/ports.ts';

/** What a person or token did. `detail` is JSON without secrets. */
export type AuditRecord = {
  readonly at_ms: number;
  readonly actor: string;
  readonly action: string;
  readonly subject: string;
  readonly detail: Readonly<Record<string, unknown>>;
};

/** What the first entry names as its predecessor. */
export const AUDIT_ROOT = '0'.repeat(64);
/** Entries read at once while verifying; 1,000 of 1 KB are 1 MB. */
const PAGE = 1000;

/**
 * Appends to the audit log in the caller's transaction: the entry and what it tells of happen together or not at all.
 * Each entry holds the SHA-256 of the one before, so that none can be changed or taken out unseen. Returns its id.
 */
export async function appendAudit(tx: ControlTransaction, record: AuditRecord): Promise<string> {
  const [last] = await tx.list(AUDIT, { order: { field: 'sequence', descending: true }, limit: 1 });
  const sequence = (last?.body.sequence ?? 0) + 1;
  const previous_sha256 = last?.body.sha256 ?? AUDIT_ROOT;
  const entry = { ...record, detail: { ...record.detail }, sequence, previous_sha256 };
  const id = auditId(sequence);
  await tx.insert(AUDIT, id, { ...entry, sha256: digest(entry) });
  return id;
}

/** How the log stands: whole, or the first sequence that does not fit and why. */
export type AuditVerdict =
  | { readonly whole: true; readonly entries: number; readonly last_sha256: string }
  | { readonly whole: false; readonly entries: number; readonly sequence: number; readonly reason: string };

/** Walks the whole log: sequences without a gap, every hash recomputed, every predecessor matched. O(entries). */
export async function verifyAudit(tx: ControlTransaction): Promise<AuditVerdict> {
  let previous = AUDIT_ROOT;
  let entries = 0;
  for (;;) {
    const page = await tx.list(AUDIT, {
      where: [{ field: 'sequence', is: '>', value: entries }],
      order: { field: 'sequence', descending: false },
      limit: PAGE,
    });
    for (const { body } of page) {
      const reason = fault(body, entries + 1, previous);
      if (reason !== null) return { whole: false, entries, sequence: entries + 1, reason };
      previous = body.sha256;
      entries++;
    }
    if (page.length < PAGE) return { whole: true, entries, last_sha256: previous };
  }
}

function fault(entry: AuditEntry, sequence: number, previous: string): string | null {
  if (entry.sequence !== sequence) return `entry ${sequence} is missing, the next is ${entry.sequence}`;
  if (entry.previous_sha256 !== previous) return `entry ${sequence} does not name its predecessor`;
  const { sha256, ...rest } = entry;
  return digest(rest) === sha256 ? null : `entry ${sequence} was changed after it was written`;
}

function auditId(sequence: number): string {
  return String(sequence).padStart(12, '0');
}

function digest(entry: Omit<AuditEntry, 'sha256'>): string {
  return createHash('sha256').update(canonicalJson(entry)).digest('hex');
}
