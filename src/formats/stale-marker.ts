/**
 * The NaN that says "this series has ended": bits 7ff0000000000002 (prometheus model/value, StaleNaN), as two words.
 * OTLP says the same with the flag NO_RECORDED_VALUE.
 */
export const STALE_LOW = 2;
export const STALE_HIGH = 0x7ff00000;
