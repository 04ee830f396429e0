import type { LeewayRecord, RecordOf } from '../core/records.ts';

/** Where one rank runs and its coordinates in the job's parallel layout. */
export type Place = {
  readonly rank: number;
  readonly node: string;
  readonly gpu: string;
  readonly dp: number;
  readonly pp: number;
  readonly tp: number;
};

export type JobRow = {
  readonly type: 'job';
  readonly job: string;
  readonly attempt: number;
  readonly at_ms: number;
  readonly world_size: number;
  readonly places: readonly Place[];
  readonly gpu_usd_per_hour: string | null;
};
export type StepRow = {
  readonly type: 'step';
  readonly job: string;
  readonly attempt: number;
  readonly rank: number;
  readonly step: number;
  readonly at_ms: number;
  readonly duration_ms: number;
  readonly compute_ms: number;
  readonly data_ms: number;
  readonly transfer_ms: number | null;
  readonly tokens: number | null;
  readonly train: boolean;
  /** Time inside each (group, op), waiting included; null when collectives are not reported. */
  readonly groups: readonly GroupTime[] | null;
};
export type GroupTime = {
  readonly group: string;
  readonly op: string;
  readonly bytes: number;
  readonly spent_ms: number;
};
export type BeatState = RecordOf<'heartbeat'>['state'];
export type BeatRow = {
  readonly type: 'heartbeat';
  readonly job: string;
  readonly attempt: number;
  readonly rank: number;
  readonly at_ms: number;
  readonly step: number;
  readonly state: BeatState;
  readonly group: string | null;
  readonly op: string | null;
  readonly seq: number | null;
};
export type PhaseRow = {
  readonly type: 'phase';
  readonly job: string;
  readonly at_ms: number;
  /** `compile`, `eval`, `checkpoint`, …; a checkpoint record is a phase that neither begins nor ends. */
  readonly phase: string;
  readonly state: 'begin' | 'end' | 'point';
};
export type GpuRow = {
  readonly type: 'gpu';
  readonly node: string;
  readonly gpu: string;
  readonly at_ms: number;
  readonly utilization_ratio: number | null;
  readonly clock_ratio: number | null;
  readonly temperature_c: number | null;
  /** Bits of THROTTLE. */
  readonly throttle: number;
  readonly ecc_count: number | null;
  readonly nvlink_error_count: number | null;
  readonly pcie_width: number | null;
};
export type NicRow = {
  readonly type: 'nic';
  readonly node: string;
  readonly device: string;
  readonly at_ms: number;
  /** Pause frames, retransmits and link losses together: cumulative, rising only in trouble. Null when none is reported. */
  readonly trouble_count: number | null;
};
export type HostRow = {
  readonly type: 'host';
  readonly node: string;
  readonly at_ms: number;
  readonly cpu_ratio: number | null;
};

/** What the detector keeps of a record of events.md: about 150 bytes instead of the record's 300 to 3,000. */
export type StragglerRow = JobRow | StepRow | BeatRow | PhaseRow | GpuRow | NicRow | HostRow;

/** Bit of each throttle reason in `GpuRow.throttle`. */
export const THROTTLE = { sw_power_cap: 1, hw_thermal: 2, sw_thermal: 4, hw_slowdown: 8, power_brake: 16 } as const;

/** The part of a validated record that bears on stragglers, or null. Absent values are null, never 0. */
export function stragglerRow(record: LeewayRecord): StragglerRow | null {
  switch (record.type) {
    case 'step':
      return stepRow(record);
    case 'heartbeat':
      return {
        type: 'heartbeat',
        job: record.job,
        attempt: record.attempt ?? 0,
        rank: record.rank,
        at_ms: record.at_ms,
        step: record.step,
        state: record.state,
        group: record.group ?? null,
        op: record.op ?? null,
        seq: record.seq ?? null,
      };
    case 'gpu':
      return gpuRow(record);
    case 'nic':
      return {
        type: 'nic',
        node: record.node,
        device: record.device,
        at_ms: record.at_ms,
        trouble_count: total([record.pfc_frames, record.retransmits, record.link_downed]),
      };
    case 'host':
      return { type: 'host', node: record.node, at_ms: record.at_ms, cpu_ratio: record.cpu_utilization ?? null };
    case 'job':
      return jobRow(record);
    case 'phase':
      return { type: 'phase', job: record.job, at_ms: record.at_ms, phase: record.phase, state: record.state };
    case 'checkpoint':
      return { type: 'phase', job: record.job, at_ms: record.at_ms, phase: 'checkpoint', state: 'point' };
    default:
      return null;
  }
}

