import path from 'node:path';
import { systemCode } from '../core/errors.ts';
import { type Ok, type Reject, type Retry, retry } from '../core/outcome.ts';
import type { Scratch, SpoolDisk } from './disk.ts';
import { type ReadSegment, REASON_SUFFIX, recoverFile } from './recovery.ts';
import type { Segment } from './segment.ts';

/**
 * Reads and verifies a closed segment. A file that somebody removed holds nothing, which the caller declares; what the
 * disk refuses for now is `retry`.
 */
export async function readDelivery(disk: SpoolDisk, segment: Segment, scratch?: Scratch): Promise<ReadSegment | Retry> {
  await segment.closed;
  try {
    return await recoverFile(disk, segment, segment.bytes, scratch);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return { segment: null, headers: [], torn: 0, damaged: 1 };
    return diskRetry(error, segment.path);
  }
}

const REASON_CHARACTERS_MAX = 1_000;

/** Forgets a stored segment or sets a rejected one aside; null when that is done. */
export async function finishDelivery(
  disk: SpoolDisk,
  segment: Segment,
  outcome: Ok<void> | Reject,
): Promise<Retry | null> {
  try {
    if (outcome.kind === 'ok') await disk.unlink(segment.path);
    else {
      await noteReason(disk, `${segment.path}.rejected`, outcome);
      await disk.rename(segment.path, `${segment.path}.rejected`);
      await disk.syncDirectory(path.dirname(segment.path));
    }
    return null;
  } catch (error) {
    return systemCode(error) === 'ENOENT' ? null : diskRetry(error, segment.path);
  }
}

/** Notes why `file` is set aside. A disk that does not take the reason keeps nothing from being set aside. */
export async function noteReason(disk: SpoolDisk, file: string, { code, reason }: Reject): Promise<void> {
  const note = { code, reason: reason.slice(0, REASON_CHARACTERS_MAX) };
  try {
    await disk.write(`${file}${REASON_SUFFIX}`, Buffer.from(`${JSON.stringify(note)}\n`));
  } catch (error) {
    if (systemCode(error) === null) throw error;
  }
}

function diskRetry(error: unknown, file: string): Retry {
  const code = systemCode(error);
  if (code === null) throw error;
  return retry('LW-SPOOL-IO', `${file}: ${code}`);
}
