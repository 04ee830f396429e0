import { describe, expect, test } from 'vitest';
import {
  attributesOf,
  jsonDocuments,
  nestsTooDeep,
  numberOf,
  objectOf,
  objectsOf,
  textOf,
} from '../../src/formats/json-values.ts';

describe('jsonDocuments', () => {
  test.each([
    ['one a line', '{"a":1}\n{"a":2}\n', ['{"a":1}', '{"a":2}']],
    ['pretty-printed, several', '{\n "a": [1,\n 2]\n}\n{\n}\n', ['{"a":[1,2]}', '{}']],
    ['brackets and quotes inside strings', '{"a":"}\\"{"}', ['{"a":"}\\"{"}']],
    ['nothing', ' \n\t\n', []],
  ])('%s', (_, text, expected) => {
    expect([...jsonDocuments(text)].map((piece) => ('value' in piece ? JSON.stringify(piece.value) : piece))).toEqual(
      expected,
    );
  });

  test('what is no value comes as bad, to the end of its line', () => {
    expect([...jsonDocuments('hello\n{"a":1}\n{"a":\n7\n')]).toEqual([
      { bad: 'hello' },
      { value: { a: 1 } },
      { bad: '{"a":' },
      { bad: '7' },
    ]);
  });

  test('after a hundred unclosed documents each must end in its own line', () => {
    const pieces = [...jsonDocuments(`${'{\n'.repeat(150)}{"a":1}\n`)];
    expect(pieces.filter((piece) => 'bad' in piece)).toHaveLength(150);
    expect(pieces.at(-1)).toEqual({ value: { a: 1 } });
  });
});

test('nesting is counted outside strings', () => {
  expect(nestsTooDeep('['.repeat(65))).toBe(true);
  expect(nestsTooDeep(`"${'['.repeat(65)}"`)).toBe(false);
  expect(nestsTooDeep('[]'.repeat(65))).toBe(false);
});

test('readers say what is there and null for all else', () => {
  expect([objectOf({}), objectOf([]), objectOf(null), objectOf('x')]).toEqual([{}, null, null, null]);
  expect([numberOf(0), numberOf('0'), numberOf(Number.NaN)]).toEqual([0, null, null]);
  expect([textOf('a'), textOf(5), textOf(null)]).toEqual(['a', '5', null]);
  expect(objectsOf([{ a: 1 }, 2, { a: 3 }], 2)).toEqual([{ a: 1 }]);
  expect(objectsOf('x', 2)).toEqual([]);
  expect(
    attributesOf({ rank: 0, host: '', pid: null }, { rank: 'rank', 'host.name': 'host', 'process.pid': 'pid' }),
  ).toEqual({ rank: '0' });
});
