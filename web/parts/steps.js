import { get } from '../api.js';
import { apiPath, queryText } from '../route.js';
import { matrixOf, stepRanges } from '../step-matrix.js';
import { useEffect, useState } from './dom.js';

/** The API answers at most this many records at once. */
const PAGE_RECORDS = 500;
/** Requests under way at once: the service has other readers. */
const PARALLEL_MAX = 4;
/** Records held a job: 64 ranks × 312 steps. */
const RECORDS_MAX = 20_000;
export const RANKS_MAX = 64;
/** The newest steps may still get records of slow ranks: they are asked for again. */
const UNSETTLED_STEPS = 20;

/** How many steps of so many ranks fit. @param {number} ranks */
export function stepsMax(ranks) {
  return Math.floor(RECORDS_MAX / Math.max(1, ranks));
}

/** @type {Map<string, Map<string, any>>} */
const held = new Map();

/**
 * Step records of a job as a matrix, read in parallel ranges; a later `to` reads only what is new.
 * @param {{ job: string, ranks: number[], from: number, to: number, all: boolean } | null} wanted `to` exclusive
 * @returns {{ matrix: import('../step-matrix.js').StepMatrix | null, loading: boolean, problem: any }}
 */
export function useSteps(wanted) {
  const [state, setState] = useState({
    matrix: /** @type {any} */ (null),
    loading: true,
    problem: /** @type {any} */ (null),
  });
  const key = wanted === null ? '' : JSON.stringify([wanted.job, wanted.all ? [] : wanted.ranks]);
  const [from, to] = [wanted?.from ?? 0, wanted?.to ?? 0];
  useEffect(() => {
    if (wanted === null) return undefined;
    let current = true;
    load(wanted, key).then(
      (matrix) => current && setState({ matrix, loading: false, problem: null }),
      (problem) => current && setState((old) => ({ ...old, loading: false, problem })),
    );
    return () => {
      current = false;
    };
  }, [key, from, to]);
  return state;
}

/** @param {{ job: string, ranks: number[], from: number, to: number, all: boolean }} wanted @param {string} key */
async function load({ job, ranks, from, to, all }, key) {
  const known = held.get(key) ?? new Map();
  held.clear(); // one job at a time: the page shows one
  held.set(key, known);
  const seen = [...known.values()].map((record) => record.step);
  const covered = seen.length > 0 && Math.min(...seen) <= from + UNSETTLED_STEPS;
  const start = covered ? Math.max(from, Math.max(...seen) - UNSETTLED_STEPS) : from;
  const ranges = stepRanges({ from: start, to, ranks: ranks.length, page: PAGE_RECORDS });
  const work = ranges.values();
  const reader = async () => {
    for (const range of work) await readRange(known, { job, range, ranks: all ? null : ranks.join(',') });
  };
  await Promise.all(Array.from({ length: PARALLEL_MAX }, reader));
  for (const [name, record] of known) if (record.step < from || record.step >= to) known.delete(name);
  return matrixOf([...known.values()]);
}

/** @param {Map<string, any>} known @param {{ job: string, range: { from: number, to: number }, ranks: string | null }} of */
async function readRange(known, { job, range, ranks }) {
  let cursor = null;
  do {
    const query = queryText({ from_step: range.from, to_step: range.to, ranks, limit: PAGE_RECORDS, cursor });
    const answer = await get(apiPath('jobs', job, `/steps${query}`));
    for (const record of answer.items) known.set(`${record.rank}/${record.step}`, record);
    cursor = answer.next_cursor;
  } while (cursor !== null && known.size < 2 * RECORDS_MAX);
}
