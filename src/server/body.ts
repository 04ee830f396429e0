import { pipeline, Readable, Transform } from 'node:stream';
import { constants, createGunzip, createInflate, gunzipSync, inflateSync, zstdDecompressSync } from 'node:zlib';
import { LeewayError, systemCode } from '../core/errors.ts';
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

/** Below this an unpacked body harms nobody, and honest telemetry does compress 200:1: 8,000 points of one resource are 4 MB. */
const RATIO_FROM_BYTES = 8_388_608;
/** Packed bodies up to this size are unpacked at once: a stream costs 0.3 ms, and 100:1 of it is 15 ms of work. */
const AT_ONCE_BYTES_MAX = 65_536;
/** Unpacked at a time: a body of 800 samples in one piece instead of four and a copy, half the CPU. */
const CHUNK_BYTES = 65_536;
/** Bytes of a refused body that are still read and thrown away, so that its sender gets to read the answer. */
const DRAIN_BYTES_MAX = 67_108_864;

type Headers = { readonly [name: string]: string | string[] | undefined };

export type BodyOptions = {
  readonly caps: BodyCaps;
  /** Encodings that are left to the caller. */
  readonly asItIs?: readonly string[];
  /** Told of bytes while they arrive; what it throws refuses the body. */
  readonly onBytes?: (bytes: number) => void;
};

/**
 * A request's body, unpacked as `content-encoding` says and capped while it arrives: nothing is allocated for what a
 * header or a compressed stream merely promises. Throws LW-BODY-SIZE (413: sent, unpacked or ratio), LW-MEDIA-TYPE (415:
 * encoding), LW-BODY (400: damaged).
 */
