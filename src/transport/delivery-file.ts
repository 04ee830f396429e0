import { rename, unlink } from 'node:fs/promises';
import path from 'node:path';
import { systemCode } from '../core/errors.ts';
import { type Ok, type Reject, type Retry, retry } from '../core/outcome.ts';
import { type ReadSegment, recoverFile } from './recovery.ts';
import { type Segment, syncDirectory } from './segment.ts';

/**
 * Reads and verifies a closed segment. A file that somebody removed holds nothing, which the caller declares; what the
 * disk refuses for now is `retry`.
 */
export async function readDelivery(segment: Segment): Promise<ReadSegment | Retry> {
  await segment.closed;
  try {
    return await recoverFile(segment);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { segment: null, headers: [], torn: 0, damaged: 1 };
    return diskRetry(error, segment.path);
  }
}

/** Forgets a stored segment or sets a rejected one aside; null when that is done. */
export async function finishDelivery(segment: Segment, outcome: Ok<void> | Reject): Promise<Retry | null> {
  try {
    if (outcome.kind === 'ok') await unlink(segment.path);
    else {
      await rename(segment.path, `${segment.path}.rejected`);
      await syncDirectory(path.dirname(segment.path));
    }
    return null;
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? null : diskRetry(error, segment.path);
  }
}

function diskRetry(error: unknown, file: string): Retry {
  const code = systemCode(error);
  if (code === null) throw error;
  return retry('LW-SPOOL-IO', `${file}: ${code}`);
}
