import { ENGINE_STATE } from '../control/collections.ts';
import type { Finding } from '../core/finding.ts';
import type { Control } from '../core/ports.ts';

/** A verdict that is repeated to the desk, and when the detector last gave it, Unix ms. */
export type Standing = { readonly finding: Finding; readonly at_ms: number };

/**
 * What a watch of jobs needs to go on where another one was. Its size is that of the jobs that are watched, however long they
 * and their incidents last: 2.6 KB a rank and 30 KB a job.
 */
export type JobMemory = {
  readonly version: typeof VERSION;
  /** Steps of a block: what was learned of blocks says nothing of blocks of another size. */
  readonly block_steps: number;
  /** Records up to here are in it, Unix ms. */
  readonly until_ms: number;
  /** The detector's own text. */
  readonly detector: string;
  readonly standing: readonly (readonly [key: string, standing: Standing])[];
  /** By job: when a step last arrived by the wall clock, and the newest step's own time. */
  readonly stepped: readonly (readonly [job: string, at_ms: number])[];
  readonly newest_step: readonly (readonly [job: string, at_ms: number])[];
};

/** Raised when what is remembered changes its shape; memories of other versions are not read. */
const VERSION = 1;
const ENGINE = 'jobs';
const ID = `${ENGINE}/all`;
/** What is older says little of the jobs of today. */
const AGE_MS_MAX = 86_400_000;
/** Above it nothing is kept: 4,000 ranks at 4 KB, 6,000 at the usual 2.6. */
const CHARACTERS_MAX = 16_000_000;

/** The memory, or null where it would be too large to keep. */
export function jobMemory(memory: Omit<JobMemory, 'version'>): JobMemory | null {
  return memory.detector.length > CHARACTERS_MAX ? null : { version: VERSION, ...memory };
}

/** Keeps what the watch remembers for the worker after this one. */
export async function saveJobMemory(control: Control, memory: JobMemory, now_ms: number): Promise<void> {
  await control.transaction(async (tx) => {
    const known = await tx.get(ENGINE_STATE, ID);
    const body = { engine: ENGINE, updated_at_ms: now_ms, state: memory };
    if (known === null) await tx.insert(ENGINE_STATE, ID, body);
    else await tx.update(ENGINE_STATE, ID, known.revision, body);
  });
}

/** What was kept last; null where nothing was in the last day, or by a version that kept it in another shape. */
export async function loadJobMemory(control: Control, now_ms: number): Promise<JobMemory | null> {
  const kept = await control.transaction((tx) => tx.get(ENGINE_STATE, ID));
  if (kept === null || now_ms - kept.body.updated_at_ms > AGE_MS_MAX) return null;
  const memory = kept.body.state as JobMemory; // the parse door: written by saveJobMemory only
  return memory.version === VERSION ? memory : null;
}
