import type { AfterWindow } from '../core/retraining.ts';
import { assessAccuracy } from '../quality/accuracy.ts';
import { assessedWindows, type ModelState } from './model-state.ts';

/** A window of a promoted version, with what its labels say. */
export type WindowAfter = AfterWindow & { readonly labelled: number; readonly correct: number };

/** A window is worse when even a model as good as before would do this badly once in 1,000 windows, by 5 points or more. */
const WORSE = { alpha: 1e-3, labels_min: 30, effect_min: 0.05 };
/** A window waits for labels until most are there, or for this many windows. */
const LABELLED_MIN_RATIO = 0.8;
const PATIENCE_WINDOWS = 10;

/**
 * The assessed windows of `version` since `since_ms`, judged against the version before: drift against its own
 * baseline, accuracy against what it was before the drift. Windows too small to tell, and those that the baseline is
 * made of, say nothing and are left out. Windows still waiting for labels end the list.
 */
export function windowsAfter(
  state: ModelState,
  of: { readonly version: string; readonly before: string; readonly since_ms: number },
  now: { readonly now_ms: number; readonly window_ms: number },
): WindowAfter[] {
  const known = state.versions.find((candidate) => candidate.version === of.version);
  const before = state.versions.find((candidate) => candidate.version === of.before);
  if (known === undefined) return [];
  const quality = before?.reference_quality ?? null;
  const labels = quality !== null && quality.labelled >= WORSE.labels_min;
  const spans = new Map(known.spans.map((span) => [span.from_ms, span]));
  const after: WindowAfter[] = [];
  for (const { from_ms, to_ms, status } of assessedWindows(known)) {
    if (from_ms < of.since_ms) continue;
    const span = spans.get(from_ms) ?? { from_ms, predicted: 0, labelled: 0, correct: 0 };
    const waiting = labels && span.labelled < LABELLED_MIN_RATIO * span.predicted;
    if (waiting && now.now_ms - to_ms < PATIENCE_WINDOWS * now.window_ms) break;
    const verdict = labels ? assessAccuracy({ reference: quality, window: span }, WORSE) : null;
    const { labelled, correct } = span;
    const accuracy_worse = verdict?.worse ?? false;
    after.push({ from_ms, to_ms, drifted: status === 'drift', accuracy_worse, labelled, correct });
  }
  return after;
}
