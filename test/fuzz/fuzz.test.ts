import { describe, expect, test } from 'vitest';
import { seededRandom } from '../../src/core/random.ts';
import { fuzz } from './fuzz.ts';
import { decoderNames, loadTarget } from './load.ts';
import { mutated } from './mutate.ts';

/** Long enough to load the decoder warm and try thousands of inputs; `node test/fuzz/run.ts --seconds 600` is the real run. */
const SECONDS = 0.3;
const SEED = 20_261_121;

describe.each(decoderNames())('%s', (name) => {
  test('damaged inputs have no outcome but the declared ones', async () => {
    const { failures, execs, outcomes } = fuzz(await loadTarget(name), { seed: SEED, seconds: SECONDS });
    expect(failures, `seed ${SEED}`).toEqual([]);
    expect(execs).toBeGreaterThan(50);
    expect(outcomes).toBeGreaterThan(2); // refused in several ways: the mutations get past the first byte
  });
});

describe('the fuzzer itself', () => {
  const seeds = [Buffer.from('{"key":1}')];

  test('finds a decoder that throws, and hands over the input', () => {
    const run = (bytes: Uint8Array): string => {
      if (bytes.includes(0)) throw new TypeError('not declared');
      return 'ok';
    };
    const { failures } = fuzz({ seeds, run }, { seed: 1, seconds: 0.05 });
    expect(failures[0]).toMatchObject({ kind: 'crash', reason: expect.stringContaining('not declared') });
    const input = Buffer.from(failures[0]?.input ?? '', 'base64');
    expect(() => run(input)).toThrow('not declared');
  });

  test('finds a decoder that takes too long each time, and forgives one that was slow once', () => {
    const busy = (slow: (call: number) => boolean) => {
      let call = 0;
      return (): string => {
        const end_ms = performance.now() + (slow(call++) ? 25 : 0);
        while (performance.now() < end_ms);
        return 'ok';
      };
    };
    const options = { seed: 1, seconds: 0.01, hang_ms: 20 };
    expect(fuzz({ seeds, run: busy((call) => call > 0 && call < 4) }, options).failures).toEqual([
      expect.objectContaining({ kind: 'hang', round: 1 }),
    ]);
    expect(fuzz({ seeds, run: busy((call) => call === 1) }, options).failures).toEqual([]);
  });

  test('makes the same inputs from the same seed', () => {
    const inputs = (seed: number): string[] => {
      const random = seededRandom(seed);
      return Array.from({ length: 200 }, () =>
        Buffer.from(mutated(random, { corpus: seeds, words: ['x'] })).toString('hex'),
      );
    };
    expect(inputs(3)).toEqual(inputs(3));
    expect(inputs(3)).not.toEqual(inputs(4));
    expect(new Set(inputs(3)).size).toBeGreaterThan(50);
  });
});
