import { constants, zstdCompressSync } from 'node:zlib';
import { encodeLink, LINK_VERSION, type LinkMessage } from '../formats/link-batch.ts';

/** What a message is on the wire: its media type names the version, `content-encoding` the compression. */
export const LINK_MEDIA_TYPE = `application/vnd.leeway.batch.v${LINK_VERSION}`;

/** Levels 1 to 9 are within 3 % of each other here: what is left is noise of sensors. */
const LEVEL = 3;
/** Smaller ones, a few seconds of one collector, do not get smaller, and the compressor's tables would cost 1 MB each time. */
const PACKED_FROM_BYTES = 4_096;

/** The body of a request with `content-type: LINK_MEDIA_TYPE` and, where it is not null, `content-encoding: encoding`. */
export function packMessage(message: LinkMessage): { readonly encoding: 'zstd' | null; readonly bytes: Buffer } {
  const bytes = encodeLink(message);
  if (bytes.length < PACKED_FROM_BYTES) return { encoding: null, bytes };
  const params = { [constants.ZSTD_c_compressionLevel]: LEVEL };
  return { encoding: 'zstd', bytes: zstdCompressSync(bytes, { params, pledgedSrcSize: bytes.length }) };
}
