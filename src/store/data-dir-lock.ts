import { readFileSync } from 'node:fs';
import { link, mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { LeewayError, systemCode } from '../core/errors.ts';

const LOCK = 'leeway.lock';

/**
 * Takes the data directory for this process: a file with its id and start time, put there whole by link(2). A lock
 * whose process is gone is taken over. Failures: LW-DATA-DIR-TAKEN, LW-DATA-DIR.
 */
export async function lockDataDir(data_dir: string): Promise<AsyncDisposable> {
  const file = path.join(data_dir, LOCK);
  const own = `${file}.${process.pid}`;
  const content = `${process.pid} ${processStatus(process.pid)?.start_ticks ?? ''}\n`;
  try {
    await mkdir(data_dir, { recursive: true });
    await writeFile(own, content);
    await place(own, file, { data_dir, claims: 0 });
  } catch (cause) {
    if (cause instanceof LeewayError) throw cause;
    throw new LeewayError(
      'LW-DATA-DIR',
      `data directory ${data_dir} is not usable (${systemCode(cause) ?? 'unknown failure'}); ` +
        'expected a directory that this user may write to; set data_dir to one',
      { cause },
    );
  } finally {
    await unlink(own).catch(() => undefined); // it was never made where the directory is unusable
  }
  return {
    [Symbol.asyncDispose]: async () => {
      if ((await readFile(file, 'utf8').catch(() => '')) === content) await unlink(file);
    },
  };
}

/** Attempts: each one either takes the lock, finds a living holder, or clears away one dead lock. */
const ATTEMPTS_MAX = 10;
/** Starters that died while they cleared away the lock of one that died so. */
const CLAIMS_MAX = 3;

async function place(own: string, file: string, { data_dir, claims }: Claims): Promise<void> {
  for (let attempt = 0; attempt < ATTEMPTS_MAX; attempt++) {
    try {
      return await link(own, file);
    } catch (error) {
      if (systemCode(error) !== 'EEXIST') throw error;
    }
    const holder = await holderOf(file);
    if (holder?.alive === true) throw taken(data_dir, `process ${holder.pid}`);
    if (holder !== null) await clear(own, file, { data_dir, claims: claims + 1 });
  }
  throw taken(data_dir, 'another process');
}

type Claims = { readonly data_dir: string; readonly claims: number };

/**
 * Removes a dead lock while the claim to it is held: of two starters that saw it dead the slower would else remove the
 * lock that the faster has taken meanwhile. The claim is a lock itself, so one of a dead starter is cleared in its turn.
 */
async function clear(own: string, file: string, claims: Claims): Promise<void> {
  if (claims.claims > CLAIMS_MAX) throw taken(claims.data_dir, 'another process');
  const claim = `${file}.claim`;
  await place(own, claim, claims);
  try {
    const holder = await holderOf(file);
    if (holder?.alive === false) await unlink(file);
  } finally {
    await unlink(claim);
  }
}

/** Who holds a lock; null where there is none. */
async function holderOf(file: string): Promise<{ readonly pid: string; readonly alive: boolean } | null> {
  const content = await readFile(file, 'utf8').catch((error: unknown) => {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  });
  if (content === null) return null;
  const [pid = '', ticks = ''] = content.trim().split(' ');
  return { pid, alive: isAlive(Number(pid), ticks) };
}

/** The error for a directory that another process holds. */
export function taken(data_dir: string, holder: string): LeewayError {
  return new LeewayError(
    'LW-DATA-DIR-TAKEN',
    `data directory ${data_dir} is in use by ${holder}; one process at a time may hold it: stop that one or set another data_dir`,
  );
}

function isAlive(pid: number, ticks: string): boolean {
  if (!Number.isSafeInteger(pid) || pid <= 0) return false;
  try {
    process.kill(pid, 0);
  } catch (error) {
    return systemCode(error) === 'EPERM';
  }
  const status = processStatus(pid);
  // a zombie holds nothing: it waits for a parent that may never ask (a container without an init)
  if (status === null) return true;
  return status.state !== 'Z' && (ticks === '' || status.start_ticks === ticks);
}

/** State and start time (clock ticks since boot, tells a reused id apart) of a process; null where /proc is missing. */
function processStatus(pid: number): { state: string; start_ticks: string } | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const [state = '', ...fields] = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state, start_ticks: fields[18] ?? '' };
  } catch {
    return null; // no /proc on this platform
  }
}
