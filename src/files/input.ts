import { createReadStream } from 'node:fs';
import { rename, rm, writeFile } from 'node:fs/promises';
import { basename, resolve } from 'node:path';
import { pipeline, Readable } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { LeewayError, systemCode } from '../core/errors.ts';

/** Where bytes come from: a path relative to `cwd`, or `-` for standard input. */
export type InputPlace = { readonly path: string; readonly cwd: string; readonly stdin: NodeJS.ReadableStream };

/** A line of an input, 1-based, without its line end. */
export type Line = { readonly path: string; readonly line: number; readonly text: string };

/** The format that a path's extension names, after `.gz`/`.zst`; `-` is NDJSON. Unknown: null. */
export function formatOf(path: string): 'csv' | 'ndjson' | 'parquet' | null {
  if (path === '-') return 'ndjson';
  const name = basename(path)
    .toLowerCase()
    .replace(/\.(gz|zst)$/, '');
  if (name.endsWith('.csv')) return 'csv';
  if (name.endsWith('.ndjson') || name.endsWith('.jsonl') || name.endsWith('.json')) return 'ndjson';
  return name.endsWith('.parquet') ? 'parquet' : null;
}

/** The bytes of an input, decompressed by its extension. Throws LW-INPUT-FILE when it cannot be read or unpacked. */
export async function* readBytes(place: InputPlace): AsyncGenerator<Buffer> {
  const source = place.path === '-' ? place.stdin : createReadStream(resolve(place.cwd, place.path));
  try {
    for await (const chunk of unpacked(place.path, source))
      yield Buffer.isBuffer(chunk) ? chunk : Buffer.from(String(chunk));
  } catch (error) {
    if (error instanceof LeewayError) throw error;
    throw new LeewayError('LW-INPUT-FILE', explain(place.path, systemCode(error)), { cause: error });
  }
}

function unpacked(path: string, source: NodeJS.ReadableStream): AsyncIterable<unknown> {
  const decoder = path.endsWith('.gz') ? createGunzip() : path.endsWith('.zst') ? createZstdDecompress() : null;
  if (decoder === null) return Readable.from(source);
  return pipeline(source, decoder, () => {
    // the error surfaces in the reader's own iteration
  });
}

function explain(path: string, code: string | null): string {
  if (code === 'ENOENT') return `${path}: no such file; check the path, relative paths start where you stand`;
  if (code === 'EACCES') return `${path}: no permission to read it`;
  if (code === 'EISDIR') return `${path}: is a directory, expected a file`;
  return `${path}: cannot be read or unpacked (${code ?? 'unknown reason'}); is it complete and named after its format?`;
}

/** The most bytes of one line: twice the record limit, so that an oversized record is still named, not cut. */
export const LINE_BYTES_MAX = 2 * 1024 * 1024;

/** Lines of UTF-8 text, streamed; memory does not grow with the file. A longer line than LINE_BYTES_MAX arrives cut. */
export async function* readLines(place: InputPlace): AsyncGenerator<Line> {
  const decoder = new TextDecoder('utf-8');
  let held = '';
  let line = 0;
  for await (const bytes of readBytes(place)) {
    const text = held + decoder.decode(bytes, { stream: true });
    const parts = text.split('\n');
    held = parts.pop() ?? '';
    for (const part of parts) yield { path: place.path, line: ++line, text: withoutReturn(part) };
    if (held.length > 2 * LINE_BYTES_MAX) held = held.slice(0, LINE_BYTES_MAX + 1);
  }
  held += decoder.decode();
  if (held.length > 0) yield { path: place.path, line: ++line, text: withoutReturn(held) };
}

function withoutReturn(text: string): string {
  return text.endsWith('\r') ? text.slice(0, -1) : text;
}

/** Writes `content` under a temporary name and renames it: a reader sees the old file or the whole new one. */
export async function writeWhole(path: string, content: string | Uint8Array): Promise<void> {
  const temporary = `${path}.${process.pid}.tmp`;
  try {
    await writeFile(temporary, content);
    await rename(temporary, path);
  } catch (error) {
    await rm(temporary, { force: true });
    throw new LeewayError(
      'LW-INPUT-FILE',
      `${path}: cannot be written (${systemCode(error) ?? 'unknown reason'}); choose a writable place`,
      {
        cause: error,
      },
    );
  }
}
