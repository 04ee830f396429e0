import type { Outcome } from '../../src/core/outcome.ts';
import type { DecodedSamples, SampleTarget } from '../../src/formats/decoded-samples.ts';
import { freshTarget } from '../formats/sample-rows.ts';
import { type FuzzTarget, outcomeWord } from './fuzz.ts';

/** Few, so that their caps are reached again and again. */
const SERIES_MAX = 2_000;
const IDLE_ROUNDS = 5_000;

/**
 * A decoder of open ingest. Beside "an outcome, nothing thrown": rows are taken exactly when the outcome says so, every
 * rejection has a code and counts something, and no series comes twice.
 */
export function sampleDecoder(
  decode: (body: Uint8Array, target: SampleTarget) => Outcome<DecodedSamples>,
  seeds: readonly Uint8Array[],
  words: readonly string[] = [],
): FuzzTarget {
  const target = freshTarget({ series_max: SERIES_MAX });
  let rounds = 0;
  return {
    seeds,
    words,
    run: (bytes) => {
      if (++rounds % IDLE_ROUNDS === 0) target.book.evictIdle();
      const outcome = decode(bytes, target);
      const rows = target.columns.take().rows;
      const fresh = target.book.drainNew();
      if (outcome.kind !== 'ok') {
        if (rows !== 0) throw new Error(`${rows} rows of a refused body`);
        // what the JSON parser says quotes the input
        return outcomeWord(outcome.kind, outcome.code, outcome.reason.replace(/JSON: [A-Z].*/s, 'syntax'));
      }
      const { samples_count, histograms, exemplars, metadata, rejections } = outcome.value;
      if (rows !== samples_count) throw new Error(`${rows} rows, ${samples_count} told`);
      if (rejections.some(({ count, code }) => count < 1 || code === '')) throw new Error('an empty rejection');
      if (new Set(fresh.map(({ id }) => id)).size !== fresh.length) throw new Error('a series announced twice');
      const counts = [rows, histograms.length, exemplars.length, metadata.length, fresh.length];
      return outcomeWord('ok', ...counts, rejections.map(({ code }) => code).join(','));
    },
  };
}
