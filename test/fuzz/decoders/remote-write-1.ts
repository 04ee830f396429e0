import { decodeRemoteWrite } from '../../../src/formats/remote-write.ts';
import { writeRequest } from '../../formats/remote-write-messages.ts';
import type { FuzzTarget } from '../fuzz.ts';
import { SERIES } from '../messages.ts';
import { sampleDecoder } from '../sample-decoder.ts';

export const target = (): FuzzTarget =>
  sampleDecoder(decodeRemoteWrite, [writeRequest(...SERIES), ...SERIES.map((series) => writeRequest(series))]);
