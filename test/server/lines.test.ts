import { expect, test } from 'vitest';
import { type BodyLine, splitLines } from '../../src/server/lines.ts';

async function linesOf(chunks: readonly (string | Buffer)[], bytes_max = 1000): Promise<BodyLine[]> {
  async function* bytes(): AsyncGenerator<Buffer> {
    for (const chunk of chunks) yield Buffer.from(chunk);
  }
  return Array.fromAsync(splitLines(bytes(), bytes_max));
}

test('lines are the same however the bytes are cut', async () => {
  const text = Buffer.from('{"a":"ä"}\r\n\n  \n{"b":"🙂"}\nlast');
  const whole = await linesOf([text]);
  expect(whole).toEqual([
    { line: 1, text: '{"a":"ä"}' },
    { line: 4, text: '{"b":"🙂"}' },
    { line: 5, text: 'last' },
  ]);
  for (let cut = 0; cut <= text.length; cut++)
    expect(await linesOf([text.subarray(0, cut), text.subarray(cut)])).toEqual(whole);
  expect(await linesOf([...text].map((byte) => Buffer.from([byte])))).toEqual(whole);
});

test('a line of exactly the most bytes is taken, one more is refused, its neighbours stay', async () => {
  expect(await linesOf(['12345\n123456\n1234'], 5)).toEqual([
    { line: 1, text: '12345' },
    { line: 2, refused: 'size' },
    { line: 3, text: '1234' },
  ]);
});

test('a line over many chunks is refused without being held', async () => {
  const chunks = Array.from({ length: 1000 }, () => Buffer.alloc(1000, 'x'));
  expect(await linesOf([...chunks, '\nnext'], 5000)).toEqual([
    { line: 1, refused: 'size' },
    { line: 2, text: 'next' },
  ]);
});

test('a byte order mark is not part of the first line', async () => {
  expect(await linesOf([Buffer.from([0xef, 0xbb, 0xbf]), 'a\n'])).toEqual([{ line: 1, text: 'a' }]);
});

test('bytes that are not UTF-8 are refused by line', async () => {
  expect(await linesOf([Buffer.from([0x61, 0x0a, 0xc3, 0x28, 0x0a]), 'b'])).toEqual([
    { line: 1, text: 'a' },
    { line: 2, refused: 'encoding' },
    { line: 3, text: 'b' },
  ]);
});
