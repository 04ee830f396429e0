import type { Target } from './target.ts';
import type { FaultFigures } from './faults.ts';
import type { AccountLine } from './reading.ts';
import { type Proof, SOURCE } from './proof.ts';
import type { SendingFigures } from './sending.ts';
import { type Comparison, judge, type Problem } from './verdict.ts';

/** Percentiles in ms by the nearest-rank method; null where nothing was measured. */
export type Spread = { readonly p50: number; readonly p99: number; readonly max: number };

export type FaultReport = FaultFigures & { readonly seed: number; readonly rounds: number };

/** What `leeway selftest` found; `--format json` prints exactly this. */
export type SelftestReport = {
  readonly version: 1;
  readonly proven: boolean;
  readonly url: string;
  readonly source: string;
  /** 64-bit integers are text (cli.md). */
  readonly epoch: string;
  readonly job: string;
  readonly sent: SendingFigures;
  readonly account: AccountLine | null;
  /** Looks at the account while it was waited for, and those in which it did not add up at that moment. */
  readonly account_looks: { readonly total: number; readonly unbalanced: number };
  readonly read_back: Comparison;
  readonly acknowledged_ms: Spread | null;
  readonly readable_ms: Spread | null;
  /** From the end of sending until all that was acknowledged was stored. */
  readonly settled_after_ms: number;
  readonly faults: FaultReport | null;
  /** What a reader should know of the reach of this proof. */
  readonly notes: readonly string[];
  readonly problems: readonly Problem[];
  readonly duration_ms: number;
};

export type ReportParts = {
  readonly proof: Proof;
  readonly target: Target;
  readonly faults: FaultReport | null;
  readonly notes: readonly string[];
  /** Found beside what the proof itself judges. */
  readonly more: readonly Problem[];
  readonly duration_ms: number;
};

/** The report of a proof. */
export function reportOf({ proof, target, faults, notes, more, duration_ms }: ReportParts): SelftestReport {
  const problems = [...judge(proof), ...more];
  return {
    version: 1,
    proven: problems.length === 0,
    url: target.ingest_url,
    source: SOURCE,
    epoch: String(proof.epoch),
    job: proof.marks.job,
    sent: proof.figures,
    account: proof.account,
    account_looks: { ...proof.reading.looks },
    read_back: proof.comparison,
    acknowledged_ms: spreadOf(proof.acknowledged_ms),
    readable_ms: spreadOf(proof.readable_ms),
    settled_after_ms: rounded(proof.settled_after_ms),
    faults,
    notes,
    problems,
    duration_ms: rounded(duration_ms),
  };
}

/** Nearest-rank percentiles (the smallest value that at least p % are at or below), to a tenth of a millisecond. */
export function spreadOf(values: readonly number[]): Spread | null {
  if (values.length === 0) return null;
  const sorted = values.toSorted((a, b) => a - b);
  const at = (ratio: number): number => rounded(sorted[Math.ceil(ratio * sorted.length) - 1] ?? 0);
  return { p50: at(0.5), p99: at(0.99), max: at(1) };
}

function rounded(value_ms: number): number {
  return Math.round(value_ms * 10) / 10;
}

/** The report as a table for people. */
export function textOf(report: SelftestReport): string {
  const { sent, account, read_back, faults } = report;
  const loss = account === null ? {} : account.declared_loss;
  const lost = Object.entries(loss).map(([reason, count]) => `${reason} ${count}`);
  const rows: (readonly [string, string])[] = [
    [
      'sent',
      `${sent.batches} batches, ${sent.records} records as ${report.source}, epoch ${report.epoch}, job ${report.job}`,
    ],
    ['sent again', `${sent.repeated_batches} batches, ${sent.repeated_records} records on purpose`],
    ['', `${sent.retried_batches} batches, ${sent.retried_records} records after failed attempts`],
    ...(faults === null ? [] : faultRows(faults)),
    ...(account === null ? [] : accountRows(account)),
    ['declared loss', lost.length === 0 ? '0' : lost.join(', ')],
    [
      'account',
      `${report.account_looks.total} looks, ${report.account_looks.unbalanced} in which it did not add up yet`,
    ],
    ['read back', `${read_back.compared} rows, ${read_back.equal} equal bit for bit, ${strange(read_back)}`],
    ['acknowledged', spreadText(report.acknowledged_ms, 'after sending')],
    ['readable', spreadText(report.readable_ms, 'after the acknowledgement')],
    ['settled', `${report.settled_after_ms} ms after the last batch${faults === null ? '' : ' and fault'}`],
  ];
  const width = Math.max(...rows.map(([name]) => name.length));
  return [
    `Leeway selftest of ${report.url}`,
    ...rows.map(([name, text]) => `  ${name.padEnd(width)}  ${text}`),
    ...report.notes.map((note) => `  note: ${note}`),
    ...report.problems.map(({ what, expected, got }) => `  WRONG: ${what}: expected ${expected}, got ${got}`),
    report.proven ? `PROVEN: ${equation(account)}` : 'NOT PROVEN: the account does not add up, see WRONG above',
    '',
  ].join('\n');
}

function equation(account: AccountLine | null): string {
  if (account === null) return '';
  const loss = Object.values(account.declared_loss).reduce((sum, count) => sum + count, 0);
  return `emitted ${account.emitted} = stored ${account.stored} + in flight ${account.in_flight} + declared loss ${loss}`;
}

function accountRows(account: AccountLine): (readonly [string, string])[] {
  const { emitted, stored, in_flight, duplicates_absorbed, sequences_missing, sequence_min, sequence_max } = account;
  return [
    ['stored', `${stored} of ${emitted} emitted, ${in_flight} in flight`],
    ['duplicates', `${duplicates_absorbed} absorbed in the store; the other repeats were known at the door`],
    ['sequences', `${sequence_min ?? '-'} to ${sequence_max ?? '-'}, ${sequences_missing} missing`],
  ];
}

function faultRows({ injected, restart_ms, rounds, seed }: FaultReport): (readonly [string, string])[] {
  const kinds = Object.entries(injected)
    .filter(([, count]) => count > 0)
    .map(([kind, count]) => `${count} ${kind.replaceAll('_', ' ')}`);
  const total = Object.values(injected).reduce((sum, count) => sum + count, 0);
  return [
    ['faults', `${total} in ${rounds} rounds (seed ${seed}): ${kinds.join(', ')}`],
    ['restarts', `${restart_ms.length}, ready again ${spreadText(spreadOf(restart_ms), 'after the kill')}`],
  ];
}

function strange({ missing, doubled, changed, foreign }: Comparison): string {
  return `${missing} missing, ${doubled} doubled, ${changed + foreign} changed`;
}

function spreadText(spread: Spread | null, what: string): string {
  if (spread === null) return 'not measured';
  return `p50 ${spread.p50} ms, p99 ${spread.p99} ms, longest ${spread.max} ms ${what}`;
}
