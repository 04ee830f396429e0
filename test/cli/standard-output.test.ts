import { Writable } from 'node:stream';
import { expect, it } from 'vitest';
import { StandardOutput } from '../../src/cli/standard-output.ts';

/** A stream whose writes fail from the `failing`th on (0-based) with `code`. */
function sink(failing: number, code: string): { stream: Writable; taken: string[] } {
  const taken: string[] = [];
  let count = 0;
  const stream = new Writable({
    autoDestroy: false, // as the standard streams
    write: (chunk: Buffer, _, done) => {
      if (count++ >= failing) return done(Object.assign(new Error('write failed'), { code }));
      taken.push(chunk.toString());
      done();
    },
  });
  return { stream, taken };
}

it('writes everything and has nothing to say of a stream that takes it', async () => {
  const { stream, taken } = sink(Infinity, '');
  const output = new StandardOutput(stream, () => expect.fail('the reader is there'));
  output.write('one\n');
  output.write('two\n');
  await output.written();
  expect(taken.join('')).toBe('one\ntwo\n');
});

it('ends quietly, and tells once, when the reader is gone', async () => {
  const { stream, taken } = sink(1, 'EPIPE');
  let told = 0;
  const output = new StandardOutput(stream, () => void told++);
  for (const text of ['one\n', 'two\n', 'three\n']) output.write(text);
  await output.written();
  output.write('four\n');
  await output.written();
  expect([taken, told]).toEqual([['one\n'], 1]);
});

it('fails with the reason when a disk is full: the answer is not whole', async () => {
  const output = new StandardOutput(sink(1, 'ENOSPC').stream, () => expect.fail('a full disk is not a reader'));
  output.write('one\n');
  output.write('two\n');
  await expect(output.written()).rejects.toMatchObject({
    code: 'LW-OUTPUT',
    message: expect.stringContaining('standard output: cannot be written (ENOSPC)'),
  });
});
