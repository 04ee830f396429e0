import { LEDGER_TYPES, type LeewayRecord, type RecordType } from './records.ts';
import { TABLES } from './tables.ts';

/** Further from the receiver's clock than this, a sender's clock is wrong: no network and no time zone explains a day. */
export const CLOCK_OFF_MS_MAX = 86_400_000;

const LEDGER: ReadonlySet<RecordType> = new Set(LEDGER_TYPES);

/**
 * Whether a record's own time is more than a day ahead of `now_ms`. Records of the ledger speak of the future by right
 * (claims, commitments, prices). The past is judged for no record: history is imported through the same door.
 */
export function isFarAhead(record: LeewayRecord, now_ms: number): boolean {
  if (LEDGER.has(record.type)) return false;
  const field = TABLES[record.type].time;
  const at_ms: unknown = field === null ? null : Reflect.get(record, field);
  return typeof at_ms === 'number' && at_ms > now_ms + CLOCK_OFF_MS_MAX;
}

/** Why such a record is set aside, for its sender. */
export function farAheadReason(now_ms: number): string {
  return `its time is more than a day ahead of the receiver's clock (${new Date(now_ms).toISOString()})`;
}
