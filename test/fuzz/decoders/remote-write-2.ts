import { decodeRemoteWrite2 } from '../../../src/formats/remote-write-2.ts';
import { request2 } from '../../formats/remote-write-messages.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { SERIES } from '../messages.ts';
import { sampleDecoder } from '../sample-decoder.ts';

export const target = (): FuzzTarget =>
  sampleDecoder(decodeRemoteWrite2, [request2(...SERIES), ...SERIES.map((series) => request2(series))]);