export async function readBody(source: Readable, headers: Headers, options: BodyOptions): Promise<Buffer> {
  const { caps, asItIs = [] } = options;
  try {
    const announced = Number(headers['content-length'] ?? Number.NaN);
    if (announced > caps.sent_max) throw tooLarge(`${announced} bytes are announced`, caps.sent_max);
    const packing = packingOf(headers, asItIs);
    if (packing === null) return await collected(source, options);
    const { stream } = packing;
    if (stream === null || announced <= AT_ONCE_BYTES_MAX) {
      const sent = await collected(source, options);
      const body = unpacked(sent, packing, caps);
      options.onBytes?.(Math.max(0, body.length - sent.length));
      return body;
    }
    return await streamed(source, stream, options);
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

/** What `sent` packed bytes may unpack to. */
function unpackedMax(sent: number, caps: BodyCaps): number {
  return Math.min(caps.unpacked_max, Math.max(RATIO_FROM_BYTES, sent * LIMITS.body_ratio_max));
}

/** The bytes as they are sent. Not an iteration of the stream, which would cost as much as decoding a small body. */
function collected(source: Readable, { caps, onBytes }: BodyOptions): Promise<Buffer> {
  const { promise, resolve, reject } = Promise.withResolvers<Buffer>();
  const chunks: Buffer[] = [];
  let sent = 0;
  const take = (chunk: Buffer): void => {
    sent += chunk.length;
    try {
      if (sent > caps.sent_max) throw tooLarge(`${sent} bytes or more were sent`, caps.sent_max);
      onBytes?.(chunk.length);
      chunks.push(chunk);
    } catch (error) {
      reject(error);
    }
  };
  const end = (): void => {
    source.off('close', close); // which comes next, and is no failure
    resolve(chunks.length === 1 && chunks[0] !== undefined ? chunks[0] : Buffer.concat(chunks));
  };
  const close = (): void => reject(new Error('the connection ended before the body'));
  source.on('data', take).once('end', end).once('error', reject).once('close', close);
  return promise.finally(() => {
    source.pause();
    source.off('data', take).off('end', end).off('error', reject).off('close', close);
  });
}

type Limits = { readonly maxOutputLength: number; readonly chunkSize: number };

type Packing = {
  /** Null: it stops at the end of a frame, and what the next chunk begins with would be lost. */
  readonly stream: (() => Transform & { readonly bytesWritten: number }) | null;
  readonly atOnce: (bytes: Buffer, limits: Limits) => Buffer;
};

/** A frame may ask its reader for a window of up to 2 GiB; one larger than the largest body is of no use (2^25 = 32 MiB). */
const ZSTD = { params: { [constants.ZSTD_d_windowLogMax]: 25 } };
const GZIP: Packing = { stream: createGunzip, atOnce: gunzipSync };
const PACKINGS: ReadonlyMap<string, Packing | null> = new Map([
  ['', null],
  ['identity', null],
  ['gzip', GZIP],
  ['x-gzip', GZIP],
  ['deflate', { stream: createInflate, atOnce: inflateSync }],
  ['zstd', { stream: null, atOnce: zstdFrames }],
]);

/** Frames of one zstd body: each costs its own decoder. Parallel packers write one for some hundred KB. */
const ZSTD_FRAMES_MAX = 1_000;

/** RFC 8878: a body is any number of frames, skippable ones among them; the decoder ends with the first. */
function zstdFrames(bytes: Buffer, { maxOutputLength, chunkSize }: Limits): Buffer {
  const frames: Buffer[] = [];
  let at = 0;
  let unpacked_bytes = 0;
  do {
    if (frames.length === ZSTD_FRAMES_MAX) throw new LeewayError('LW-BODY', `more than ${ZSTD_FRAMES_MAX} zstd frames`);
    const limits = { ...ZSTD, maxOutputLength: Math.max(1, maxOutputLength - unpacked_bytes), chunkSize, info: true };
    const { buffer, engine } = zstdDecompressSync(bytes.subarray(at), limits) as unknown as Unpacked; // `info` asks for it
    frames.push(buffer);
    at += engine.bytesWritten;
    unpacked_bytes += buffer.length;
  } while (at < bytes.length);
  return frames.length === 1 && frames[0] !== undefined ? frames[0] : Buffer.concat(frames);
}

/** `bytesWritten`: of what was given, as much as was read. */
type Unpacked = { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } };

/** How a body is packed, null: not at all, or the caller unpacks it. Throws LW-MEDIA-TYPE. */
function packingOf(headers: Headers, asItIs: readonly string[]): Packing | null {
  const given = String(headers['content-encoding'] ?? '');
  const encoding = given.trim().toLowerCase();
  if (asItIs.includes(encoding)) return null;
  const packing = PACKINGS.get(encoding);
  if (packing !== undefined) return packing;
  const errors = [{ path: 'content-encoding', got: given.slice(0, 100), expected: 'gzip, zstd, deflate or identity' }];
  throw new LeewayError('LW-MEDIA-TYPE', `content-encoding "${given.slice(0, 100)}" is not supported`, { errors });
}

function unpacked(sent: Buffer, { atOnce }: Packing, caps: BodyCaps): Buffer {
  const bytes_max = unpackedMax(sent.length, caps);
  try {
    return atOnce(sent, { maxOutputLength: bytes_max, chunkSize: CHUNK_BYTES });
  } catch (error) {
    if (systemCode(error) !== 'ERR_BUFFER_TOO_LARGE') throw error;
    const what = `${sent.length} bytes unpack to more than ${bytes_max}, beyond ${LIMITS.body_ratio_max}:1`;
    throw tooLarge(what, caps.unpacked_max);
  }
}

async function streamed(
  source: Readable,
  stream: NonNullable<Packing['stream']>,
  { caps, onBytes }: BodyOptions,
): Promise<Buffer> {
  let sent = 0;
  const counted = new Transform({
    transform: (chunk: Buffer, _encoding, done) => {
      sent += chunk.length;
      if (sent > caps.sent_max) done(tooLarge(`${sent} bytes or more were sent`, caps.sent_max));
      else done(null, chunk);
    },
  });
  // not a pipeline from the request: its failure would destroy the socket that the answer needs
  const head = Readable.from(bytesOf(source), { objectMode: false });
  const done = (): void => {
    // the failure surfaces in the reader's own iteration
  };
  const chunks: Buffer[] = [];
  let bytes = 0;
  const unpacker = stream();
  for await (const chunk of pipeline(head, counted, unpacker, done)) {
    if (!Buffer.isBuffer(chunk)) continue;
    bytes += chunk.length;
    if (bytes > caps.unpacked_max) throw tooLarge(`it unpacks to ${bytes} bytes or more`, caps.unpacked_max);
    // of what was sent, only what has been unpacked: the rest waits before the unpacker and would lend a bomb its ratio
    if (bytes > unpackedMax(unpacker.bytesWritten + AT_ONCE_BYTES_MAX, caps))
      throw tooLarge(`it unpacks more than ${LIMITS.body_ratio_max}:1`, caps.unpacked_max);
    onBytes?.(chunk.length);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

async function* bytesOf(source: Readable): AsyncGenerator<Buffer> {
  // `destroyOnReturn: false` keeps the request, and with it the socket, alive when the reader stops early.
  for await (const chunk of source.iterator({ destroyOnReturn: false }))
    yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
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
