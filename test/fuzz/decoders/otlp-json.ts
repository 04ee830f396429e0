import { decodeOtlpMetricsJson } from '../../../src/formats/otlp-metrics-json.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { reshaped } from '../reshape-json.ts';
import { OTLP_JSON } from '../messages.ts';
import { sampleDecoder } from '../sample-decoder.ts';

const WORDS =
  '{ } [ ] , : "" null true 1e999 -0 "NaN" "18446744073709551616" "-1" 12345678901234567890 "__proto__" "name" "asInt" "kvlistValue" "arrayValue" "values" [[[[ {"a": \\u0000 "\\ud800"';

export const target = (): FuzzTarget => ({
  ...sampleDecoder(decodeOtlpMetricsJson, [Buffer.from(OTLP_JSON)], WORDS.split(' ')),
  reshape: reshaped,
});
