import { expect, test } from 'vitest';
import { type BodyLine, splitLines } from '../../src/server/lines.ts';

function linesOf(body: string | Buffer, bytes_max = 1000): BodyLine[] {
  return [...splitLines(Buffer.from(body), bytes_max)];
}

test('a body is cut at its newlines, whatever ends its lines; lines without text only count', () => {
  expect(linesOf('{"a":"ä"}\r\n\n  \n{"b":"🙂"}\nlast')).toEqual([
    { line: 1, text: '{"a":"ä"}' },
    { line: 4, text: '{"b":"🙂"}' },
    { line: 5, text: 'last' },
  ]);
  expect(linesOf('')).toEqual([]);
  expect(linesOf('\n')).toEqual([]);
  expect(linesOf('a\n')).toEqual([{ line: 1, text: 'a' }]);
});

test('a line of exactly the most bytes is taken, one more is refused, its neighbours stay', () => {
  expect(linesOf('12345\n123456\n1234', 5)).toEqual([
    { line: 1, text: '12345' },
    { line: 2, refused: 'size' },
    { line: 3, text: '1234' },
  ]);
});

test('a byte order mark is not part of the first line', () => {
  expect(linesOf(Buffer.from([0xef, 0xbb, 0xbf, 0x61, 0x0a]))).toEqual([{ line: 1, text: 'a' }]);
});

test('bytes that are not UTF-8 are refused by line', () => {
  expect(linesOf(Buffer.from([0x61, 0x0a, 0xc3, 0x28, 0x0a, 0x62]))).toEqual([
    { line: 1, text: 'a' },
    { line: 2, refused: 'encoding' },
    { line: 3, text: 'b' },
  ]);
});
