import { pipeline, Readable, Transform } from 'node:stream';
import { createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';

/** Caps on one body, in bytes: as sent and unpacked. */
export type BodyCaps = { readonly sent_max: number; readonly unpacked_max: number };

export const INGEST_CAPS: BodyCaps = {
  sent_max: LIMITS.body_compressed_bytes_max,
  unpacked_max: LIMITS.body_bytes_max,
};

export const CONTROL_CAPS: BodyCaps = {
  sent_max: LIMITS.control_body_bytes_max,
  unpacked_max: LIMITS.control_body_bytes_max,
};

/** Below this an unpacked body harms nobody, and honest repetitive telemetry does compress 100:1. */
const RATIO_FROM_BYTES = 1_048_576;
/** Bytes of a refused body that are still read and thrown away, so that its sender gets to read the answer. */
const DRAIN_BYTES_MAX = 67_108_864;

/**
 * The bytes of a request's body, unpacked as `content-encoding` says and capped while they arrive: nothing is
 * allocated for what a header or a compressed stream merely promises. Encodings of `asItIs` are left to the reader.
 * Throws LW-BODY-SIZE (413: sent, unpacked or ratio), LW-MEDIA-TYPE (415: encoding), LW-BODY (400: damaged).
 */
export async function* readBody(
  source: Readable,
  headers: { readonly [name: string]: string | string[] | undefined },
  caps: BodyCaps,
  asItIs: readonly string[] = [],
): AsyncGenerator<Buffer> {
  let sent = 0;
  let unpacked = 0;
  const counted = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      sent += chunk.length;
      if (sent > caps.sent_max) done(tooLarge(`${sent} bytes or more were sent`, caps.sent_max));
      else done(null, chunk);
    },
  });
  try {
    if (Number(headers['content-length'] ?? 0) > caps.sent_max)
      throw tooLarge(`${String(headers['content-length'])} bytes are announced`, caps.sent_max);
    for await (const chunk of decoded(source, counted, encodingOf(headers, asItIs))) {
      unpacked += chunk.length;
      if (unpacked > caps.unpacked_max) throw tooLarge(`it unpacks to ${unpacked} bytes or more`, caps.unpacked_max);
      if (unpacked > RATIO_FROM_BYTES && unpacked > sent * LIMITS.body_ratio_max)
        throw tooLarge(`it unpacks more than ${LIMITS.body_ratio_max}:1`, caps.unpacked_max);
      yield chunk;
    }
  } catch (error) {
    await drain(source);
    throw error instanceof LeewayError ? error : damaged(error);
  }
}

function tooLarge(what: string, bytes_max: number): LeewayError {
  return new LeewayError('LW-BODY-SIZE', `body too large: ${what}, at most ${bytes_max}; send smaller batches`);
}

function damaged(cause: unknown): LeewayError {
  return new LeewayError('LW-BODY', 'the body ends early or is not what content-encoding says', { cause });
}

function encodingOf(
  headers: { readonly [name: string]: string | string[] | undefined },
  asItIs: readonly string[],
): string {
  const encoding = String(headers['content-encoding'] ?? '');
  return asItIs.includes(encoding.trim().toLowerCase()) ? 'identity' : encoding;
}

/** Not a pipeline from the request: its failure would destroy the socket that the answer needs. */
function decoded(source: Readable, counted: Transform, encoding: string): AsyncIterable<Buffer> {
  const unpacker = unpackerOf(encoding.trim().toLowerCase());
  const chunks = bytesOf(source);
  const head = Readable.from(chunks, { objectMode: false });
  const done = (): void => {
    // the failure surfaces in the reader's own iteration
  };
  return unpacker === null ? pipeline(head, counted, done) : pipeline(head, counted, unpacker, done);
}

async function* bytesOf(source: Readable): AsyncGenerator<Buffer> {
  // `destroyOnReturn: false` keeps the request, and with it the socket, alive when the reader stops early.
  for await (const chunk of source.iterator({ destroyOnReturn: false }))
    yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
}

function unpackerOf(encoding: string) {
  switch (encoding) {
    case '':
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return createInflate();
    case 'zstd':
      return createZstdDecompress();
    default: {
      const errors = [
        { path: 'content-encoding', got: encoding.slice(0, 100), expected: 'gzip, zstd, deflate or identity' },
      ];
      throw new LeewayError('LW-MEDIA-TYPE', `content-encoding "${encoding.slice(0, 100)}" is not supported`, {
        errors,
      });
    }
  }
}

/** Reads the rest of a refused body and forgets it, up to DRAIN_BYTES_MAX; the server's request timeout bounds its time. */
async function drain(source: Readable): Promise<void> {
  if (source.destroyed || source.readableEnded) return;
  let bytes = 0;
  try {
    for await (const chunk of source.iterator({ destroyOnReturn: false })) {
      bytes += Buffer.isBuffer(chunk) ? chunk.length : 0;
      if (bytes > DRAIN_BYTES_MAX) return;
    }
  } catch {
    return; // the client went away: nobody is left to answer
  }
}

/** A whole body up to its caps, as one buffer. */
export async function collectBody(bytes: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of bytes) chunks.push(chunk);
  return Buffer.concat(chunks);
}
