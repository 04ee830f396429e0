import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { describe } from 'vitest';
import type { Absent, DecodeResult, Sample } from '../../src/formats/decode-result.ts';

const ROOT = new URL('../../../shared/data/collectors/', import.meta.url);

/** Path of the captures of other people, beside the repository. */
export const CORPUS = ROOT.pathname;

/** Files of a folder of the corpus. */
export function corpusFiles(folder: string, ending: string): readonly string[] {
  return readdirSync(new URL(`${folder}/`, ROOT)).filter((name) => name.endsWith(ending));
}

export function corpusText(path: string): string {
  return readFileSync(new URL(path, ROOT), 'utf8');
}

/** A suite over the corpus; where it is not beside the repository the suite is skipped and its title says so. */
export function describeCorpus(title: string, body: () => void): void {
  if (existsSync(ROOT)) describe(title, body);
  else describe.skip(`${title} (SKIPPED: ${CORPUS} is not there)`, () => undefined);
}

type Wanted = Readonly<Record<string, string>>;

function matches(item: { metric: string; attributes: Wanted }, metric: string, wanted: Wanted): boolean {
  return item.metric === metric && Object.entries(wanted).every(([name, value]) => item.attributes[name] === value);
}

/** Samples of a metric whose attributes include `wanted`. */
export function samplesOf(result: DecodeResult, metric: string, wanted: Wanted = {}): readonly Sample[] {
  return result.samples.filter((sample) => matches(sample, metric, wanted));
}

/** Values of those samples. */
export function valuesOf(result: DecodeResult, metric: string, wanted: Wanted = {}): readonly (number | bigint)[] {
  return samplesOf(result, metric, wanted).map((sample) => sample.value);
}

export function absentOf(result: DecodeResult, metric: string, wanted: Wanted = {}): readonly Absent[] {
  return result.absent.filter((item) => matches(item, metric, wanted));
}

export function warningCodes(result: DecodeResult): readonly string[] {
  return [...new Set(result.warnings.map(({ code }) => code))];
}
