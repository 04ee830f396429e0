import { asyncBufferFromFile, parquetMetadataAsync, parquetScan, parquetSchema } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { LeewayError, systemCode } from '../core/errors.ts';

/** Rows of a parquet file, some thousands at a time; cells as hyparquet decodes them. */
export type ParquetBatch = { readonly columns: readonly string[]; readonly rows: readonly (readonly unknown[])[] };

const BATCH_ROWS = 4096;

/**
 * Reads a parquet file (a path, or its bytes when it came compressed), one row group in memory at a time: the format
 * has its index at the end, so it cannot be read from a pipe. All codecs. Throws LW-INPUT-FILE when it is not readable
 * parquet.
 */
export async function* readParquet(name: string, source: string | ArrayBuffer): AsyncGenerator<ParquetBatch> {
  const open = await explained(name, async () => {
    const file = typeof source === 'string' ? await asyncBufferFromFile(source) : source;
    const metadata = await parquetMetadataAsync(file);
    const columns = parquetSchema(metadata).children.map((child) => child.element.name);
    return { columns, scan: await parquetScan({ file, metadata, compressors }) };
  });
  for (const range of open.scan.ranges) {
    const read = (column: string) => open.scan.readColumn({ column, ...range });
    const cells = await explained(name, async () => {
      const decoded: ArrayLike<unknown>[] = [];
      for (const column of open.columns) decoded.push(await read(column));
      return decoded;
    });
    const count = range.rowEnd - range.rowStart;
    for (let from = 0; from < count; from += BATCH_ROWS) {
      const size = Math.min(BATCH_ROWS, count - from);
      yield { columns: open.columns, rows: Array.from({ length: size }, (_, row) => cells.map((c) => c[from + row])) };
    }
  }
}

async function explained<Value>(name: string, work: () => Promise<Value>): Promise<Value> {
  try {
    return await work();
  } catch (error) {
    const what =
      systemCode(error) === 'ENOENT'
        ? 'no such file; check the path, relative paths start where you stand'
        : `not a readable parquet file (${error instanceof Error ? error.message : String(error)})`;
    throw new LeewayError('LW-INPUT-FILE', `${name}: ${what}`, { cause: error });
  }
}
