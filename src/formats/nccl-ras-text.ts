import { type Attributes, type Decoding, quoted } from './decode-result.ts';
import { linesOf } from './nvidia-smi-capture.ts';

type State = {
  table: 'job' | 'communicators' | null;
  /** Communicator that the lines of an Errors or Warnings entry speak of. */
  subject: Attributes;
  mismatch: boolean;
  group: string | null;
  known: number;
};

/**
 * The text report of the RAS service: job summary, groups of communicators, errors and warnings. Tables are read by
 * their headings. Returns whether any line was of such a report. Source: NCCL user guide, troubleshooting/ras.
 */
export function decodeNcclRasText(decoding: Decoding, text: string): boolean {
  const state: State = { table: null, subject: {}, mismatch: false, group: null, known: 0 };
  for (const raw of linesOf(text)) {
    const line = raw.slice(0, 2_000).trim();
    if (line === '' || /^=+$/.test(line)) continue;
    const before = state.known;
    if (heading(state, line) || tableRow(decoding, state, line) || message(decoding, state, line)) state.known++;
    if (state.known === before) decoding.warn('LW-DECODE-LINE', quoted(line));
  }
  return state.known > 0;
}

function heading(state: State, line: string): boolean {
  if (/^(Job summary|Errors|Warnings)$/.test(line) || line.startsWith('Communicators... (')) {
    state.subject = {};
    state.mismatch = false;
    return true;
  }
  if (/^Group\s+Comms\s+Nodes\s+Ranks\s+Ranks\s+Ranks\s+Status\s+Errors$/.test(line)) state.table = 'communicators';
  else if (/^Nodes\s+Processes\s+GPUs\s+Processes\s+GPUs$/.test(line)) state.table = 'job';
  else return /^(#\s+in group|\(total\)\s+per node)/.test(line);
  return true;
}

const RANGE = /^(\d{1,9})(?:-(\d{1,9}))?$/;

function tableRow(decoding: Decoding, state: State, line: string): boolean {
  const cells = line.split(/\s+/);
  if (state.table === 'job' && cells.length === 5 && cells.every((cell) => RANGE.test(cell))) {
    const names = ['nodes', 'processes_per_node', 'gpus_per_process', 'processes', 'gpus'];
    for (const [index, what] of names.entries()) putRange(decoding, 'nccl.job.size', cells[index] ?? '', { what });
    return true;
  }
  if (state.table !== 'communicators' || cells.length !== 8 || !cells.slice(0, 6).every((cell) => RANGE.test(cell)))
    return false;
  const [group = '', count = '', nodes = '', perNode = '', perComm = '', inGroup = '', status = '', errors = ''] =
    cells;
  const of = { 'nccl.group': group };
  putRange(decoding, 'nccl.communicators', count, of);
  for (const [what, cell] of Object.entries({
    nodes_per_communicator: nodes,
    ranks_per_node: perNode,
    ranks_per_communicator: perComm,
    ranks: inGroup,
  }))
    putRange(decoding, 'nccl.communicator.shape', cell, { ...of, what });
  const healthy = errors === 'OK';
  decoding.sample('nccl.communicator.healthy', healthy ? 1 : 0, {
    ...of,
    status,
    ...(healthy ? {} : { 'error.type': errors.slice(0, 64) }),
  });
  return true;
}

/** "8" is a value; "7-8" is a lowest and a highest, told by the attribute `bound`. */
function putRange(
  decoding: Decoding,
  metric: 'nccl.job.size' | 'nccl.communicators' | 'nccl.communicator.shape',
  cell: string,
  of: Attributes,
): void {
  const match = RANGE.exec(cell);
  if (match === null) return decoding.absent(metric, of, 'parse_error');
  if (match[2] === undefined) return decoding.sample(metric, Number(match[1]), of);
  decoding.sample(metric, Number(match[1]), { ...of, bound: 'min' });
  decoding.sample(metric, Number(match[2]), { ...of, bound: 'max' });
}

function message(decoding: Decoding, state: State, line: string): boolean {
  const subject = /^#(\d{1,9})-(\d{1,9}) \(([0-9a-f]{1,32})\) ([A-Z_]{1,40})$/.exec(line);
  if (subject !== null) {
    state.subject = { 'nccl.group': subject[1] ?? '', 'nccl.communicator': subject[3] ?? '' };
    state.mismatch = subject[4] === 'MISMATCH';
    return true;
  }
  if (/^[A-Z_]{4,40}$/.test(line)) {
    state.subject = {};
    state.mismatch = false;
    return true;
  }
  const match = MESSAGES.flatMap(([pattern, act]) => {
    const found = pattern.exec(line);
    return found === null ? [] : [() => act(decoding, state, found)];
  })[0];
  match?.();
  return match !== undefined;
}

type Act = (decoding: Decoding, state: State, match: RegExpExecArray) => void;

const MESSAGES: readonly (readonly [RegExp, Act])[] = [
  [
    /^(\d{1,9}) ranks? ha(?:ve|s) launched up to operation (\d{1,15})$/,
    (decoding, { subject }, match) =>
      decoding.sample('nccl.communicator.ranks_at_operation', Number(match[1]), {
        ...subject,
        operation: match[2] ?? '',
      }),
  ],
  [
    /^Rank (\d{1,9}) -- GPU (\d{1,4}) managed by process (\d{1,10}) on node (\S{1,256})$/,
    (decoding, { subject, mismatch }, match) =>
      decoding.sample(mismatch ? 'nccl.rank.mismatched' : 'nccl.rank.missing', 1, {
        ...subject,
        rank: match[1] ?? '',
        gpu: match[2] ?? '',
        'process.pid': match[3] ?? '',
        'host.name': match[4] ?? '',
      }),
  ],
  [
    /^The missing ranks?: ([\d, -]{1,1000})$/,
    (decoding, { subject }, match) => {
      for (const rank of (match[1] ?? '').split(',').map((word) => word.trim()))
        if (/^\d{1,9}$/.test(rank)) decoding.sample('nccl.rank.missing', 1, { ...subject, rank });
        else decoding.warn('LW-DECODE-LINE', quoted(`missing rank ${rank}`));
    },
  ],
  [
    /^Missing communicator data from (\d{1,9}) ranks?$/,
    (decoding, { subject }, match) => decoding.sample('nccl.ranks.missing', Number(match[1]), subject),
  ],
  [
    /^Process (\d{1,10}) on node (\S{1,256}) managing GPUs? ([\d, -]{1,200})$/,
    (decoding, { subject }, match) =>
      decoding.absent(
        'nccl.rank.collective_count',
        { ...subject, 'process.pid': match[1] ?? '', 'host.name': match[2] ?? '', gpu: match[3] ?? '' },
        'lost',
      ),
  ],
  [
    /^Encountered (\d{1,9}) communication timeouts?\b/,
    (decoding, _, match) => decoding.sample('nccl.ras.timeouts', Number(match[1]), {}),
  ],
  [/^Missing communicator data from \d{1,9} job process(es)?$/, () => undefined],
  [/^Communicator ranks have different /, () => undefined],
];
