/** Streams are the upper 12 bits of a lineage, the place within the stream is the lower 52. */
export const STREAM_BITS = 52;

/** The stream of a lineage: within it, order is order of acceptance; between streams it means nothing. */
export function streamOf(lineage: bigint): number {
  return Number(lineage >> BigInt(STREAM_BITS));
}
