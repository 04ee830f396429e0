/**
 * How far a value that was read can be trusted: `ok`; `suspect` = read as said, but out of its range, contradicting
 * its neighbours or without an owner; `stale` = older than the reading claims. Contract: cli.md "leeway decode".
 */
export const QUALITIES = ['ok', 'suspect', 'stale'] as const;
export type Quality = (typeof QUALITIES)[number];

/**
 * Why there is no value. Absent is never 0. Contract: cli.md "leeway decode", events.md "Hardware".
 * `unsupported` the device or driver has no such value · `no_permission` it has, we may not read it · `deprecated` the
 * driver dropped it · `lost` it should exist and could not be read · `mig_unsupported` not while MIG is on ·
 * `parse_error` something stood there that is no value of this metric · `stale` only an old value is known.
 */
export const ABSENT_REASONS = [
  'unsupported',
  'no_permission',
  'deprecated',
  'lost',
  'mig_unsupported',
  'parse_error',
  'stale',
] as const;
export type AbsentReason = (typeof ABSENT_REASONS)[number];

/** The words that the `quality` field of a hardware record may hold (events.md). */
export type RecordQuality = 'unsupported' | 'no_permission' | 'lost' | 'stale' | 'mig_unsupported';

/** The record's word for a reason: what was dropped is unsupported, what could not be understood is lost. */
export function recordQuality(reason: AbsentReason): RecordQuality {
  if (reason === 'deprecated') return 'unsupported';
  return reason === 'parse_error' ? 'lost' : reason;
}
