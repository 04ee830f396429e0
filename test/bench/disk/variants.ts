import type { WritingSession } from '../../../src/store/engine.ts';
import { SAMPLES_TABLE } from './leeway.ts';
import { columnBytes, optimize, tableBytes } from './measure.ts';
import type { ColumnBytes } from './measure.ts';

/** A column of the samples as it could be kept: its type, its codec and, where that differs, what it would hold. */
type Variant = {
  readonly column: string;
  readonly type: string;
  readonly codec: string;
  readonly holds?: string;
  readonly block_bytes?: number;
};

const AT = "DateTime64(3, 'UTC')";
/** Doubles that are 32-bit floats and only as decimals of more than 31 bits exact, as their bits. */
const FLOATS_AS_BITS =
  'if(exp != 127 AND abs(mant) > 2147483647 AND toFloat64(toFloat32(value)) = value, reinterpretAsInt64(value), mant)';

const of = (column: string, type: string, codecs: readonly string[], holds?: string): Variant[] =>
  codecs.map((codec) => ({ column, type, codec, ...(holds === undefined ? {} : { holds }) }));

const VARIANTS: readonly Variant[] = [
  ...of('at', AT, ['DoubleDelta, ZSTD(1)', 'Delta(8), ZSTD(1)', 'Delta(8), ZSTD(3)', 'Delta(8), T64, ZSTD(1)']),
  ...of('at', AT, ['T64, ZSTD(1)', 'GCD, Delta(8), ZSTD(1)']),
  ...of('ms', 'UInt8', ['ZSTD(1)', 'T64, ZSTD(1)'], 'toUInt8(toUnixTimestamp64Milli(at) % 100)'),
  ...of('second', 'UInt32', ['Delta(4), ZSTD(1)'], 'toUInt32(intDiv(toUnixTimestamp64Milli(at), 1000))'),
  ...of('mant', 'Int64', ['T64, ZSTD(1)', 'T64, ZSTD(3)', "T64('bit'), ZSTD(1)", 'ZSTD(1)', 'Delta(8), ZSTD(1)']),
  ...of('mant', 'Int64', ['T64, ZSTD(1)']).map(inSmallBlocks),
  ...of('mant_or_bits', 'Int64', ['T64, ZSTD(1)', 'T64, ZSTD(3)', "T64('bit'), ZSTD(1)"], FLOATS_AS_BITS),
  ...of('precedence', 'UInt64', ['Delta(8), ZSTD(1)', 'DoubleDelta, ZSTD(1)']),
  ...of('exp', 'Int8', ['ZSTD(1)', 'T64, ZSTD(1)']),
  ...of('id', 'UInt64', ['Delta(8), ZSTD(1)', 'ZSTD(1)']),
];

/** The same in smaller compressed blocks than the engine's 64 KiB to 1 MiB: fewer hold two series. */
function inSmallBlocks(variant: Variant): Variant {
  return { ...variant, block_bytes: 16_384 };
}

export type CodecBytes = ColumnBytes & { readonly codec: string };

/** Bytes of each variant in a table of its own, its rows in the samples' order. */
export async function codecBytes(session: WritingSession): Promise<CodecBytes[]> {
  const found: CodecBytes[] = [];
  for (const { column, type, codec, holds = column, block_bytes } of VARIANTS) {
    const block =
      block_bytes === undefined
        ? ''
        : ` SETTINGS (min_compress_block_size = ${block_bytes}, max_compress_block_size = ${block_bytes})`;
    await session.command('DROP TABLE IF EXISTS leeway.bench_codec SYNC');
    await session.command(
      `CREATE TABLE leeway.bench_codec (\`key id\` UInt64, \`key at\` ${AT}, ${column} ${type} CODEC(${codec})${block})
ENGINE = MergeTree ORDER BY (\`key id\`, \`key at\`)`,
    );
    await session.command(`INSERT INTO leeway.bench_codec SELECT id, at, ${holds} FROM ${SAMPLES_TABLE}`);
    await optimize(session, 'leeway.bench_codec');
    const bytes = (await columnBytes(session, 'leeway.bench_codec')).find((one) => one.column === column)?.bytes ?? 0;
    found.push({ column, codec: `${codec})${block}`, bytes });
  }
  await session.command('DROP TABLE IF EXISTS leeway.bench_codec SYNC');
  return found;
}

export type MetricBytes = { readonly metric: string; readonly bytes_per_sample: number };

/** Bytes a sample of each metric by itself in a table like the samples: small tables, so a little above the whole. */
export async function metricBytes(session: WritingSession): Promise<MetricBytes[]> {
  const metrics = await session.rows<{ metric: string }>(
    'SELECT DISTINCT metric FROM leeway.series FINAL ORDER BY metric',
  );
  const found: MetricBytes[] = [];
  for (const { metric } of metrics) {
    await session.command('DROP TABLE IF EXISTS leeway.bench_metric SYNC');
    await session.command(`CREATE TABLE leeway.bench_metric AS ${SAMPLES_TABLE}`);
    await session.command(
      `INSERT INTO leeway.bench_metric (id, at, mant, exp, precedence) SELECT id, at, mant, exp, precedence
FROM ${SAMPLES_TABLE} WHERE id IN (SELECT id FROM leeway.series WHERE metric = '${metric}')`,
    );
    await optimize(session, 'leeway.bench_metric');
    const [row] = await session.rows<{ n: string }>('SELECT count() AS n FROM leeway.bench_metric');
    found.push({ metric, bytes_per_sample: (await tableBytes(session, 'leeway.bench_metric')) / Number(row?.n ?? 1) });
  }
  await session.command('DROP TABLE IF EXISTS leeway.bench_metric SYNC');
  return found;
}
