import fc from 'fast-check';
import { expect, test } from 'vitest';
import { holdableJson, holdableText, originalJson, originalText } from '../../src/control/postgres-text.ts';

/** Any 16-bit code units in a row, halves of pairs included, with those that need care more often than chance has them. */
const units = fc
  .array(fc.oneof(fc.integer({ min: 0, max: 0xffff }), fc.constantFrom(0, 1, 0x30, 0x5c, 0x75, 0xd83d, 0xde00)))
  .map((codes) => String.fromCharCode(...codes));

/** What PostgreSQL's text rejects (manual, 8.3: no NUL; UTF-8 has no surrogates). */
const holds = (text: string): boolean => !text.includes('\0') && text.isWellFormed();

test('any string comes back, and what is stored PostgreSQL can hold', () => {
  fc.assert(
    fc.property(units, (text) => {
      expect(holds(holdableText(text))).toBe(true);
      expect(originalText(holdableText(text))).toBe(text);
    }),
    { numRuns: 2000 },
  );
});

test('any document comes back to the byte, and no string in what is stored has a NUL or half a pair', () => {
  const document = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      units,
      fc.double({ noNaN: true, noDefaultInfinity: true }),
      fc.boolean(),
      fc.constant(null),
      fc.array(tie('value'), { maxLength: 4 }),
      fc.dictionary(units, tie('value'), { maxKeys: 4 }),
    ),
  })).value;
  fc.assert(
    fc.property(document, (value) => {
      const json = JSON.stringify(value);
      const held = holdableJson(json);
      expect(originalJson(held)).toBe(json);
      JSON.parse(held, (key, inside: unknown) => {
        expect(holds(key)).toBe(true);
        if (typeof inside === 'string') expect(holds(inside)).toBe(true);
        return inside;
      });
    }),
    { numRuns: 1000 },
  );
});

test('a string is stored the same inside a document and as a value beside the statement', () => {
  fc.assert(
    fc.property(units, (text) => {
      expect(JSON.parse(holdableJson(JSON.stringify(text)))).toBe(holdableText(text));
    }),
    { numRuns: 2000 },
  );
});

test.each([
  ['plain', 'plain'],
  ['a\0b', 'a\u00010000b'],
  ['\u0001', '\u00010001'],
  ['\ud83d', '\u0001d83d'],
  ['\ude00\ud83d', '\u0001de00\u0001d83d'],
  ['\ud83d\ude00', '\ud83d\ude00'],
  ['\\u0000', '\\u0000'],
  ['\u0002\u001f', '\u0002\u001f'],
])('%j is held as %j', (text, held) => {
  expect(holdableText(text)).toBe(held);
});

test('strings with NUL and U+0001 sort as they did, before all others', () => {
  const names = ['\0', '\0a', '\u0001', '\u0001a', '\u0002', 'a'];
  expect(names.map(holdableText).sort()).toEqual(names.map(holdableText));
});
