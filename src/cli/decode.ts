import { EXIT, LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import { readInfinibandTree } from '../files/infiniband-tree.ts';
import { readBytes } from '../files/input.ts';
import { parseXml } from '../files/xml-document.ts';
import { observedAt, textDecoders } from '../formats/decode-source.ts';
import type { DecodeResult, DecodeWarningCode } from '../formats/decode-result.ts';
import { decodeInfiniband } from '../formats/infiniband.ts';
import { sourceText } from '../formats/source-text.ts';
import { defineCommand, nearest, type Terminal, usage } from './command.ts';
import { printable } from './printable.ts';

/** Bytes of one source after unpacking: an Inspector dump of a million collectives is 200 to 500 MB, a scrape 20 MB. */
const SOURCE_BYTES_MAX = 256 * 1_048_576;

const TEXT_DECODERS = textDecoders(parseXml);
const SOURCES = [...TEXT_DECODERS.keys(), 'infiniband'];

/** What `--strict` does not forgive: something in the source was not understood. */
const STRICT_CODES: ReadonlySet<DecodeWarningCode> = new Set([
  'LW-DECODE-LINE',
  'LW-DECODE-COLUMNS',
  'LW-DECODE-DUPLICATE',
  'LW-DECODE-LIMIT',
  'LW-DECODE-ENCODING',
]);

/** `leeway decode`: what a source said, in base units, with every absence and its reason. */
export const command = defineCommand({
  name: 'decode',
  summary: 'Decodes what a source said: nvidia-smi, DCGM, Triton, Prometheus, InfiniBand, NCCL.',
  usage: 'decode --source SOURCE FILE|DIR|- [--at-ms T] [--format json]',
  examples: [
    'nvidia-smi -q -x | leeway decode --source nvidia-smi-xml -',
    'leeway decode --source infiniband /sys/class/infiniband --format json',
  ],
  options: {
    source: { type: 'string', value: 'SOURCE', required: true, about: `who wrote it: ${SOURCES.join(', ')}` },
    'at-ms': {
      type: 'string',
      value: 'T',
      about: 'time of reading, Unix milliseconds: stamps samples, marks older ones stale',
    },
    strict: { type: 'boolean', about: 'exit 3 when a line was not understood' },
    format: { type: 'string', value: 'table|json', default: 'table', about: 'output' },
  },
  positionals_max: 1,
  run: async ({ values, positionals, terminal }) => {
    const [path] = positionals;
    if (path === undefined) throw usage('decode', 'which FILE or DIR? "-" is standard input');
    if (values.format !== 'json' && values.format !== 'table')
      throw usage('decode', `--format is json or table, got "${values.format}"`);
    const at_ms = timeOf(values['at-ms']);
    const decoded = await decodePlace(values.source, path, terminal);
    const result = at_ms === null ? decoded : observedAt(decoded, at_ms);
    const refused = values.strict ? result.warnings.find(({ code }) => STRICT_CODES.has(code)) : undefined;
    if (refused !== undefined)
      throw new LeewayError('LW-INPUT', `${path}: ${refused.code} ${refused.message}; expected none with --strict`);
    terminal.out(values.format === 'json' ? asJson(result) : asTable(result));
    return EXIT.done;
  },
});

async function decodePlace(source: string, path: string, terminal: Terminal): Promise<DecodeResult> {
  try {
    if (source === 'infiniband') return decodeInfiniband(await readInfinibandTree(path, terminal.cwd));
    const decode = TEXT_DECODERS.get(source);
    if (decode === undefined) throw unknownSource(source);
    const { text, replaced } = sourceText(await readWhole(path, terminal));
    const result = decode(text);
    if (!replaced) return result;
    const warning = { code: 'LW-DECODE-ENCODING', message: 'invalid bytes were replaced by U+FFFD' } as const;
    return { ...result, warnings: [...result.warnings, warning] };
  } catch (error) {
    if (error instanceof LeewayError && error.code === 'LW-INPUT')
      throw new LeewayError('LW-INPUT', `${path}: ${error.message}`, { cause: error });
    throw error;
  }
}

function unknownSource(source: string): LeewayError {
  const closest = nearest(source, SOURCES);
  const hint = closest === null ? `one of ${SOURCES.join(', ')}` : `did you mean ${closest}?`;
  return usage('decode', `unknown source "${source}", ${hint}`);
}

async function readWhole(path: string, terminal: Terminal): Promise<Uint8Array> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of readBytes({ path, cwd: terminal.cwd, stdin: terminal.stdin })) {
    bytes += chunk.length;
    if (bytes > SOURCE_BYTES_MAX)
      throw new LeewayError('LW-INPUT', `more than ${SOURCE_BYTES_MAX} bytes; decode a part of it`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

function timeOf(text: string | undefined): number | null {
  if (text === undefined) return null;
  const at_ms = /^\d{1,15}$/.test(text) ? Number(text) : Number.NaN;
  if (at_ms >= LIMITS.time_ms_min && at_ms <= LIMITS.time_ms_max) return at_ms;
  throw usage('decode', `--at-ms is Unix milliseconds between 2000 and 2100, got "${text.slice(0, 40)}"`);
}

/** Integers that a double does not hold are decimal strings (cli.md "Rules for every command"). */
function asJson(result: DecodeResult): string {
  const exact = (_: string, value: unknown): unknown => (typeof value === 'bigint' ? value.toString() : value);
  return `${JSON.stringify({ version: 1, ...result }, exact)}\n`;
}

function asTable(result: DecodeResult): string {
  const lines: string[] = [];
  for (const { metric, value, unit, attributes, quality } of result.samples)
    lines.push(`${metric}${braces(attributes)} ${value} ${unit}${quality === 'ok' ? '' : ` [${quality}]`}`.trimEnd());
  for (const { metric, attributes, reason } of result.absent)
    lines.push(`${metric}${braces(attributes)} absent: ${reason}`);
  for (const item of result.inventory) lines.push(`device ${JSON.stringify(item)}`);
  for (const { code, message } of result.warnings) lines.push(`warning[${code}]: ${message}`);
  lines.push(`${result.samples.length} values, ${result.absent.length} absent, ${result.warnings.length} warnings`, '');
  return lines.map((line) => printable(line.replaceAll('\n', '\ufffd'))).join('\n');
}

function braces(attributes: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(attributes).map(([name, value]) => `${name}=${JSON.stringify(value)}`);
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`;
}
