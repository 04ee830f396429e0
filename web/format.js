// Numbers as people read them: unit, sane precision, no-break spaces between number and unit. Pure.

/** No-break space. */
const SPACE = '\u00a0';
/** Shown where a value is not known. */
export const UNKNOWN = '–';

const NANO = 1_000_000_000n;
const GROUPED = new Intl.NumberFormat('en-US', { maximumFractionDigits: 0 });

/** @param {unknown} value @returns {value is number} */
function isNumber(value) {
  return typeof value === 'number' && Number.isFinite(value);
}

/**
 * A count with thousands separators: 4210 → "4,210".
 * @param {number | null | undefined} value
 */
export function count(value) {
  return isNumber(value) ? GROUPED.format(value) : UNKNOWN;
}

/**
 * A number to three significant digits, without an exponent between 1e-4 and 1e9.
 * @param {number | null | undefined} value
 */
export function number(value) {
  if (!isNumber(value)) return UNKNOWN;
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 1e9 || size < 1e-4) return scientific(value);
  if (size >= 1000) return GROUPED.format(value);
  return String(Number(value.toPrecision(3)));
}

const SUPERSCRIPTS = '⁰¹²³⁴⁵⁶⁷⁸⁹';

/** @param {number} value */
function scientific(value) {
  const [digits = '', exponent = ''] = value.toExponential(1).split('e');
  return `${Number(digits)}×10${superscript(Number(exponent))}`;
}

/**
 * A power of ten as the axis of a logarithmic chart has it: 100 → "100", 1e6 → "10⁶".
 * @param {number} value
 */
export function power(value) {
  if (value >= 0.01 && value < 1e4) return String(value);
  return `10${superscript(Math.round(Math.log10(value)))}`;
}

/** @param {number} exponent */
function superscript(exponent) {
  return Array.from(String(exponent), (each) => (each === '-' ? '⁻' : (SUPERSCRIPTS[Number(each)] ?? ''))).join('');
}

/**
 * A ratio 0..1 as a percentage: 0.18 → "18 %", 0.042 → "4.2 %". What is not whole never reads "100 %".
 * @param {number | null | undefined} ratio
 * @param {number} [digits] digits after the point; absent = as many as make sense
 */
export function percent(ratio, digits) {
  if (!isNumber(ratio)) return UNKNOWN;
  const value = ratio * 100;
  if (digits !== undefined) return `${value.toFixed(digits)}${SPACE}%`;
  const size = Math.abs(value);
  if (size < 100 && size >= 99) return `${(Math.sign(value) * Math.floor(size * 100)) / 100}${SPACE}%`;
  if (size === 0) return `0${SPACE}%`;
  if (size < 0.001) return `${value < 0 ? '> −' : '< '}0.001${SPACE}%`;
  return `${size < 10 ? Number(value.toPrecision(2)) : value.toFixed(0)}${SPACE}%`;
}

/**
 * A length of time: 252000 → "4 m 12 s", 3200 → "3.2 s", 0.4 → "400 µs".
 * @param {number | null | undefined} ms
 */
export function duration(ms) {
  if (!isNumber(ms)) return UNKNOWN;
  if (ms < 0) return `−${duration(-ms)}`;
  if (ms > 0 && ms < 0.9995) return `${Number((ms * 1000).toPrecision(3))}${SPACE}µs`;
  if (ms < 999.5) return `${Number(ms.toPrecision(3))}${SPACE}ms`;
  if (ms < 9_950) return `${Number((ms / 1000).toFixed(1))}${SPACE}s`;
  const seconds = Math.round(ms / 1000);
  if (seconds < 60) return `${seconds}${SPACE}s`;
  if (seconds < 3600) return pair(seconds, 60, ['m', 's']);
  if (seconds < 86_370) return pair(Math.round(seconds / 60), 60, ['h', 'm']);
  return pair(Math.round(seconds / 3600), 24, ['d', 'h']);
}

/** @param {number} value @param {number} base @param {[string, string]} units */
function pair(value, base, [large, small]) {
  const [whole, rest] = [Math.floor(value / base), value % base];
  const head = `${GROUPED.format(whole)}${SPACE}${large}`;
  return rest === 0 ? head : `${head}${SPACE}${rest}${SPACE}${small}`;
}

/**
 * GPU time: 9000 → "2 h 30 m of GPU time" in words is for the caller; this is the time alone.
 * @param {number | null | undefined} seconds
 */
export function gpuTime(seconds) {
  return isNumber(seconds) ? duration(seconds * 1000) : UNKNOWN;
}

/**
 * How long ago: "3.2 s ago".
 * @param {number | null | undefined} at_ms
 * @param {number} now_ms
 */
export function ago(at_ms, now_ms) {
  if (!isNumber(at_ms)) return UNKNOWN;
  const passed = now_ms - at_ms;
  if (passed < -1000) return `in${SPACE}${duration(-passed)}`;
  return `${duration(Math.max(0, passed < 1000 ? Math.round(passed / 100) * 100 : passed))}${SPACE}ago`;
}

/**
 * Nano-USD of a decimal text in USD ("42.1" → 42100000000n); null where it is not one.
 * @param {string | null | undefined} usd
 * @returns {bigint | null}
 */
export function nanoOfUsd(usd) {
  const match = /^(-?)(\d+)(?:\.(\d+))?$/.exec(usd ?? '');
  if (match === null) return null;
  const [, sign, whole = '0', fraction = ''] = match;
  const nano = BigInt(whole) * NANO + BigInt(fraction.slice(0, 9).padEnd(9, '0'));
  return sign === '-' ? -nano : nano;
}

