/** Process exit codes of every command (contract: cli.md). */
export const EXIT = {
  done: 0,
  internal: 1,
  usage: 2,
  data: 3,
  not_found: 4,
  not_authorised: 5,
  findings: 6,
  unreachable: 7,
} as const;

type ErrorEntry = { readonly exit: number; readonly status: number; readonly title: string };

/**
 * Every error code, once: the exit code on the command line, the HTTP status of the API and a title.
 * Messages add what, value, expected and next step. Codes never change meaning.
 */
export const ERRORS = {
  'LW-INTERNAL': { exit: EXIT.internal, status: 500, title: 'internal failure' },
  'LW-USAGE': { exit: EXIT.usage, status: 400, title: 'wrong usage' },
  'LW-CONFIG': { exit: EXIT.usage, status: 422, title: 'invalid configuration' },
  'LW-CONFIG-RULE': { exit: EXIT.data, status: 422, title: 'invalid rule' },
  'LW-PUBLIC-ADDRESS': { exit: EXIT.usage, status: 422, title: 'public address without a token' },
  'LW-PORT-IN-USE': { exit: EXIT.internal, status: 500, title: 'address in use' },
  'LW-DATA-DIR': { exit: EXIT.internal, status: 500, title: 'data directory not usable' },
  'LW-DATA-DIR-TAKEN': { exit: EXIT.internal, status: 500, title: 'data directory in use' },
  'LW-SPOOL-FULL': { exit: EXIT.internal, status: 503, title: 'spool full' },
  'LW-SPOOL-IO': { exit: EXIT.internal, status: 503, title: 'spool not writable' },
  'LW-KAFKA-AUTH': { exit: EXIT.not_authorised, status: 503, title: 'Kafka refused the login or the access' },
  'LW-KAFKA-TOPIC': { exit: EXIT.usage, status: 503, title: 'Kafka topic missing' },
  'LW-STORE': { exit: EXIT.internal, status: 503, title: 'telemetry store failed' },
  'LW-STORE-AUTH': { exit: EXIT.not_authorised, status: 503, title: 'telemetry store refused the login' },
  'LW-STORE-GONE': { exit: EXIT.unreachable, status: 503, title: 'telemetry store not reachable' },
  'LW-CONTROL': { exit: EXIT.internal, status: 503, title: 'control store failed' },
  'LW-CONTROL-GONE': { exit: EXIT.unreachable, status: 503, title: 'control store not reachable' },
  'LW-CONTROL-DOUBT': { exit: EXIT.unreachable, status: 503, title: 'not known whether the control store wrote' },
  'LW-CONFLICT': { exit: EXIT.internal, status: 409, title: 'changed meanwhile' },
  'LW-INPUT': { exit: EXIT.data, status: 400, title: 'bad input data' },
  'LW-INPUT-FILE': { exit: EXIT.data, status: 400, title: 'input not readable' },
  'LW-RECORD-JSON': { exit: EXIT.data, status: 400, title: 'record is not JSON' },
  'LW-RECORD-TYPE': { exit: EXIT.data, status: 400, title: 'unknown record type' },
  'LW-RECORD-FIELD': { exit: EXIT.data, status: 400, title: 'record field missing or wrong' },
  'LW-RECORD-SIZE': { exit: EXIT.data, status: 413, title: 'record too large' },
  'LW-RECORD-DEPTH': { exit: EXIT.data, status: 400, title: 'record nested too deep' },
  'LW-RECORD-KEY': { exit: EXIT.data, status: 400, title: 'forbidden key in record' },
  'LW-RECORD-CLOCK': { exit: EXIT.data, status: 400, title: 'record more than a day ahead of the clock' },
  'LW-OUTPUT': { exit: EXIT.internal, status: 500, title: 'output not writable' },
  'LW-FRAME-VERSION': { exit: EXIT.data, status: 500, title: 'written by a newer version' },
  'LW-NOT-FOUND': { exit: EXIT.not_found, status: 404, title: 'not found' },
  'LW-METHOD': { exit: EXIT.usage, status: 405, title: 'method not allowed' },
  'LW-UNAUTHENTICATED': { exit: EXIT.not_authorised, status: 401, title: 'not authenticated' },
  'LW-FORBIDDEN': { exit: EXIT.not_authorised, status: 403, title: 'scope missing' },
  'LW-BODY': { exit: EXIT.data, status: 400, title: 'invalid body' },
  'LW-BODY-SIZE': { exit: EXIT.data, status: 413, title: 'body too large' },
  'LW-MEDIA-TYPE': { exit: EXIT.data, status: 415, title: 'unsupported media type' },
  'LW-HTTP': { exit: EXIT.data, status: 400, title: 'malformed HTTP request' },
  'LW-HTTP-HEADERS': { exit: EXIT.data, status: 431, title: 'request headers too large' },
  'LW-HTTP-TIMEOUT': { exit: EXIT.unreachable, status: 408, title: 'request took too long' },
  'LW-ORIGIN': { exit: EXIT.not_authorised, status: 403, title: 'request from another origin' },
  'LW-BUSY': { exit: EXIT.unreachable, status: 503, title: 'no room now, or about to end' },
  'LW-OVERLOADED': { exit: EXIT.unreachable, status: 429, title: 'overloaded' },
  'LW-UNREACHABLE': { exit: EXIT.unreachable, status: 502, title: 'peer not reachable' },
  'LW-TIMEOUT': { exit: EXIT.unreachable, status: 504, title: 'timed out' },
  'LW-EGRESS': { exit: EXIT.not_authorised, status: 403, title: 'target address not allowed' },
  'LW-DELIVERY': { exit: EXIT.unreachable, status: 502, title: 'delivery refused by the target' },
  'LW-SINK-GONE': { exit: EXIT.unreachable, status: 502, title: 'the target asks not to be told again' },
  'LW-SIGNATURE': { exit: EXIT.not_authorised, status: 401, title: 'signature wrong' },
  'LW-COST-JSON': { exit: EXIT.data, status: 400, title: 'cost record is not JSON' },
  'LW-COST-FIELD': { exit: EXIT.data, status: 400, title: 'cost record field missing or wrong' },
  'LW-COST-CURRENCY': { exit: EXIT.data, status: 400, title: 'currency is not USD' },
  'LW-COST-NUMBER': { exit: EXIT.data, status: 400, title: 'number outside its limits' },
  'LW-COST-MONEY': { exit: EXIT.data, status: 400, title: 'money is not a decimal string' },
  'LW-COST-RANGE': { exit: EXIT.data, status: 400, title: 'interval ends before it begins' },
  'LW-COST-ASSET-CONFLICT': { exit: EXIT.data, status: 400, title: 'asset defined twice, differently' },
  'LW-COST-UNKNOWN-ASSET': { exit: EXIT.data, status: 400, title: 'asset unknown' },
  'LW-COST-PRICE-CONFLICT': { exit: EXIT.data, status: 400, title: 'two prices for one time' },
  'LW-COST-MIG': { exit: EXIT.data, status: 400, title: 'MIG profile unknown' },
  'LW-COST-GPU-INDEX': { exit: EXIT.data, status: 400, title: 'GPU indexes missing or wrong' },
  'LW-COST-CAPACITY': { exit: EXIT.data, status: 400, title: 'claims exceed the asset' },
  'LW-COST-UNPRICED': { exit: EXIT.data, status: 400, title: 'asset without a price' },
} as const satisfies Record<string, ErrorEntry>;

export type ErrorCode = keyof typeof ERRORS;

export type ErrorDetail = { readonly path: string; readonly expected: string; readonly got: string };

/**
 * An expected failure that stops the caller. `message` says what, value, expected and next step;
 * `errors` lists every finding where there are several (configuration, bodies).
 */
export class LeewayError extends Error {
  override readonly name = 'LeewayError';
  readonly code: ErrorCode;
  readonly errors: readonly ErrorDetail[];

  constructor(code: ErrorCode, message: string, options: { cause?: unknown; errors?: readonly ErrorDetail[] } = {}) {
    super(message, options.cause === undefined ? {} : { cause: options.cause });
    this.code = code;
    this.errors = options.errors ?? [];
  }
}

/** The `code` of a system error (`ENOENT`, `EADDRINUSE`), or null: classification never reads message text. */
export function systemCode(error: unknown): string | null {
  if (typeof error === 'object' && error !== null && 'code' in error && typeof error.code === 'string')
    return error.code;
  return null;
}
