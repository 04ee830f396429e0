import { SnappyBlock } from '../../../src/formats/snappy-block.ts';
import { request2, writeRequest } from '../../formats/remote-write-messages.ts';
import { compressSnappy, literalSnappy } from '../../formats/snappy-writer.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';
import { SERIES } from '../messages.ts';
import { unsnappy } from '../reference-snappy.ts';

const UNPACKED_MAX = 262_144;

/** The block decoder: what it takes must be what a byte-by-byte decoder makes of it, and no more may be taken. */
export const target = (): FuzzTarget => {
  const snappy = new SnappyBlock(UNPACKED_MAX);
  const bodies = [writeRequest(...SERIES), request2(...SERIES), new Uint8Array(5_000), Buffer.from('ab'.repeat(900))];
  return {
    seeds: bodies.flatMap((body) => [compressSnappy(body), literalSnappy(body)]),
    run: (bytes) => {
      const outcome = snappy.decompress(bytes);
      if (outcome.kind !== 'ok') return outcomeWord(outcome.kind, outcome.kind === 'reject' ? outcome.reason : '');
      if (Buffer.compare(outcome.value, unsnappy(bytes)) !== 0) throw new Error('not what the format says');
      return outcomeWord('ok', outcome.value.length);
    },
  };
};