/**
 * Money to the cent, or to two significant digits below a cent: "$42.10", "$1,204", "$0.0087".
 * @param {bigint | string | null | undefined} nano_usd nano-USD, as BigInt or decimal text
 */
export function money(nano_usd) {
  const nano = bigintOf(nano_usd);
  if (nano === null) return UNKNOWN;
  if (nano < 0n) return `−${money(-nano)}`;
  if (nano === 0n) return '$0.00';
  if (nano < 10_000_000n)
    return `$${Number((Number(nano) / 1e9).toPrecision(2))
      .toFixed(9)
      .replace(/0+$/, '')}`;
  if (nano >= 1000n * NANO) return `$${GROUPED.format((nano + NANO / 2n) / NANO)}`;
  const cents = (nano + 5_000_000n) / 10_000_000n;
  return `$${cents / 100n}.${String(cents % 100n).padStart(2, '0')}`;
}

/**
 * Money exactly, to nine decimals without trailing zeros beyond the cent: "$42.100000001".
 * @param {bigint | string | null | undefined} nano_usd
 */
export function moneyExact(nano_usd) {
  const nano = bigintOf(nano_usd);
  if (nano === null) return UNKNOWN;
  if (nano < 0n) return `−${moneyExact(-nano)}`;
  const fraction = String(nano % NANO)
    .padStart(9, '0')
    .replace(/0{1,7}$/, '');
  return `$${GROUPED.format(nano / NANO)}.${fraction}`;
}

/**
 * Money given as decimal text in USD.
 * @param {string | null | undefined} usd
 */
export function usd(usd) {
  return money(nanoOfUsd(usd));
}

/** @param {bigint | string | null | undefined} value @returns {bigint | null} */
export function bigintOf(value) {
  if (typeof value === 'bigint') return value;
  return typeof value === 'string' && /^-?\d+$/.test(value) ? BigInt(value) : null;
}

/**
 * A word of the API for people: "awaiting_approval" → "awaiting approval".
 * @param {string | null | undefined} word
 */
export function words(word) {
  return word === null || word === undefined ? UNKNOWN : word.replaceAll('_', ' ');
}

/**
 * Singular or plural with its count: "1 rank", "4,210 ranks".
 * @param {number} amount @param {string} noun @param {string} [plural]
 */
export function counted(amount, noun, plural = `${noun}s`) {
  return `${count(amount)}${SPACE}${amount === 1 ? noun : plural}`;
}

const CLOCK = { hour: '2-digit', minute: '2-digit', second: '2-digit', hour12: false };
const DAY = { year: 'numeric', month: '2-digit', day: '2-digit' };

/**
 * Local time; the date only where it is not today's.
 * @param {number | null | undefined} at_ms
 * @param {{ now_ms: number, timeZone?: string }} options
 */
export function localTime(at_ms, { now_ms, timeZone }) {
  if (!isNumber(at_ms)) return UNKNOWN;
  const zone = timeZone === undefined ? {} : { timeZone };
  const clock = new Intl.DateTimeFormat('en-GB', { ...CLOCK, ...zone }).format(at_ms);
  const day = new Intl.DateTimeFormat('en-CA', { ...DAY, ...zone });
  return day.format(at_ms) === day.format(now_ms) ? clock : `${day.format(at_ms)}${SPACE}${clock}`;
}

/**
 * UTC in full, for the hover: "2026-01-01 00:00:00.000 UTC".
 * @param {number | null | undefined} at_ms
 */
export function utcTime(at_ms) {
  return isNumber(at_ms) ? new Date(at_ms).toISOString().replace('T', ' ').replace('Z', ' UTC') : UNKNOWN;
}

/**
 * Any measured value: numbers by the unit in their name, words as they are, the rest as JSON.
 * @param {string} name field name with its unit suffix, e.g. `wait_ms`, `slowdown_ratio`
 * @param {unknown} value
 * @returns {string}
 */
export function valueOf(name, value) {
  if (value === null || value === undefined) return UNKNOWN;
  if (typeof value === 'boolean') return value ? 'yes' : 'no';
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map((item) => valueOf(name, item)).join(', ');
  if (typeof value === 'object')
    return Object.entries(value)
      .map(([key, inner]) => `${words(key)} ${valueOf(key, inner)}`)
      .join(' · ');
  if (typeof value === 'string') return /usd/.test(name) && /^-?[0-9.]+$/.test(value) ? knownUsd(name, value) : value;
  if (typeof value !== 'number') return UNKNOWN;
  if (/_ratio$|^accuracy$|^(estimate|low|high)$|_accuracy$/.test(name))
    return percent(value, Math.abs(value) < 1 && Math.abs(value) >= 0.001 ? 1 : undefined);
  if (/(^|_)(at|from|to|start)_ms$/.test(name)) return utcTime(value);
  if (/(^|_)ms(_|$)/.test(name)) return duration(value);
  if (/(^|_)seconds$/.test(name)) return gpuTime(value);
  if (name.endsWith('_celsius')) return `${number(value)}${SPACE}°C`;
  if (name.endsWith('_watts')) return `${number(value)}${SPACE}W`;
  if (name.endsWith('_mhz')) return `${number(value)}${SPACE}MHz`;
  return Number.isInteger(value) && Math.abs(value) < 1e12 ? count(value) : number(value);
}

/** @param {string} name @param {string} value */
function knownUsd(name, value) {
  return name.endsWith('nano_usd') ? money(value) : usd(value);
}
