import { decodeOtlpMetrics } from '../../../src/formats/otlp-metrics.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { OTLP } from '../messages.ts';
import { sampleDecoder } from '../sample-decoder.ts';

export const target = (): FuzzTarget => sampleDecoder(decodeOtlpMetrics, [OTLP]);
