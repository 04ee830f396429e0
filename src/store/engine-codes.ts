/**
 * ClickHouse's error numbers by what they ask for. Source: src/Common/ErrorCodes.cpp of ClickHouse 26.7. Classified by
 * number, never by text.
 */

/** The statement took too much time. */
export const TIMEOUT_CODES: ReadonlySet<number> = new Set([159, 160]);

/** MEMORY_LIMIT_EXCEEDED: less at once may pass. */
export const MEMORY_CODE = 241;

/** TOO_MANY_ROWS: a statement would read more than it may; said before it reads. */
export const TOO_MANY_ROWS_CODE = 158;

/** READONLY: the user may not change settings or write. */
export const READONLY_CODE = 164;

/** AUTHENTICATION_FAILED: the password may have been rotated. */
export const AUTHENTICATION_CODE = 516;

/**
 * The server has too much to do or does not take writes now: time (159, 160), READONLY 164, too many queries 202, network
 * 209 and 210, memory 241, table read-only 242, space 243, TOO_MANY_PARTS 252, too few live replicas 285, quorum 286 and
 * 319, Keeper 225 and 999.
 */
export const PUSHBACK_CODES: ReadonlySet<number> = new Set([
  159, 160, 164, 202, 209, 210, 225, 241, 242, 243, 252, 285, 286, 319, 999,
]);

/**
 * Embedded: memory, disk space, too many parts or queries, time, files and locks pass by themselves. Everything else is
 * about the data, and the same data would fail again: the engine and its schema are ours alone.
 */
export const PASSING_CODES: ReadonlySet<number> = new Set([
  0, 74, 75, 76, 107, 159, 160, 173, 202, 210, 236, 241, 242, 243, 252, 290, 394, 439, 473, 719, 1000, 1001, 1002,
]);

/**
 * On a server only these say that the data cannot be read: columns (8, 9, 20, 44), parsing (6, 26, 27, 38, 41, 72, 130),
 * ends (32, 33, 3), types (50, 53, 70, 117, 349), sizes (69, 128, 131). Anything else (rights, a missing table, an
 * unknown setting) is the operator's to mend, and the data must wait for it.
 */
export const POISON_CODES: ReadonlySet<number> = new Set([
  3, 6, 8, 9, 20, 26, 27, 32, 33, 38, 41, 44, 50, 53, 69, 70, 72, 117, 128, 130, 131, 349,
]);
