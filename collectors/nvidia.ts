import { type ChildProcessByStdio, execFile, spawn } from 'node:child_process';
import type { Readable } from 'node:stream';
import { promisify } from 'node:util';
import Type from 'typebox';
import { systemCode } from '../src/core/errors.ts';
import { defineCollector, type OpenCollector } from '../src/core/define.ts';
import { ok, type Outcome, reject, retry } from '../src/core/outcome.ts';
import type { LeewayRecord } from '../src/core/records.ts';
import { parseQueryGpuCsvLine, queryFields } from '../src/formats/nvidia-smi-query.ts';

const config = Type.Object({
  /** The program; tests point it at a stand-in that prints captures. */
  command: Type.String({ default: 'nvidia-smi' }),
});

/** Lines held between two collects: 16 GPUs for a minute at 1 Hz. Older ones are dropped, the newest counts. */
const LINES_MAX = 960;
const RESTART_AFTER_MS = 5_000;
const HELP_TIMEOUT_MS = 10_000;

type Query = ChildProcessByStdio<null, Readable, null>;

/**
 * NVIDIA GPUs through one long-lived `nvidia-smi --query-gpu=… -lms` process: starting it anew costs 50–700 ms of CPU
 * a tick. The field list is explicit and cut to what this driver's own help names. No driver = absent, said once.
 */
export const collector = defineCollector({
  name: 'nvidia',
  about: 'NVIDIA GPUs of this machine through nvidia-smi',
  config,
  open: async ({ settings, clock, node }): Promise<OpenCollector> => {
    const fields = await supportedFields(settings.command);
    if (fields.kind !== 'ok') return absent(fields);
    let query: Query | null = null;
    let lines: string[] = [];
    let ended_ms = Number.NEGATIVE_INFINITY;
    const start = (): void => {
      const child = spawn(settings.command, arguments_(fields.value), { stdio: ['ignore', 'pipe', 'ignore'] });
      query = child;
      readLines(child.stdout, (line) => {
        lines.push(line);
        if (lines.length > LINES_MAX) lines = lines.slice(-LINES_MAX);
      });
      const over = (): void => {
        if (query === child) query = null;
        ended_ms = clock.elapsed_ms();
      };
      child.on('error', over).on('exit', over);
    };
    return {
      collect: async () => {
        if (query === null) {
          if (clock.elapsed_ms() - ended_ms < RESTART_AFTER_MS)
            return retry('LW-UNREACHABLE', 'nvidia-smi ended, it is started again', RESTART_AFTER_MS);
          start();
        }
        const taken = lines;
        lines = [];
        return ok(taken.flatMap((line) => gpuRecord(fields.value, line, { node, at_ms: clock.now_ms() })));
      },
      [Symbol.asyncDispose]: async () => {
        query?.kill('SIGTERM');
      },
    };
  },
});

function arguments_(fields: readonly string[]): string[] {
  return [`--query-gpu=${fields.join(',')}`, '--format=csv,noheader,nounits', '-lms', '1000'];
}

async function supportedFields(command: string): Promise<Outcome<readonly string[]>> {
  try {
    const { stdout } = await promisify(execFile)(command, ['--help-query-gpu'], { timeout: HELP_TIMEOUT_MS });
    const fields = queryFields(stdout);
    return fields.length > 0 ? ok(fields) : reject('LW-NOT-FOUND', 'nvidia-smi names no field that Leeway reads');
  } catch (error) {
    const code = systemCode(error);
    if (code === 'ENOENT') return reject('LW-NOT-FOUND', 'absent: no driver (nvidia-smi is not installed)');
    return reject('LW-NOT-FOUND', `absent: nvidia-smi does not answer (${code ?? 'failed'}); is the driver loaded?`);
  }
}

function absent(reason: Outcome<never> | Outcome<readonly string[]>): OpenCollector {
  const answer = reason.kind === 'reject' ? reason : reject('LW-NOT-FOUND', 'absent: no driver');
  return { collect: async () => answer, [Symbol.asyncDispose]: async () => undefined };
}

function gpuRecord(fields: readonly string[], line: string, at: { node: string; at_ms: number }): LeewayRecord[] {
  const reading = parseQueryGpuCsvLine(fields, line);
  if (reading.kind !== 'ok' || reading.value.gpu === null) return [];
  const { gpu, fields: values, quality } = reading.value;
  const { throttle, ...numbers } = values;
  return [
    {
      type: 'gpu',
      ...at,
      gpu,
      ...numbers,
      ...(throttle === undefined ? {} : { throttle: [...throttle] }),
      ...(Object.keys(quality).length > 0 ? { quality: { ...quality } } : {}),
    },
  ];
}

function readLines(stream: Readable, take: (line: string) => void): void {
  let held = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    const parts = (held + text).split('\n');
    held = (parts.pop() ?? '').slice(0, 65_536);
    for (const part of parts) if (part.trim() !== '') take(part);
  });
}
