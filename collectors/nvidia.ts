import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import Type from 'typebox';
import type { Clock } from '../src/core/clock.ts';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { systemCode } from '../src/core/errors.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { parseQueryGpuCsvLine, queryFields } from '../src/formats/nvidia-smi-query.ts';

const config = Type.Object({
  enabled: Type.Union([Type.Boolean(), Type.Literal('auto')], { default: 'auto' }),
  interval_ms: Type.Integer({ minimum: 100, maximum: 86_400_000, default: 1000 }),
  /** The program; tests point it at a stand-in. */
  command: Type.String({ default: 'nvidia-smi' }),
});

/** Lines held between two collects: 16 GPUs for a minute at 1 Hz. Beyond it the oldest are dropped and counted. */
const LINES_MAX = 960;
/** An honest line has 24 cells, under 500 characters; the rest of a longer one is dropped. */
const LINE_CHARACTERS_MAX = 65_536;
const RESTART_AFTER_MS = 5_000;
/** Runs in a row that end without one row of a GPU: the driver has gone, and a minute may bring it back. */
const BARREN_RUNS_MAX = 3;
/** Nothing printed for this long, beside the interval: the driver hangs. Another process would hang beside it. */
const SILENT_MS = 10_000;
const HELP_TIMEOUT_MS = 10_000;
/** A process stuck in the driver cannot be ended; waiting longer for it would only hold up the service. */
const EXIT_WAIT_MS = 2_000;

/**
 * NVIDIA GPUs through one long-lived `nvidia-smi --query-gpu=… -lms` process: starting it anew costs 50–700 ms of CPU
 * a tick. The field list is explicit and cut to what this driver's own help names. No driver = absent, said once and
 * looked for again each minute; a process that ends is started again, one that hangs is left alone and reported.
 */
export const collector = defineCollector({
  name: 'nvidia',
  about: 'NVIDIA GPUs of this machine through nvidia-smi',
  config,
  open: async ({ settings, clock, node }): Promise<OpenCollector> => {
    const fields = await supportedFields(settings.command);
    if (fields.kind !== 'ok') return { collect: async () => fields, [Symbol.asyncDispose]: async () => undefined };
    const query = new Query({ ...settings, fields: fields.value, clock });
    return {
      collect: async () => query.collect(node),
      rejected: () => query.rejected,
      [Symbol.asyncDispose]: () => query.end(),
    };
  },
});

async function supportedFields(command: string): Promise<Outcome<readonly string[]>> {
  try {
    const { stdout } = await promisify(execFile)(command, ['--help-query-gpu'], { timeout: HELP_TIMEOUT_MS });
    const fields = queryFields(stdout);
    return fields.length > 0
      ? ok(fields)
      : reject('LW-NOT-FOUND', 'absent: nvidia-smi names no field that Leeway reads');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return reject('LW-NOT-FOUND', 'absent: no driver (nvidia-smi is not installed)');
    return reject('LW-NOT-FOUND', `absent: nvidia-smi does not answer (${code ?? 'it failed'}); is the driver loaded?`);
  }
}

type QueryOptions = {
  readonly command: string;
  readonly interval_ms: number;
  readonly fields: readonly string[];
  readonly clock: Clock;
};
type Program = ChildProcessByStdio<null, Readable, null>;
/** A line and when it arrived (Unix ms): the program's own timestamp has no zone. */
type Line = { readonly text: string; readonly at_ms: number };

/** The running program: what it printed since the last collect, and whether it runs at all. */
class Query {
  readonly rejected: Record<string, number> = {};
  readonly #options: QueryOptions;
  #program: Program | null = null;
  #lines: Line[] = [];
  #heard_ms = 0;
  #ended_ms: number | null = null;
  #isEndTold = true;
  #rows = 0;
  #barren_runs = 0;

  constructor(options: QueryOptions) {
    this.#options = options;
    this.#start();
  }

