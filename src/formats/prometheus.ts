import { LIMITS } from '../core/limits.ts';
import { type Attributes, Decoding, type DecodeResult, notDecodable } from './decode-result.ts';
import { type Exposition, type ExpositionSample, parseExposition, unitOfName } from './exposition.ts';

/**
 * Any Prometheus or OpenMetrics text under its own names, values unchanged; `unit` is the one the name ends in.
 * A bucket, quantile, sum and count is a sample of its own. NaN and infinity are absent.
 * Throws LW-INPUT when no line can be read.
 */
export function decodePrometheus(text: string): DecodeResult {
  const decoding = new Decoding();
  for (const sample of exposition(decoding, text).samples) passOn(decoding, sample, sample.labels);
  return decoding.result();
}

/** The samples of a text, its problems told as warnings. Throws LW-INPUT when it holds lines and none can be read. */
export function exposition(decoding: Decoding, text: string): Exposition {
  const parsed = parseExposition(text);
  for (const problem of parsed.problems) {
    const code = {
      syntax: 'LW-DECODE-LINE',
      limit: 'LW-DECODE-LIMIT',
      duplicate: 'LW-DECODE-DUPLICATE',
      truncated: 'LW-DECODE-TRUNCATED',
    } as const;
    decoding.warn(code[problem.kind], `line ${problem.line}: ${problem.reason}`);
  }
  if (parsed.samples.length > 0) return parsed;
  const wrong = parsed.problems.find((problem) => problem.kind !== 'truncated');
  if (wrong !== undefined)
    throw notDecodable(`no readable sample (line ${wrong.line}: ${wrong.reason})`, 'lines "name{labels} value"');
  decoding.warn('LW-DECODE-EMPTY', 'no sample in the text');
  return parsed;
}

/** A sample under the source's own name, value unchanged. */
export function passOn(decoding: Decoding, sample: ExpositionSample, attributes: Attributes): void {
  decoding.foreign({
    metric: sample.name,
    value: sample.value,
    unit: unitOfName(sample.name),
    attributes,
    quality: 'ok',
    ...timeOf(sample),
  });
}

/** `{at_ms}` when the line carries a time that telemetry can have: of one that is not, the time of the scrape is better known. */
export function timeOf({ timestamp_ms }: ExpositionSample): { readonly at_ms?: number } {
  const isPlausible = timestamp_ms !== null && timestamp_ms >= LIMITS.time_ms_min && timestamp_ms < LIMITS.time_ms_max;
  return isPlausible ? { at_ms: timestamp_ms } : {};
}
