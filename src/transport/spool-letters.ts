import path from 'node:path';
import Type from 'typebox';
import { compiled } from '../core/compiled.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import type { FrameHeader } from '../core/ports.ts';
import { RangeSet } from '../core/range-set.ts';
import { TABLE_NAMES, type TableName } from '../core/tables.ts';
import type { SpoolDisk } from './disk.ts';
import { type FoundFrame, scanFrames } from './frame.ts';
import { REASON_SUFFIX } from './recovery.ts';

/** Records of one source and epoch, with the batches that they are of: closed ranges of sequences, rising. */
export type LetterContents = {
  readonly source: string;
  readonly epoch: number;
  readonly rows: number;
  readonly sequences: readonly (readonly [from: number, to: number])[];
};

/**
 * A file that the spool has set aside. `rejected`: the store refused the segment; nothing of it is stored. `damaged`: a copy of
 * a file with unreadable bytes; its whole frames went on to the store.
 */
export type SpoolLetter = {
  /** Name of the segment without its ending: `000000000012-step`. */
  readonly id: string;
  readonly kind: 'rejected' | 'damaged';
  readonly table: TableName;
  readonly path: string;
  readonly bytes: number;
  readonly frames: number;
  readonly rows: number;
  readonly contents: readonly LetterContents[];
  /** Null where it was not noted: set aside by an older version, or by a disk that took nothing more. */
  readonly code: string | null;
  readonly reason: string | null;
  /** The first bytes, or the first that are damaged. */
  readonly raw: Buffer;
};

/** Bytes of a letter that are shown. */
export const RAW_BYTES_MAX = 1_024;

const NAME = /^(\d{12}-([a-z_]+))\.native\.(rejected|bad)$/;
const NoteSchema = Type.Object({ code: Type.String(), reason: Type.String() });
const note = compiled(NoteSchema);

/** What the spool in `directory` has set aside, in the order of their numbers; one file is held in memory at a time. */
export async function* spoolLetters(disk: SpoolDisk, directory: string): AsyncGenerator<SpoolLetter> {
  for (const name of await disk.list(directory)) {
    const [, id = '', kind_of, suffix] = NAME.exec(name) ?? [];
    const table = TABLE_NAMES.find((known) => known === kind_of);
    if (table === undefined) continue;
    const file = path.join(directory, name);
    const bytes = await disk.read(file);
    const { frames } = scanFrames(bytes, table);
    const headers = frames.map(({ header }) => header);
    const described = {
      id,
      table,
      path: file,
      bytes: bytes.length,
      frames: frames.length,
      rows: headers.reduce((sum, { rows }) => sum + rows, 0),
      contents: contentsOf(headers),
    };
    if (suffix === 'bad') {
      const reason = `bytes ${damageOf(bytes, frames).join(' to ')} are no frame; the whole frames of the file were stored`;
      const raw = bytes.subarray(damageOf(bytes, frames)[0], damageOf(bytes, frames)[1]).subarray(0, RAW_BYTES_MAX);
      yield { ...described, kind: 'damaged', code: 'LW-SPOOL-IO', reason, raw: Buffer.from(raw) };
    } else {
      const why = await readNote(disk, `${file}${REASON_SUFFIX}`);
      yield { ...described, ...why, kind: 'rejected', raw: Buffer.from(bytes.subarray(0, RAW_BYTES_MAX)) };
    }
  }
}

/**
 * Puts a rejected segment back among those that wait for the store. Its frames keep their lineage, so the rows that come to
 * the store are those that would have come then, and a row that is there already counts once. Only while no service runs in
 * the directory: the next one finds the segment when it starts.
 */
export async function replaySpoolLetter(
  disk: SpoolDisk,
  letter: Pick<SpoolLetter, 'id' | 'kind' | 'path'>,
): Promise<void> {
  if (letter.kind === 'damaged')
    throw new LeewayError(
      'LW-INPUT',
      `${letter.id} holds damaged bytes only, whose whole frames were stored: there is nothing to replay; delete ${letter.path} when you have seen it`,
    );
  const directory = path.dirname(letter.path);
  const back = letter.path.replace(/\.rejected$/, '');
  if ((await disk.list(directory)).includes(path.basename(back)))
    throw new LeewayError(
      'LW-CONFLICT',
      `${back} exists; it was replayed already and is not stored yet: start the service`,
    );
  await disk.rename(letter.path, back);
  await disk.syncDirectory(directory);
  await disk.unlink(`${letter.path}${REASON_SUFFIX}`).catch((error: unknown) => {
    if (systemCode(error) === null) throw error; // the reason was never noted, or stays behind: nobody reads it any more
  });
}

function contentsOf(headers: readonly FrameHeader[]): LetterContents[] {
  const groups = Map.groupBy(headers, ({ source, epoch }) => `${epoch} ${source}`);
  return [...groups.values()].flatMap((group) => {
    const [first] = group;
    if (first === undefined) return [];
    const sequences = new RangeSet();
    let rows = 0;
    for (const header of group) {
      sequences.add(header.sequence);
      rows += header.rows;
    }
    const ranges = sequences.ranges.map(({ from, to }) => [from, to] as const);
    return [{ source: first.source, epoch: first.epoch, rows, sequences: ranges }];
  });
}

/** The first stretch of bytes that belongs to no whole frame: half-open. */
function damageOf(bytes: Buffer, frames: readonly FoundFrame[]): readonly [from: number, to: number] {
  let end = 0;
  for (const frame of frames) {
    if (frame.start > end) return [end, frame.start];
    end = frame.end;
  }
  return [end, bytes.length];
}

async function readNote(disk: SpoolDisk, file: string): Promise<{ code: string | null; reason: string | null }> {
  try {
    const value: unknown = JSON.parse((await disk.read(file)).toString('utf8'));
    if (note.check(value)) return { code: value.code, reason: value.reason };
  } catch (error) {
    if (systemCode(error) === null && !(error instanceof SyntaxError)) throw error;
  }
  return { code: null, reason: null };
}