function stepRow(record: RecordOf<'step'>): StepRow {
  const work = record.tokens ?? record.samples ?? 0;
  return {
    type: 'step',
    job: record.job,
    attempt: record.attempt ?? 0,
    rank: record.rank,
    step: record.step,
    at_ms: record.at_ms,
    duration_ms: record.duration_ms,
    compute_ms: record.compute_ms,
    data_ms: record.data_ms,
    transfer_ms: record.transfer_ms ?? null,
    tokens: work > 0 ? work : null,
    train: record.phase === 'train',
    groups: record.collectives === undefined || record.collectives.length === 0 ? null : groupTimes(record.collectives),
  };
}

/** (group, op) pairs of one rank and step that are told apart; a rank is in a handful of groups. */
const GROUPS_MAX = 32;

function groupTimes(collectives: NonNullable<RecordOf<'step'>['collectives']>): GroupTime[] {
  const times = new Map<string, GroupTime>();
  for (const { group, op, bytes, arrive_ms, end_ms } of collectives) {
    const key = `${group} ${op}`;
    const held = times.get(key) ?? { group, op, bytes: 0, spent_ms: 0 };
    if (times.size >= GROUPS_MAX && !times.has(key)) continue;
    times.set(key, { group, op, bytes: held.bytes + bytes, spent_ms: held.spent_ms + Math.max(0, end_ms - arrive_ms) });
  }
  return [...times.values()];
}

function total(counters: readonly (number | undefined)[]): number | null {
  const known = counters.filter((counter) => counter !== undefined);
  return known.length === 0 ? null : known.reduce((sum, counter) => sum + counter, 0);
}

function gpuRow(record: RecordOf<'gpu'>): GpuRow {
  const { sm_clock_mhz, sm_clock_max_mhz = 0 } = record;
  let throttle = 0;
  for (const [name, bit] of Object.entries(THROTTLE)) if (record.throttle?.includes(name) === true) throttle |= bit;
  return {
    type: 'gpu',
    node: record.node,
    gpu: String(record.gpu),
    at_ms: record.at_ms,
    utilization_ratio: record.utilization ?? null,
    clock_ratio: sm_clock_mhz !== undefined && sm_clock_max_mhz > 0 ? sm_clock_mhz / sm_clock_max_mhz : null,
    temperature_c: record.temperature_c ?? null,
    throttle,
    ecc_count: record.ecc_uncorrected ?? null,
    nvlink_error_count: record.nvlink_errors ?? null,
    pcie_width: record.pcie_width ?? null,
  };
}

function jobRow(record: RecordOf<'job'>): JobRow {
  return {
    type: 'job',
    job: record.job,
    attempt: record.attempt ?? 0,
    at_ms: record.at_ms,
    world_size: record.world_size,
    places: record.ranks.map((rank) => ({
      rank: rank.rank,
      node: rank.node,
      gpu: rank.gpu === undefined ? '' : String(rank.gpu),
      dp: rank.dp ?? rank.rank,
      pp: rank.pp ?? 0,
      tp: rank.tp ?? 0,
    })),
    gpu_usd_per_hour: record.gpu_usd_per_hour === undefined ? null : String(record.gpu_usd_per_hour),
  };
}

const ORDER = { job: 0, phase: 1, gpu: 2, nic: 3, host: 4, heartbeat: 5, step: 6 } as const;

/** Order in which rows are processed: by time, ties by type, rank and step, so that arrival order cannot matter. */
export function compareRows(a: StragglerRow, b: StragglerRow): number {
  if (a.at_ms !== b.at_ms) return a.at_ms - b.at_ms;
  if (a.type !== b.type) return ORDER[a.type] - ORDER[b.type];
  return compareText(tieKey(a), tieKey(b));
}

function tieKey(row: StragglerRow): string {
  if (row.type === 'gpu') return `${row.node}/${row.gpu}`;
  if (row.type === 'nic') return `${row.node}/${row.device}`;
  if (row.type === 'host') return row.node;
  if (row.type === 'phase') return `${row.job}/${row.phase}/${row.state}`;
  return row.type === 'job' ? `${row.job}/${row.attempt}` : `${row.job}/${row.attempt}/${row.rank}/${row.step}`;
}

function compareText(a: string, b: string): number {
  return a < b ? -1 : a > b ? 1 : 0;
}
