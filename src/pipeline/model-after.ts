import type { AfterWindow } from '../core/retraining.ts';
import { assessAccuracy } from '../quality/accuracy.ts';
import type { ModelState, VersionState } from './model-watch.ts';

/** A window of a promoted version, with what its labels say. */
export type WindowAfter = AfterWindow & { readonly labelled: number; readonly correct: number };

/** A window is worse when even a model as good as before would do this badly once in 1,000 windows, by 5 points or more. */
const WORSE = { alpha: 1e-3, labels_min: 30, effect_min: 0.05 };
/** A window waits for labels until most are there, or for this many windows. */
const LABELLED_MIN_RATIO = 0.8;
const PATIENCE_WINDOWS = 10;

/**
 * The closed windows of `version` from its first row on, judged against the version before: drift against its own
 * baseline, accuracy against what it was before the drift. Windows still waiting for labels end the list.
 */
export function windowsAfter(
  state: ModelState,
  of: { readonly version: string; readonly before: string },
  now: { readonly now_ms: number; readonly window_ms: number; readonly rows_min: number },
): WindowAfter[] {
  const known = state.versions.find((candidate) => candidate.version === of.version);
  const before = state.versions.find((candidate) => candidate.version === of.before);
  if (known === undefined) return [];
  const quality = before?.reference_quality ?? null;
  const after: WindowAfter[] = [];
  for (const span of known.spans) {
    const to_ms = span.from_ms + now.window_ms;
    if (span.predicted < now.rows_min || to_ms > now.now_ms) continue;
    const labels = quality !== null && quality.labelled >= WORSE.labels_min;
    const waiting = labels && span.labelled < LABELLED_MIN_RATIO * span.predicted;
    if (waiting && now.now_ms - to_ms < PATIENCE_WINDOWS * now.window_ms) break;
    const verdict = labels ? assessAccuracy({ reference: quality, window: span }, WORSE) : null;
    after.push({
      from_ms: span.from_ms,
      to_ms,
      drifted: driftedIn(known, span.from_ms),
      accuracy_worse: verdict?.worse ?? false,
      labelled: span.labelled,
      correct: span.correct,
    });
  }
  return after;
}

function driftedIn(known: VersionState, from_ms: number): boolean {
  return known.windows.some((window) => window.from_ms === from_ms && window.status === 'drift');
}
