import type { FrameHeader } from '../core/ports.ts';
import { SAMPLE_COLUMNS } from '../formats/sample-frame.ts';
import { mergeTree, onCluster, tableSettings, type Topology } from './topology.ts';

/** Powers of ten that a Float64 holds exactly and that scaled values are divided by. */
const POWERS = `[${Array.from({ length: 16 }, (_, exponent) => `1e${exponent}`).join(', ')}]`;

/** `CREATE TABLE IF NOT EXISTS` of the samples. `value` is exactly what was sent (formats/scaled-value.ts). */
export function createSamples(topology: Topology): string {
  return `CREATE TABLE IF NOT EXISTS \`leeway\`.\`samples\`${onCluster(topology)} (
  id UInt64 CODEC(Delta(8), ZSTD(1)), at DateTime64(3, 'UTC') CODEC(DoubleDelta, ZSTD(1)), mant Int64 CODEC(T64, ZSTD(1)),
  exp Int8 CODEC(ZSTD(1)), precedence UInt64 CODEC(Delta(8), ZSTD(1)), lin UInt64 ALIAS bitNot(precedence),
  value Float64 ALIAS if(exp = 127, reinterpretAsFloat64(mant), mant / ${POWERS}[if(exp = 127, 0, exp) + 1]))
ENGINE = ${mergeTree('samples', 'Replacing', { topology, argument: 'precedence' })} PARTITION BY toDate(at) ORDER BY (id, at)
${tableSettings(topology)}`;
}

/**
 * Codecs of the samples that measured smaller (docs/explanation/storage-size.md); parts take them as they are written or
 * merged. Times: the second difference of a jittered clock has three deviations in it, the first one two. Precedences of
 * a series fall by the same step from segment to segment.
 */
export function recodeSamples(topology: Topology): string {
  return `ALTER TABLE \`leeway\`.\`samples\`${onCluster(topology)}
  MODIFY COLUMN at CODEC(Delta(8), ZSTD(1)), MODIFY COLUMN precedence CODEC(DoubleDelta, ZSTD(1))`;
}

/** What a row of samples says of its lineage: an origin that the frames explain, or the lineage itself. */
export type SampleLineage = 'origin' | 'lineage';

/** What blocks of samples are read as. */
export function sampleStructure(lineage: SampleLineage): string {
  const types = SAMPLE_COLUMNS.map(
    ({ name, type }) => `${name} ${name === 'src' && lineage === 'lineage' ? 'UInt64' : type}`,
  );
  return ['id Tuple(UInt64)', ...types].join(', ');
}

/** Lineage by origin: that of the first frame which carries it. */
function originLineages(frames: readonly FrameHeader[]): bigint[] {
  const lineages: bigint[] = [];
  for (const { origin, lineage } of frames) {
    const known = lineages[origin];
    if (known === undefined || lineage < known) lineages[origin] = lineage;
  }
  return Array.from(lineages, (lineage) => lineage ?? 0n); // an origin whose frames were all damaged has no rows
}

/** Columns of the samples as the table has them, from blocks; `lin` is the lineage of each row. */
export function sampleSelect(source: string, lineage: SampleLineage, frames: readonly FrameHeader[]): string {
  const columns = 'SELECT id.1 AS id, at, mant, exp';
  if (lineage === 'lineage') return `${columns}, src AS lin FROM ${source}`;
  const lineages = originLineages(frames).map((first) => `toUInt64(${first})`);
  return `${columns}, [${lineages.join(', ')}][src + 1] AS lin FROM ${source}`;
}
