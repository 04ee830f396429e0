import { constants, zstdCompressSync } from 'node:zlib';
import { encodeLink, LINK_VERSION, type LinkMessage } from '../formats/link-batch.ts';

/** What a message is on the wire: its media type names the version, `content-encoding` the compression. */
export const LINK_MEDIA_TYPE = `application/vnd.leeway.batch.v${LINK_VERSION}`;

/** Levels 1 to 9 are within 3 % of each other here: what is left is noise of sensors. */
const LEVEL = 3;
const PARAMETERS = { params: { [constants.ZSTD_c_compressionLevel]: LEVEL } };

/** A message as the body of a request with `content-type: LINK_MEDIA_TYPE` and `content-encoding: zstd`. */
export function packMessage(message: LinkMessage): Buffer {
  return zstdCompressSync(encodeLink(message), PARAMETERS);
}
