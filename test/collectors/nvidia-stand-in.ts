import { chmod, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { QUERY_GPU_FIELDS } from '../../src/formats/nvidia-smi-query.ts';

/** What the program prints instead of healthy rows, one entry a sample; after the last it goes on with healthy ones. */
export type StandInOptions = {
  readonly gpus?: number;
  /** Fields that its help names; default all that Leeway asks for. */
  readonly fields?: readonly string[];
  /** Lines of the first samples, in place of rows of GPUs. */
  readonly script?: readonly (readonly string[])[];
  /** Ends with this status after the script instead of going on. */
  readonly exit?: number;
  /** Prints nothing after the script and stays. */
  readonly hang?: boolean;
  /** Help answers with this status. */
  readonly help_exit?: number;
  /** Milliseconds between samples; default what -lms says. */
  readonly period_ms?: number;
};

/** Values of a healthy H100 by field, as `--format=csv,noheader,nounits` prints them. */
export const HEALTHY: Readonly<Record<string, string>> = {
  timestamp: '2026/01/01 00:00:00.000',
  uuid: 'GPU-00000000-0000-0000-0000-000000000000',
  name: 'NVIDIA H100 80GB HBM3',
  'pci.bus_id': '00000000:04:00.0',
  driver_version: '590.48.01',
  'utilization.gpu': '97',
  'memory.used': '40000',
  'memory.total': '81559',
  'clocks.current.sm': '1980',
  'clocks.max.sm': '1980',
  'temperature.gpu': '63',
  'power.draw': '612.34',
  'power.draw.average': '612.34',
  'power.draw.instant': '640.01',
  'clocks_event_reasons.sw_power_cap': 'Not Active',
  'clocks_event_reasons.hw_slowdown': 'Not Active',
  'clocks_event_reasons.hw_thermal_slowdown': 'Not Active',
  'clocks_event_reasons.hw_power_brake_slowdown': 'Not Active',
  'clocks_event_reasons.sw_thermal_slowdown': 'Not Active',
  'ecc.errors.uncorrected.volatile.total': '0',
  'pcie.link.gen.current': '5',
  'pcie.link.width.current': '16',
  'mig.mode.current': 'Disabled',
};

/** A row of GPU `index` with some cells replaced. */
export function gpuRow(
  index: number,
  cells: Readonly<Record<string, string>> = {},
  fields: readonly string[] = QUERY_GPU_FIELDS,
): string {
  return fields
    .map((field) => cells[field] ?? (field === 'index' ? String(index) : (HEALTHY[field] ?? '[N/A]')))
    .join(', ');
}

/**
 * Writes a program that answers like nvidia-smi: `--help-query-gpu`, and rows of `--query-gpu` every `-lms`. Each start
 * of a query adds a line with its process id to `<path>.starts`.
 */
export async function writeStandIn(directory: string, options: StandInOptions = {}): Promise<string> {
  const { gpus = 1, fields = QUERY_GPU_FIELDS, script = [], hang = false } = options;
  const file = path.join(directory, 'nvidia-smi');
  const healthy = Array.from({ length: gpus }, (_, index) => gpuRow(index, {}, fields));
  const help = fields.map((field) => `"${field}"\n  What ${field} is.`).join('\n');
  await writeFile(
    file,
    `#!${process.execPath}
const { appendFileSync } = require('node:fs');
if (process.argv.includes('--help-query-gpu')) {
  process.stdout.write(${JSON.stringify(`${help}\n`)});
  process.exitCode = ${options.help_exit ?? 0};
} else {
  appendFileSync(__filename + '.starts', process.pid + ' ' + process.argv.slice(2).join(' ') + '\\n');
  const script = ${JSON.stringify(script)};
  const healthy = ${JSON.stringify(healthy)};
  const period = ${options.period_ms ?? `Number(process.argv[process.argv.indexOf('-lms') + 1])`};
  const sample = () => {
    const lines = script.shift();
    if (lines === undefined) {
      if (${JSON.stringify(options.exit ?? null)} !== null) process.exit(${options.exit ?? 0});
      if (${JSON.stringify(hang)}) return;
    }
    process.stdout.write((lines ?? healthy).map((line) => line + '\\n').join(''));
  };
  sample();
  setInterval(sample, period);
  process.stdout.on('error', () => process.exit(0));
}
`,
  );
  await chmod(file, 0o755);
  return file;
}
