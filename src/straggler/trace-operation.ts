/** One row of an operator trace: an operation of one rank in one step. Times in seconds since the step began. */
export type TraceRow = {
  readonly dp_rank: number;
  readonly stage: number;
  readonly step: number;
  readonly optype: string;
  readonly start_s: number;
  readonly duration_s: number;
  /** n-th operation of its type on this rank in this step. */
  readonly seq_id: number;
  readonly model_chunk: number;
  readonly micro_batch: number;
  /** Chunk in the whole model, -1 = not applicable. */
  readonly global_chunk: number;
};

/** The columns of an operator trace that are read; others are ignored. */
export const TRACE_COLUMNS = [
  'dp_rank',
  'stage',
  'step',
  'optype',
  'start_ts',
  'duration',
  'seq_id',
  'mc',
  'mb_id',
  'gmc',
] as const;

/**
 * A parser of table rows with these columns; a sentence instead when a column is missing. The parser returns the row, or
 * a sentence naming column, value and expectation. Cells are numbers or their decimal text.
 */
export function traceParser(columns: readonly string[]): ((cells: readonly unknown[]) => TraceRow | string) | string {
  const missing = TRACE_COLUMNS.filter((name) => !columns.includes(name));
  if (missing.length > 0) return `column ${missing.join(', ')} is missing`;
  const places = TRACE_COLUMNS.map((name) => columns.indexOf(name));
  return (cells) => {
    const values = places.map((place, index) => (TRACE_COLUMNS[index] === 'optype' ? 0 : numberOf(cells[place])));
    const bad = values.findIndex((value, index) => !isAllowed(TRACE_COLUMNS[index] ?? '', value));
    if (bad >= 0)
      return `${TRACE_COLUMNS[bad]} = ${JSON.stringify(cells[places[bad] ?? -1] ?? null)}, expected ${expectation(TRACE_COLUMNS[bad] ?? '')}`;
    const [
      dp_rank = 0,
      stage = 0,
      step = 0,
      ,
      start_s = 0,
      duration_s = 0,
      seq_id = 0,
      model_chunk = 0,
      micro_batch = 0,
      global_chunk = 0,
    ] = values;
    const optype = cells[places[3] ?? -1];
    if (typeof optype !== 'string' || optype === '')
      return `optype = ${JSON.stringify(optype ?? null)}, expected the name of an operation type`;
    return { dp_rank, stage, step, optype, start_s, duration_s, seq_id, model_chunk, micro_batch, global_chunk };
  };
}

function numberOf(cell: unknown): number {
  if (typeof cell === 'number') return cell;
  if (typeof cell === 'bigint') return Number(cell);
  return typeof cell === 'string' && cell.trim() !== '' ? Number(cell) : Number.NaN;
}

/** Ranks, stages and sequence numbers index arrays: bounded by what jobs can have. */
const INDEX_MAX = 1_000_000;

function isAllowed(column: string, value: number): boolean {
  if (column === 'start_ts' || column === 'optype') return Number.isFinite(value);
  if (column === 'duration') return Number.isFinite(value) && value >= 0;
  if (column === 'step') return Number.isSafeInteger(value) && value >= 0;
  const least = column === 'mc' || column === 'mb_id' || column === 'gmc' ? -1 : 0;
  return Number.isInteger(value) && value >= least && value < INDEX_MAX;
}

function expectation(column: string): string {
  if (column === 'start_ts') return 'a number of seconds';
  return column === 'duration' ? 'a number of seconds ≥ 0' : 'a whole number';
}

/** Operation types that wait for peers: their ideal is the median of the pure transfer, not the mean. */
export const P2P_TYPES: ReadonlySet<string> = new Set([
  'forward-send',
  'forward-recv',
  'backward-send',
  'backward-recv',
]);
export const COMMUNICATION_TYPES: ReadonlySet<string> = new Set([
  ...P2P_TYPES,
  'params-all-gather',
  'grads-reduce-scatter',
  'separate-grads-all-reduce',
  'layernorm-grads-all-reduce',
  'embedding-grads-all-reduce',
  'optimizer-clip-main-grad',
]);
/** Operations that every data-parallel rank leaves together. */
export const DP_SYNC_TYPES: ReadonlySet<string> = new Set([
  'params-all-gather',
  'grads-reduce-scatter',
  'separate-grads-all-reduce',
  'optimizer-clip-main-grad',
]);

/**
 * An operation of the pipeline, the same in every (data-parallel rank, step): that pair is a lane. `start_s` and
 * `end_s` are as recorded, by lane.
 */
export type Operation = {
  readonly name: string;
  readonly optype: string;
  readonly stage: number;
  readonly seq_id: number;
  readonly model_chunk: number;
  readonly global_chunk: number;
  readonly start_s: Float64Array;
  readonly end_s: Float64Array;
};

export type Lanes = {
  readonly steps: readonly number[];
  readonly dp_count: number;
  readonly stage_count: number;
  readonly operations: ReadonlyMap<string, Operation>;
};

/** Name of an operation: type, sequence number, stage. */
export function operationName(optype: string, seq_id: number, stage: number): string {
  return `${optype}_${seq_id}_${stage}`;
}

/**
 * Arranges rows by operation and lane; lane = step index × dp_count + dp_rank. Returns a sentence instead when the trace
 * has holes: an operation that some rank or step lacks cannot be replayed.
 */
export function lanesOf(rows: readonly TraceRow[]): Lanes | string {
  const steps = [...new Set(rows.map((row) => row.step))].sort((a, b) => a - b);
  const stepIndex = new Map(steps.map((step, index) => [step, index]));
  const dp_count = rows.reduce((most, row) => Math.max(most, row.dp_rank), -1) + 1;
  const stage_count = rows.reduce((most, row) => Math.max(most, row.stage), -1) + 1;
  const lanes_count = steps.length * dp_count;
  const operations = new Map<string, Operation>();
  for (const row of rows) {
    const name = operationName(row.optype, row.seq_id, row.stage);
    const operation = operations.get(name) ?? emptyOperation(name, row, lanes_count);
    operations.set(name, operation);
    const lane = (stepIndex.get(row.step) ?? 0) * dp_count + row.dp_rank;
    if (!Number.isNaN(operation.start_s[lane]))
      return `${name} appears twice in step ${row.step} of dp_rank ${row.dp_rank}`;
    operation.start_s[lane] = row.start_s;
    operation.end_s[lane] = sum(row.start_s, row.duration_s);
  }
  for (const operation of operations.values()) {
    const lane = operation.start_s.findIndex(Number.isNaN);
    if (lane >= 0)
      return `${operation.name} is missing in step ${steps[Math.floor(lane / dp_count)]} of dp_rank ${lane % dp_count}`;
  }
  return { steps, dp_count, stage_count, operations };
}

/** Profilers record single precision: sums of such values are rounded like the recorder's own. */
export function sum(a: number, b: number): number {
  return Math.fround(a) === a && Math.fround(b) === b ? Math.fround(a + b) : a + b;
}

function emptyOperation(name: string, row: TraceRow, lanes_count: number): Operation {
  return {
    name,
    optype: row.optype,
    stage: row.stage,
    seq_id: row.seq_id,
    model_chunk: row.model_chunk,
    global_chunk: row.global_chunk,
    start_s: new Float64Array(lanes_count).fill(Number.NaN),
    end_s: new Float64Array(lanes_count).fill(Number.NaN),
  };
}
