import { median } from './robust.ts';
import type { Cause, IncidentKind, IncidentState, JobState, RunBlock, Subject } from './state.ts';

/** What the desk is told about an incident since the last call. */
export type ChangeKind = 'raised' | 'reopened' | 'updated' | 'cleared' | 'merged';

/** Collects the latest change of each incident, so that one call reports each at most once. */
export type Changes = Map<
  string,
  { readonly change: ChangeKind; readonly job: string; readonly incident: IncidentState }
>;

/** A located or job-wide fault is worth a page from this share of the step time on (contract: severity). */
const PAGE_COST_RATIO = 0.03;
const RATIOS_MAX = 64;

export type Opening = {
  readonly kind: IncidentKind;
  readonly attempt: number;
  readonly ranks: readonly number[];
  readonly subjects: readonly Subject[];
  readonly cause: Cause;
  readonly started_at_ms: number;
  readonly started_step: number;
  readonly blocks: readonly RunBlock[];
  readonly peer_count: number;
};

/** The stable name of a cause: the same subjects and kind in the same job are the same incident, whenever they recur. */
export function incidentKey(job: string, kind: IncidentKind, subjects: readonly Subject[]): string {
  return `job:${job}/${kind}/${subjects.map(subjectName).join(',')}`;
}

function subjectName(subject: Subject): string {
  return subject.type === 'rank' ? subject.id : `${subject.type}=${subject.id}`;
}

/** Opens the incident, or reopens the one of the same key. */
export function openIncident(job: JobState, opening: Opening, changes: Changes): IncidentState {
  const key = incidentKey(job.job, opening.kind, opening.subjects);
  const known = job.incidents.get(key);
  const incident = known ?? newIncident(key, opening);
  if (known !== undefined) {
    known.reopened_count++;
    known.cleared_at_ms = null;
    known.cleared_step = null;
    known.flags.length = 0;
  }
  job.incidents.set(key, incident);
  for (const block of opening.blocks) addBlock(job, incident, block);
  if (opening.cause !== 'unknown') incident.cause = opening.cause;
  incident.peer_count = opening.peer_count;
  note(changes, job, incident, known === undefined ? 'raised' : 'reopened');
  return incident;
}

function newIncident(key: string, opening: Opening): IncidentState {
  const last = opening.blocks.at(-1);
  return {
    id: `straggler-${hash64(key)}`,
    key,
    kind: opening.kind,
    attempt: opening.attempt,
    ranks: opening.ranks,
    subjects: opening.subjects,
    severity: 'warn',
    cause: opening.cause,
    started_at_ms: opening.started_at_ms,
    started_step: opening.started_step,
    raised_at_ms: last?.to_ms ?? opening.started_at_ms,
    raised_step: last?.to_step ?? opening.started_step,
    cleared_at_ms: null,
    cleared_step: null,
    reopened_count: 0,
    flags: [],
    ratios: [],
    gpu_ms_lost: 0,
    step_ms_lost: 0,
    step_ms: 0,
    seen_count: 0,
    expected_count: 0,
    peer_count: opening.peer_count,
    evidence: {},
  };
}

/** Adds a block to an open incident: its cost, its coverage, and the severity that follows from the cost so far. */
export function addBlock(job: JobState, incident: IncidentState, block: RunBlock): void {
  incident.step_ms_lost += block.loss_ms;
  incident.step_ms += block.duration_ms;
  incident.gpu_ms_lost += block.loss_ms * job.totals.world_size;
  incident.seen_count += block.seen_count;
  incident.expected_count += block.expected_count;
  incident.ratios.push(block.ratio);
  if (incident.ratios.length > RATIOS_MAX) incident.ratios.shift();
  if (costRatio(incident) >= PAGE_COST_RATIO) incident.severity = 'page';
}

/** Share of the step time that the incident cost so far. */
export function costRatio(incident: IncidentState): number {
  return incident.step_ms > 0 ? incident.step_ms_lost / incident.step_ms : 0;
}

/** How much slower the subject is than it should be: 1.3 = 30 % more time. Null before the first block. */
export function slowdownRatio(incident: IncidentState): number | null {
  return median(incident.ratios);
}

/** Marks the incident's recovery. */
export function clearIncident(
  job: JobState,
  incident: IncidentState,
  at: { ms: number; step: number },
  changes: Changes,
): void {
  incident.cleared_at_ms = at.ms;
  incident.cleared_step = at.step;
  note(changes, job, incident, 'cleared');
}

/** Removes an incident that turned out to be part of a wider cause. */
export function mergeAway(job: JobState, incident: IncidentState, changes: Changes): void {
  job.incidents.delete(incident.key);
  note(changes, job, incident, 'merged');
}

/** Remembers the most telling change: an opening stays an opening until it has been reported. */
export function note(changes: Changes, job: JobState, incident: IncidentState, change: ChangeKind): void {
  const held = changes.get(incident.key)?.change;
  const kept = change === 'updated' && (held === 'raised' || held === 'reopened') ? held : change;
  changes.set(incident.key, { change: kept, job: job.job, incident });
}

/** FNV-1a, 64 bit, as 16 hex digits: a short stable name, not a secret. */
function hash64(text: string): string {
  let hash = 0xcbf29ce484222325n;
  for (const byte of new TextEncoder().encode(text)) hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * 0x100000001b3n);
  return hash.toString(16).padStart(16, '0');
}
