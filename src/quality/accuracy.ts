import { fisherLess } from '../math/fisher-exact.ts';
import { newcombeInterval, wilsonInterval } from '../math/proportion-intervals.ts';

/** Correct among labelled predictions. */
export type Labelled = { readonly correct: number; readonly labelled: number };

export type AccuracyInput = {
  readonly reference: Labelled;
  /** `predicted` counts all predictions of the window, labelled or not. */
  readonly window: Labelled & { readonly predicted: number };
};

export type AccuracyOptions = {
  /** Chance that an unchanged model is called worse. Default 0.001. */
  readonly alpha?: number;
  /** Labels below which an answer is "insufficient", on either side. Default 50: ±9 points at 0.9. */
  readonly labels_min?: number;
  /** Smallest loss of accuracy that counts as worse. Default 0.02, two points. */
  readonly effect_min?: number;
  /** Of the intervals. Default 0.95. */
  readonly confidence?: number;
};

export type AccuracyVerdict = {
  readonly status: 'worse' | 'holds' | 'insufficient';
  readonly reason: 'too_few_labels' | 'too_few_reference_labels' | null;
  readonly accuracy: number;
  /** Wilson interval of the window's accuracy. */
  readonly low: number;
  readonly high: number;
  readonly reference_accuracy: number;
  /** Window minus reference; negative = lost. */
  readonly change: number;
  /** Newcombe interval of the change. */
  readonly change_low: number;
  readonly change_high: number;
  /** One-sided and exact (Fisher): the chance that an unchanged model does this badly. */
  readonly p_value: number;
  readonly worse: boolean;
  /** Share of the window's predictions whose label has come. */
  readonly completeness_ratio: number;
  readonly labelled: number;
};

/**
 * Compares realised accuracy of a window with that of the reference. Only labelled predictions count; how many that is
 * stands beside it, because labels that come early may not be typical of those that come late.
 * `worse` = exact p-value at most alpha and a loss of at least effect_min. Null when a side has no label at all.
 */
export function assessAccuracy(input: AccuracyInput, options: AccuracyOptions = {}): AccuracyVerdict | null {
  const { reference, window } = input;
  if (reference.labelled === 0 || window.labelled === 0) return null;
  const confidence = options.confidence ?? 0.95;
  const table = {
    hits_x: reference.correct,
    n_x: reference.labelled,
    hits_y: window.correct,
    n_y: window.labelled,
  };
  const interval = wilsonInterval(table.hits_y, table.n_y, confidence);
  const change = newcombeInterval(table, confidence);
  const verdict = {
    accuracy: table.hits_y / table.n_y,
    low: interval.low,
    high: interval.high,
    reference_accuracy: table.hits_x / table.n_x,
    change: table.hits_y / table.n_y - table.hits_x / table.n_x,
    change_low: change.low,
    change_high: change.high,
    p_value: fisherLess(table),
    completeness_ratio: Math.min(1, window.labelled / Math.max(1, window.predicted)),
    labelled: window.labelled,
  };
  const reason = tooFew(input, options.labels_min ?? 50);
  if (reason !== null) return { status: 'insufficient', reason, ...verdict, worse: false };
  const worse = verdict.p_value <= (options.alpha ?? 0.001) && verdict.change <= -(options.effect_min ?? 0.02);
  return { status: worse ? 'worse' : 'holds', reason: null, ...verdict, worse };
}

function tooFew(input: AccuracyInput, labels_min: number): AccuracyVerdict['reason'] {
  if (input.window.labelled < labels_min) return 'too_few_labels';
  return input.reference.labelled < labels_min ? 'too_few_reference_labels' : null;
}