  /** Records of what was printed since the last call; retry = it ended or hangs, reject = the driver has gone. */
  collect(node: string): Outcome<readonly LeewayRecord[]> {
    const { clock, fields, interval_ms } = this.#options;
    const taken = this.#lines;
    this.#lines = [];
    const records = taken.flatMap((line) => this.#record(fields, line, node));
    this.#rows += records.length;
    if (records.length > 0) return ok(records);
    if (this.#program === null) return this.#ended();
    if (clock.elapsed_ms() - this.#heard_ms > SILENT_MS + interval_ms)
      return retry('LW-TIMEOUT', 'nvidia-smi prints nothing: the driver hangs; the process is left alone');
    return ok([]);
  }

  async end(): Promise<void> {
    const program = this.#program;
    if (program === null) return;
    const over = new Promise<void>((resolve) => program.once('exit', () => resolve()));
    program.kill('SIGTERM');
    const waited = new AbortController();
    const late = this.#options.clock.sleep(EXIT_WAIT_MS, waited.signal).catch(() => undefined); // it ended in time
    await Promise.race([over, late]);
    waited.abort();
    program.unref();
  }

  /** After the program's end: told once, then silence until the restart; too many fruitless runs are an absence. */
  #ended(): Outcome<readonly LeewayRecord[]> {
    const { clock } = this.#options;
    if (!this.#isEndTold) {
      this.#isEndTold = true;
      this.#barren_runs = this.#rows > 0 ? 0 : this.#barren_runs + 1;
      this.#rows = 0;
      if (this.#barren_runs >= BARREN_RUNS_MAX)
        return reject('LW-NOT-FOUND', 'absent: nvidia-smi ends without a row of a GPU; is the driver loaded?');
      return retry('LW-UNREACHABLE', 'nvidia-smi ended, it is started again', RESTART_AFTER_MS);
    }
    if (clock.elapsed_ms() - (this.#ended_ms ?? 0) >= RESTART_AFTER_MS) this.#start();
    return ok([]);
  }

  #start(): void {
    const { command, fields, interval_ms, clock } = this.#options;
    const program = spawn(
      command,
      [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits', '-lms', String(interval_ms)],
      { stdio: ['ignore', 'pipe', 'ignore'] },
    );
    this.#program = program;
    this.#heard_ms = clock.elapsed_ms();
    readLines(program.stdout, (text) => {
      this.#heard_ms = clock.elapsed_ms();
      this.#lines.push({ text, at_ms: clock.now_ms() });
      if (this.#lines.length <= LINES_MAX) return;
      this.#lines.shift();
      this.#count('LW-OVERLOADED');
    });
    const over = (): void => {
      if (this.#program !== program) return;
      this.#program = null;
      this.#isEndTold = false;
      this.#ended_ms = clock.elapsed_ms();
    };
    program.on('error', over).on('close', over); // close comes after the last line
  }

  #record(fields: readonly string[], { text, at_ms }: Line, node: string): LeewayRecord[] {
    const reading = parseQueryGpuCsvLine(fields, text);
    if (reading.kind !== 'ok') {
      this.#count(reading.code);
      return [];
    }
    const { gpu, fields: values, quality } = reading.value;
    if (gpu === null) {
      this.#count('LW-DECODE-NO-IDENTITY');
      return [];
    }
    const { throttle, ...numbers } = values;
    return [
      {
        type: 'gpu',
        node,
        at_ms,
        gpu,
        ...numbers,
        ...(throttle === undefined ? {} : { throttle: [...throttle] }),
        ...(Object.keys(quality).length > 0 ? { quality: { ...quality } } : {}),
      },
    ];
  }

  #count(code: string): void {
    this.rejected[code] = (this.rejected[code] ?? 0) + 1;
  }
}

function readLines(stream: Readable, take: (line: string) => void): void {
  let held = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (held + text).split('\n');
    held = (parts.pop() ?? '').slice(0, LINE_CHARACTERS_MAX);
    for (const part of parts) if (part.trim() !== '') take(part);
  });
}
