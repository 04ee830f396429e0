import { type Attributes, type Decoding, notDecodable } from './decode-result.ts';

/** A section of a capture file, or a whole file that is none: its raw output and the load state it was taken in. */
export type Section = { readonly command: string; readonly state: string | null; readonly body: string };

const RULE = '#'.repeat(80);
/** Sections of one capture: 10 commands × a few states, with room. */
const SECTIONS_MAX = 1_000;

/**
 * Splits a capture file (header, then sections: rule, `# group :: name`, `# $ command`, rule, raw output) into its
 * sections; null when `text` is no capture but the raw output itself.
 * Layout: nvidia_gpu_exporter internal/captures. O(length).
 */
export function captureSections(text: string): readonly Section[] | null {
  if (!text.includes(`${RULE}\n`) && !text.includes(`${RULE}\r\n`)) return null;
  const lines = text.split('\n');
  const sections: Section[] = [];
  let open: { command: string; state: string | null; from: number } | null = null;
  const close = (end: number): void => {
    if (open !== null)
      sections.push({ command: open.command, state: open.state, body: lines.slice(open.from, end).join('\n') });
    open = null;
  };
  for (let index = 0; index + 2 < lines.length && sections.length < SECTIONS_MAX; index++) {
    const title = titleAt(lines, index);
    if (title === null) continue;
    close(index);
    open = { command: title.command, state: title.state, from: title.next };
    index = title.next - 1;
  }
  close(lines.length);
  return sections.length === 0 ? null : sections;
}

/** Comment lines of a section's head: name, command, and what a tool adds. */
const HEAD_LINES_MAX = 10;

function titleAt(lines: readonly string[], at: number): { command: string; state: string | null; next: number } | null {
  if (lines[at]?.trimEnd() !== RULE) return null;
  const named = /^# (\S+) :: \S/.exec(lines[at + 1] ?? '');
  if (named === null) return null;
  const group = named[1] ?? '';
  let command = '';
  for (let next = at + 2; next < at + HEAD_LINES_MAX; next++) {
    const line = lines[next]?.trimEnd();
    if (line === RULE) return { command, state: group === 'capabilities' ? null : group, next: next + 1 };
    if (line === undefined || !line.startsWith('#')) return null;
    if (line.startsWith('# $ ')) command = line.slice(4);
  }
  return null;
}

/** Characters of an output of nvidia-smi: a capture has 150,000, a night of dmon at 1 Hz and 16 GPUs 80 MB. */
const CHARACTERS_MAX = 96 * 1_048_576;

/**
 * The sections whose command matches, or the whole text when it is no capture. Throws LW-INPUT when a capture holds
 * none of them, or when the text is too large.
 */
export function sectionsOf(text: string, command: RegExp, what: string): readonly Section[] {
  if (text.length > CHARACTERS_MAX)
    throw notDecodable(`${text.length} characters`, `at most ${CHARACTERS_MAX} of ${what}`);
  const sections = captureSections(text);
  if (sections === null) return [{ command: '', state: null, body: text }];
  const found = sections.filter((section) => command.test(section.command));
  if (found.length === 0) throw notDecodable('the capture has no such section', `a section of ${what}`);
  return found;
}

/** Attributes of a section: the load state it was taken in, where the capture says so. */
export function stateOf(section: Section): Attributes {
  return section.state === null ? {} : { state: section.state };
}

const ERROR_LINES =
  /^(nvidia-smi has failed|no devices were found|unable to determine|unable to retrieve|failed to|field ".*" is not a valid|error:|error |invalid |option |gpu is lost|insufficient permissions|you do not have|the nvidia driver)/i;

/**
 * Whether a line is an error text of nvidia-smi; it becomes a warning, and a lost GPU an absent `hw.status`.
 * Source: the tool's own texts, seen in issues of its exporters.
 */
export function isErrorLine(decoding: Decoding, line: string, attributes: Attributes): boolean {
  const text = line.trim();
  if (!ERROR_LINES.test(text)) return false;
  decoding.warn('LW-DECODE-SOURCE-ERROR', text.slice(0, 200));
  const bus = /[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-9a-f]/i.exec(text)?.[0];
  if (bus !== undefined) decoding.absent('hw.status', { ...attributes, 'pci.bus_id': bus }, 'lost');
  return true;
}

/** Lines of a text without line ends, `\r` included; one at a time, so that a long text is not held twice. */
export function* linesOf(text: string): Generator<string> {
  let from = 0;
  while (from <= text.length) {
    const newline = text.indexOf('\n', from);
    const end = newline === -1 ? text.length : newline;
    yield text.slice(from, text[end - 1] === '\r' && end > from ? end - 1 : end);
    from = end + 1;
  }
}
