import { canonicalJson } from '../../core/canonical.ts';
import { bitsOfExact } from '../../formats/exact-number.ts';
import { type MarkedSample, SERIES } from './marked-batch.ts';
import { type AccountLine, lossOf, type ReadBack } from './reading.ts';
import type { SendingFigures, SentBatch } from './sending.ts';

/** Something that does not add up: what, what it should be and what it is. */
export type Problem = { readonly what: string; readonly expected: string; readonly got: string };

/** Rows that were compared bit for bit with what was sent. */
export type Comparison = {
  readonly compared: number;
  readonly equal: number;
  readonly missing: number;
  readonly doubled: number;
  /** Under the key of a sent row, but with other content. */
  readonly changed: number;
  /** Under no key that was sent. */
  readonly foreign: number;
};

/** Rows that the store should hold of what was sent: each record once, and the series that the samples are of. */
export function recordsOf(sent: readonly SentBatch[]): number {
  const rows = sent.reduce((sum, { batch }) => sum + batch.rows - batch.copies, 0);
  return rows + seriesOf(sent).length;
}

function seriesOf(sent: readonly SentBatch[]): readonly string[] {
  return sent.some(({ batch }) => batch.samples.length > 0) ? SERIES : [];
}

/** Compares what was read back with what was sent. O(rows). */
export function compare(sent: readonly SentBatch[], read: ReadBack): Comparison {
  const steps = tally(
    sent.flatMap(({ batch }) => batch.steps.map((step) => [`${step.step}/${step.rank}`, canonicalJson(step)] as const)),
    read.steps.map((step) => [
      `${String(Reflect.get(Object(step), 'step'))}/${String(Reflect.get(Object(step), 'rank'))}`,
      canonicalJson(step),
    ]),
  );
  const samples = tally(
    sent.flatMap(({ batch }) => batch.samples.map(sampleEntry)),
    read.samples.map(sampleEntry),
  );
  const kinds = ['compared', 'equal', 'missing', 'doubled', 'changed', 'foreign'] as const;
  const sum = kinds.map((kind) => [kind, steps[kind] + samples[kind]] as const);
  return Object.fromEntries(sum) as Comparison; // all of its keys, from the list above
}

function sampleEntry({ series, at_ms, value }: MarkedSample): readonly [key: string, content: string] {
  return [`${series}/${at_ms}`, String(bitsOfExact(value))];
}

type Entries = readonly (readonly [key: string, content: string])[];

function tally(sent: Entries, read: Entries): Comparison {
  const expected = new Map(sent);
  const found = new Set<string>();
  const count = { compared: read.length, equal: 0, missing: 0, doubled: 0, changed: 0, foreign: 0 };
  for (const [key, content] of read) {
    if (!expected.has(key)) count.foreign++;
    else if (found.has(key)) count.doubled++;
    else if (expected.get(key) === content) count.equal++;
    else count.changed++;
    found.add(key);
  }
  for (const key of expected.keys()) if (!found.has(key)) count.missing++;
  return count;
}

/** What was sent and what the service says of it. */
export type Evidence = {
  readonly sent: readonly SentBatch[];
  readonly figures: SendingFigures;
  /** Null: the service knows nothing of this source and epoch. */
  readonly account: AccountLine | null;
  readonly read: ReadBack;
  readonly comparison: Comparison;
};

/** Everything that does not add up; none: emitted = stored + declared loss is proven for what was sent. */
export function judge(evidence: Evidence): Problem[] {
  const { sent, figures, account, read, comparison } = evidence;
  const problems: Problem[] = [];
  const expect = (what: string, expected: number | string, got: number | string): void => {
    if (expected !== got) problems.push({ what, expected: String(expected), got: String(got) });
  };
  expect('records refused at the door', 0, figures.refused);
  if (account === null) {
    expect('the account of the selftest', 'one line of /api/v1/delivery', 'none');
    return problems;
  }
  const loss = lossOf(account);
  const records = recordsOf(sent);
  expect('records in flight', 0, account.in_flight);
  expect('emitted = stored + in flight + declared loss', account.emitted, account.stored + account.in_flight + loss);
  expect('emitted, against the records sent', records, account.emitted);
  expect('sequences missing', 0, account.sequences_missing);
  if (loss === 0) {
    expect('first sequence', 1, account.sequence_min ?? 'none');
    expect('last sequence', sent.length, account.sequence_max ?? 'none');
    expect('series read back', seriesOf(sent).join(' '), read.series.toSorted().join(' '));
  }
  // what is declared lost may be missing, nothing else
  if (comparison.missing > loss) expect('rows missing in what was read back', 0, comparison.missing);
  for (const kind of ['doubled', 'changed', 'foreign'] as const)
    expect(`rows ${kind} in what was read back`, 0, comparison[kind]);
  return problems;
}

/** Lines of a whole account that do not add up, as problems. Only for an installation that nobody else sends to. */
export function judgeWhole(lines: readonly AccountLine[]): Problem[] {
  return lines.flatMap((line) => {
    const { source, epoch, emitted, stored, in_flight, sequences_missing } = line;
    const name = `${source} (epoch ${epoch})`;
    const sum = stored + in_flight + lossOf(line);
    return [
      ...(emitted === sum ? [] : [{ what: `account of ${name}`, expected: String(emitted), got: String(sum) }]),
      ...(sequences_missing === 0
        ? []
        : [{ what: `sequences missing of ${name}`, expected: '0', got: String(sequences_missing) }]),
    ];
  });
}
