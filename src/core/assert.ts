/** Throws on a broken invariant: a programmer error, never a wrong input. `condition` says what must hold in `message`. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** A broken invariant of our own code. Not caught anywhere but at the process boundary. */
export class AssertionError extends Error {
  override readonly name = 'AssertionError';
}

/** Marks a branch that exhaustive `switch` statements must never reach. */
export function unreachable(value: never): never {
  throw new AssertionError(`unreachable: ${JSON.stringify(value)}`);
}
