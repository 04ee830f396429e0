import { LIMITS } from '../../../src/core/limits.ts';
import { parseRecord } from '../../../src/core/parse-record.ts';
import { encodeColumns } from '../../../src/formats/record-rows.ts';
import { splitLines } from '../../../src/server/lines.ts';
import { heartbeat, steps } from '../../contract/records.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';
import { reshaped } from '../reshape-json.ts';

const RECORDS = [
  ...steps(0, 3),
  heartbeat(1),
  {
    type: 'prediction',
    model: 'm',
    version: 'v1',
    at_ms: 1_767_225_600_000,
    id: 'p',
    features: { a: 1, b: 'x', c: [1, 2] },
  },
  { type: 'host', node: 'n', at_ms: 1_767_225_600_000, cpu_ratio: 0.5, extra: { deep: [[{}]] } },
];
const WORDS =
  '{ } [ ] , : "" null true 1e999 -0 9007199254740993 "__proto__" "type" "step" "gpu" "at_ms" [[[[[[[[ {"a": \\u0000 \ud800 \ufeff \r\n'.split(
    ' ',
  );

const digest = (): Uint8Array => new Uint8Array(32);

/** Lines, records, and the columns that taken records become. */
export const target = (): FuzzTarget => ({
  seeds: [
    Buffer.from(RECORDS.map((record) => JSON.stringify(record)).join('\n')),
    ...RECORDS.map((record) => Buffer.from(`${JSON.stringify(record)}\n`)),
  ],
  words: [...WORDS, '\n'],
  reshape: reshaped,
  run: (bytes) => {
    const words = new Set<string>();
    for (const line of splitLines(Buffer.from(bytes), LIMITS.record_bytes_max)) {
      if ('refused' in line) words.add(line.refused);
      else {
        const outcome = parseRecord(line.text);
        words.add(outcome.kind === 'ok' ? outcome.value.type : outcomeWord(outcome.code));
        if (outcome.kind === 'ok' && encodeColumns(outcome.value.type, [outcome.value], digest).length === 0)
          throw new Error('a record without columns');
      }
    }
    return [...words].toSorted().join(' ');
  },
});
