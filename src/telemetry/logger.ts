import { pino, stdTimeFunctions } from 'pino';
import { redact } from '../core/redact.ts';

type Fields = Readonly<Record<string, unknown>>;
type Write = (fields: Fields, message: string) => void;

/** What every part of the service logs through: fields first, then one sentence. */
export type Logger = {
  readonly trace: Write;
  readonly debug: Write;
  readonly info: Write;
  readonly warn: Write;
  readonly error: Write;
  /** A logger that adds `fields` to every line. */
  readonly child: (fields: Fields) => Logger;
};

export type LoggerOptions = {
  readonly level: 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
  /** `auto`: pretty on a terminal, JSON elsewhere. */
  readonly format: 'auto' | 'json' | 'pretty';
  readonly isTerminal: boolean;
  readonly color: boolean;
  /** Receives whole lines with their line end; standard error in the service. */
  readonly write: (line: string) => void;
};

/** Fields whose values are never written, wherever they stand. */
const SECRET_FIELDS = ['authorization', 'secret', 'token', 'password', 'cookie', 'routing_key'];

/** The pino door: one JSON object a line, or a readable line; secrets are masked by field name and by their form. */
export function createLogger(options: LoggerOptions): Logger {
  const pretty = options.format === 'pretty' || (options.format === 'auto' && options.isTerminal);
  const write = (line: string): void => {
    const masked = String(redact(line));
    options.write(pretty ? readable(masked, options.color) : masked);
  };
  const paths = SECRET_FIELDS.flatMap((field) => [field, `*.${field}`, `*.*.${field}`]);
  const logger = pino(
    {
      level: options.level,
      base: null,
      messageKey: 'message',
      timestamp: stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
      redact: { paths, censor: '***' },
    },
    { write },
  );
  return wrap(logger);
}

type PinoLike = {
  [level in 'trace' | 'debug' | 'info' | 'warn' | 'error']: (fields: object, message: string) => void;
} & {
  child(fields: object): PinoLike;
};

function wrap(logger: PinoLike): Logger {
  return {
    trace: (fields, message) => logger.trace(fields, message),
    debug: (fields, message) => logger.debug(fields, message),
    info: (fields, message) => logger.info(fields, message),
    warn: (fields, message) => logger.warn(fields, message),
    error: (fields, message) => logger.error(fields, message),
    child: (fields) => wrap(logger.child(fields)),
  };
}

const COLORS: Readonly<Record<string, string>> = { error: '31', warn: '33', info: '32', debug: '36', trace: '90' };

function readable(line: string, color: boolean): string {
  const { time, level, message, ...fields } = JSON.parse(line) as Record<string, unknown>; // the parse door: our own line
  const name = String(level);
  const shown = color ? `\u001B[${COLORS[name] ?? '0'}m${name.padEnd(5)}\u001B[0m` : name.padEnd(5);
  const rest = Object.entries(fields).map(([key, value]) => {
    const text = typeof value === 'string' ? value : JSON.stringify(value);
    return ` ${key}=${printable(text)}`;
  });
  return `${String(time).slice(11, 23)} ${shown} ${printable(String(message))}${rest.join('')}\n`;
}

/** Names come from telemetry: control characters must not reach a terminal. */
function printable(text: string): string {
  return text.replace(/\p{Cc}/gu, (character) => (character === '\n' ? '\n    ' : '\uFFFD'));
}
