import { constants, deflateRawSync } from 'node:zlib';
import { varint } from '../formats/protobuf-writer.ts';

/** A body that unpacks to far more than it is: `unpacked_bytes` is what a careless receiver would make of it. */
export type Bomb = {
  readonly name: string;
  readonly encoding: string;
  readonly body: Buffer;
  readonly unpacked_bytes: number;
};

const SENT_BYTES = 10_000_000;
const TEN_GB = 10_000_000_000;
const ZSTD_BLOCK_BYTES = 131_072;

/** Deflate blocks of zeros, flushed so that they can be repeated: as many as fit `sent_bytes`. */
function deflated(sent_bytes: number): { blocks: Buffer; unpacked_bytes: number } {
  const zeros = Buffer.alloc(10_000_000);
  const piece = deflateRawSync(zeros, { level: 9, finishFlush: constants.Z_FULL_FLUSH });
  const count = Math.ceil(sent_bytes / piece.length);
  const blocks = Buffer.concat([...Array.from({ length: count }, () => piece), Buffer.of(3, 0)]);
  return { blocks, unpacked_bytes: count * zeros.length };
}

function gzip(sent_bytes: number): Bomb {
  const { blocks, unpacked_bytes } = deflated(sent_bytes);
  const head = Buffer.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255);
  return { name: 'gzip', encoding: 'gzip', body: Buffer.concat([head, blocks, Buffer.alloc(8)]), unpacked_bytes };
}

function deflate(sent_bytes: number): Bomb {
  const { blocks, unpacked_bytes } = deflated(sent_bytes);
  const body = Buffer.concat([Buffer.of(0x78, 0xda), blocks, Buffer.alloc(4)]);
  return { name: 'deflate', encoding: 'deflate', body, unpacked_bytes };
}

/** A frame of RLE blocks (RFC 8878, 3.1.1.2): 4 bytes each for 128 KiB. `window`: the window descriptor. */
function zstd(sent_bytes: number, window: number, name: string): Bomb {
  const count = Math.floor(sent_bytes / 4);
  const blocks = Buffer.alloc(count * 4);
  const header = (ZSTD_BLOCK_BYTES << 3) | (1 << 1);
  for (let at = 0; at < blocks.length; at += 4) blocks.writeUIntLE(header, at, 3);
  const head = Buffer.of(0x28, 0xb5, 0x2f, 0xfd, 0, window);
  const body = Buffer.concat([head, blocks]);
  return { name, encoding: 'zstd', body, unpacked_bytes: count * ZSTD_BLOCK_BYTES };
}

/** Window descriptor of RFC 8878, 3.1.1.1.2: 2^(10 + exponent). */
const windowOf = (log: number): number => (log - 10) << 3;

/** A literal and copies of 64 bytes, 3 bytes each. `claimed`: the length that its head tells. */
function snappy(name: string, claimed: number | bigint, sent_bytes: number): Bomb {
  const copies = Math.floor(sent_bytes / 3);
  const packed = Buffer.alloc(copies * 3);
  for (let at = 0; at < packed.length; at += 3) packed.writeUIntLE(0x0001fe, at, 3);
  const body = Buffer.concat([varint(claimed), Buffer.of(0, 120), packed]);
  return { name, encoding: 'snappy', body, unpacked_bytes: 1 + copies * 64 };
}

/** Bombs of the codings that HTTP bodies of samples, events and alerts may have. */
export function packedBombs(): Bomb[] {
  return [
    gzip(SENT_BYTES),
    deflate(SENT_BYTES),
    zstd(SENT_BYTES, windowOf(17), 'zstd'),
    zstd(SENT_BYTES, windowOf(27), 'zstd, window of 128 MiB'),
    // packed so well that a whole body arrives before the first look at what it unpacks to
    zstd((TEN_GB / ZSTD_BLOCK_BYTES) * 4, windowOf(17), 'zstd, 305 kB'),
    zstd(60_000, windowOf(17), 'zstd, 60 kB'),
    { ...gzip(60_000), name: 'gzip, 60 kB' },
  ];
}

/** Bombs of remote write. */
export function snappyBombs(): Bomb[] {
  const real = 1 + Math.floor(SENT_BYTES / 3) * 64;
  return [
    snappy('snappy, as dense as it gets', real, SENT_BYTES),
    snappy('snappy, says 10 GB', TEN_GB, SENT_BYTES),
    snappy('snappy, says 4 GiB − 1', 2 ** 32 - 1, SENT_BYTES),
    snappy('snappy, says 32 MiB and holds more', 32 * 1_048_576, SENT_BYTES),
    snappy('snappy, says 32 MiB and holds nothing', 32 * 1_048_576, 0),
    snappy('snappy, says 2^63', 2n ** 63n, 0),
  ];
}
