/**
 * What became of one attempt whose failure is expected: a request to a peer, a record at the door.
 * `retry` says how long to wait at least; `reject` is final. Errors that stop the caller are thrown as LeewayError.
 */
export type Outcome<Value = void> = Ok<Value> | Retry | Reject;

export type Ok<Value> = {
  readonly kind: 'ok';
  readonly value: Value;
  /** Of a delivery: frames that were refused for good while the others were stored. Absent where there are none. */
  readonly rejected?: readonly RejectedFrame[];
};
/** A frame that the store refuses, by its lineage, with a code from core/errors.ts and a sentence for a person. */
export type RejectedFrame = { readonly lineage: bigint; readonly code: string; readonly reason: string };
export type Retry = {
  readonly kind: 'retry';
  readonly after_ms: number | null;
  readonly code: string;
  readonly reason: string;
};
export type Reject = { readonly kind: 'reject'; readonly code: string; readonly reason: string };

/** Success carrying `value`. */
export function ok<Value>(value: Value): Ok<Value> {
  return { kind: 'ok', value };
}

/** Try again, not before `after_ms` (null: the caller's own back-off decides). */
export function retry(code: string, reason: string, after_ms: number | null = null): Retry {
  return { kind: 'retry', code, reason, after_ms };
}

/** Final failure, with a code from core/errors.ts and a sentence for a person. */
export function reject(code: string, reason: string): Reject {
  return { kind: 'reject', code, reason };
}
