import { access, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { LeewayError, systemCode } from '../../core/errors.ts';
import { lockDataDir } from '../../store/data-dir-lock.ts';
import { REASON_SUFFIX } from '../../transport/recovery.ts';
import { systemDisk } from '../../transport/disk.ts';
import { replaySpoolLetter, type SpoolLetter, spoolLetters } from '../../transport/spool-letters.ts';
import type { Letter, LetterBox, Replayed } from './letter.ts';

/** The letters of the embedded bus: files in `data_dir/spool`. Throws LW-NOT-FOUND where there is no spool. */
export async function openSpoolBox(data_dir: string): Promise<LetterBox> {
  const directory = join(data_dir, 'spool');
  await access(directory).catch((error: unknown) => {
    const reason = systemCode(error) ?? 'unknown reason';
    throw new LeewayError('LW-NOT-FOUND', `no spool in ${data_dir} (${reason}); check data_dir, has the service run?`);
  });
  const disk = systemDisk(true);
  const files = new Map<string, SpoolLetter>();
  return {
    place: directory,
    next: 'start the service: it stores what was put back, and the declared loss "quarantined" falls by as much',
    list: async () => {
      const letters: Letter[] = [];
      for await (const letter of spoolLetters(disk, directory)) {
        files.set(idOf(letter), letter);
        letters.push(await shown(letter));
      }
      return letters;
    },
    replay: async (letters) => {
      await using _lock = await held(data_dir);
      const replayed: Replayed[] = [];
      for (const { id, rows } of letters) {
        const letter = files.get(id);
        if (letter === undefined) continue;
        await replaySpoolLetter(disk, letter);
        replayed.push({ id, rows });
      }
      return replayed;
    },
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

/** A damaged copy and a rejected segment may be of the same number. */
function idOf({ id, kind }: SpoolLetter): string {
  return kind === 'damaged' ? `${id}.bad` : id;
}

async function shown({ path, ...letter }: SpoolLetter): Promise<Letter> {
  // the note is written when the segment is set aside; without one the segment itself was written last
  const { mtimeMs } = await stat(`${path}${REASON_SUFFIX}`).catch(() => stat(path));
  const why = 'its whole frames were stored; the rest is unreadable';
  return {
    ...letter,
    id: idOf({ ...letter, path }),
    set_aside_at_ms: Math.round(mtimeMs),
    not_replayable: letter.kind === 'damaged' ? why : letter.frames === 0 ? 'it holds no whole frame' : null,
  };
}

/** The service finds what was put back when it starts, and must not run meanwhile. */
async function held(data_dir: string): Promise<AsyncDisposable> {
  try {
    return await lockDataDir(data_dir);
  } catch (cause) {
    if (!(cause instanceof LeewayError) || cause.code !== 'LW-DATA-DIR-TAKEN') throw cause;
    throw new LeewayError(cause.code, `${cause.message}. Stop the service, replay, start it again`, { cause });
  }
}
