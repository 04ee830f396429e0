import { LeewayError } from '../../../src/core/errors.ts';
import { ProtobufReader } from '../../../src/formats/protobuf-reader.ts';
import { request2, writeRequest } from '../../formats/remote-write-messages.ts';
import { type FuzzTarget, outcomeWord } from '../fuzz.ts';
import { OTLP, SERIES } from '../messages.ts';

/** Messages inside messages are followed this deep. */
const DEPTH_MAX = 8;

/** The reader, following every length-delimited field as if it were a message, else passing over it. */
export const target = (): FuzzTarget => {
  const reader = new ProtobufReader();
  const walk = (end: number, depth: number): number => {
    let fields = 0;
    while (reader.at < end) {
      const at = reader.at;
      const tag = reader.tag();
      if (reader.at <= at) throw new Error('no progress');
      fields++;
      if ((tag & 7) !== 2 || depth >= DEPTH_MAX) reader.skip(tag, end);
      else {
        const last = reader.lengthEnd(end);
        const start = reader.at;
        try {
          fields += walk(last, depth + 1);
        } catch (error) {
          if (!(error instanceof LeewayError)) throw error;
        }
        if (start > last) throw new Error('a length that leads backwards');
        reader.at = last;
      }
    }
    if (reader.at !== end) throw reader.error('a field leads out of its message');
    return fields;
  };
  return {
    seeds: [writeRequest(...SERIES), request2(...SERIES), OTLP],
    run: (bytes) => {
      reader.reset(bytes);
      try {
        return outcomeWord('ok', walk(bytes.length, 0));
      } catch (error) {
        if (error instanceof LeewayError && error.code === 'LW-BODY') return outcomeWord('reject', error.message);
        throw error;
      }
    },
  };
};
