import { loadConfig, type LoadedConfig } from '../config.ts';
import { EXIT, LeewayError } from '../core/errors.ts';
import { defineCommand, usage } from './command.ts';
import type { Letter, LetterBox } from './deadletter/letter.ts';

/** Letters named one by one. */
const IDS_MAX = 1_000;
/** Sources of one letter in the table; `--format json` has all. */
const SOURCES_SHOWN = 3;

/** What could not be stored, and the way back. */
export const command = defineCommand({
  name: 'deadletter',
  summary: 'Lists what was set aside instead of being stored, with the reason, and puts it back.',
  usage: 'deadletter list|replay [ID…] [--all] [--config FILE] [--data-dir DIR] [--format json]',
  examples: ['leeway deadletter list', 'leeway deadletter replay 000000000001-step', 'leeway deadletter replay --all'],
  options: {
    all: { type: 'boolean', about: 'replay everything that can be replayed' },
    config: { type: 'string', value: 'FILE', about: 'configuration; without it leeway.config.json where it exists' },
    'data-dir': { type: 'string', value: 'DIR', about: 'the data directory of the service' },
    format: { type: 'string', value: 'FORMAT', about: 'text or json', default: 'text' },
  },
  positionals_max: IDS_MAX,
  drains: true,
  run: async ({ values, positionals, terminal }) => {
    const [action, ...ids] = positionals;
    const { all, format } = values;
    if (format !== 'text' && format !== 'json')
      throw usage('deadletter', `unknown format "${format}", expected text or json`);
    if (action !== 'list' && action !== 'replay')
      throw usage('deadletter', `expected "list" or "replay", got ${action === undefined ? 'nothing' : `"${action}"`}`);
    if (action === 'list' && (all || ids.length > 0)) throw usage('deadletter', '"list" takes no id and no --all');
    if (action === 'replay' && all === ids.length > 0)
      throw usage('deadletter', `"replay" wants ids or --all, got ${all ? 'both' : 'neither'}`);
    const loaded = await loadConfig({
      path: values.config,
      cwd: terminal.cwd,
      flags: { data_dir: values['data-dir'] },
    });
    await using box = await openBox(loaded, terminal.signal);
    const letters = await box.list();
    terminal.out(
      action === 'list' ? listed(box, letters, format) : await replayed(box, chosen(letters, all ? null : ids), format),
    );
    return EXIT.done;
  },
});

/** Where the letters of this configuration lie. A driver that is not used is not loaded. */
async function openBox(loaded: LoadedConfig, signal: AbortSignal): Promise<LetterBox> {
  const { bus } = loaded.config;
  if (bus.kind === 'kafka') return (await import('./deadletter/kafka-box.ts')).openKafkaBox(loaded, bus, signal);
  return (await import('./deadletter/spool-box.ts')).openSpoolBox(loaded.paths.data_dir);
}

/** The letters of these ids, or all that can be replayed. Throws LW-NOT-FOUND, LW-INPUT. */
export function chosen(letters: readonly Letter[], ids: readonly string[] | null): readonly Letter[] {
  if (ids === null) return letters.filter(({ not_replayable }) => not_replayable === null);
  return ids.map((id) => {
    const letter = letters.find((other) => other.id === id);
    if (letter === undefined)
      throw new LeewayError('LW-NOT-FOUND', `no dead letter ${id.slice(0, 100)}; "leeway deadletter list" shows all`);
    if (letter.not_replayable !== null)
      throw new LeewayError('LW-INPUT', `${id} cannot be replayed: ${letter.not_replayable}`);
    return letter;
  });
}

function listed(box: LetterBox, letters: readonly Letter[], format: 'text' | 'json'): string {
  if (format === 'json') {
    const items = letters.map(({ raw, contents, ...letter }) => ({
      ...letter,
      contents: contents.map((part) => ({ ...part, epoch: String(part.epoch) })), // 64-bit integers are text (cli.md)
      raw_base64: raw.toString('base64'),
    }));
    return `${JSON.stringify({ version: 1, place: box.place, letters: items })}\n`;
  }
  if (letters.length === 0) return `Nothing is set aside in ${box.place}\n`;
  const rows = letters.reduce((sum, letter) => sum + letter.rows, 0);
  return [
    `${letters.length} set aside in ${box.place}, ${rows} rows`,
    ...letters.flatMap(linesOf),
    'Put back what can be stored now with "leeway deadletter replay ID" or --all',
    '',
  ].join('\n');
}

function linesOf(letter: Letter): string[] {
  const { id, kind, table, frames, rows, bytes, code, reason, set_aside_at_ms, contents, not_replayable } = letter;
  const when = set_aside_at_ms === null ? '' : `, ${new Date(set_aside_at_ms).toISOString()}`;
  const more = contents.length - SOURCES_SHOWN;
  return [
    `${id}  ${kind}, ${table ?? 'no table'}, ${rows} rows in ${frames} frames, ${bytes} bytes${when}`,
    `  ${code ?? 'LW-…'}: ${reason ?? 'the reason was not noted'}`,
    ...contents.slice(0, SOURCES_SHOWN).map(({ source, epoch, sequences, rows: own }) => {
      const ranges = sequences.map(([from, to]) => (from === to ? String(from) : `${from}-${to}`)).join(' ');
      return `  ${own} rows of ${source}, epoch ${epoch}, sequences ${ranges}`;
    }),
    ...(more > 0 ? [`  and ${more} more sources and epochs`] : []),
    ...(not_replayable === null ? [] : [`  not replayable: ${not_replayable}`]),
  ];
}

async function replayed(box: LetterBox, letters: readonly Letter[], format: 'text' | 'json'): Promise<string> {
  const done = await box.replay(letters);
  const rows = done.reduce((sum, letter) => sum + letter.rows, 0);
  if (format === 'json') return `${JSON.stringify({ version: 1, place: box.place, replayed: done, next: box.next })}\n`;
  if (done.length === 0) return `Nothing to replay in ${box.place}\n`;
  return `Put back ${done.length} of ${box.place}, ${rows} rows; ${box.next}\n`;
}
