/** Evidence gathered over consecutive windows. Plain JSON. */
export type Evidence = { readonly e_value: number; readonly windows: number };

/** Most that one value may reach: keeps JSON finite. */
const E_VALUE_MAX = 1e300;

/**
 * The p-to-e calibrator ½·p^(−½): its mean is 1 when p is uniform, at most 1 when p is conservative.
 * Source: Vovk & Wang 2021, E-values: calibration, combination and applications, equation 1 with κ = ½.
 */
export function eValueOf(p: number): number {
  return Math.min(E_VALUE_MAX, 0.5 / Math.sqrt(Math.max(p, Number.MIN_VALUE)));
}

/**
 * One step of the e-CUSUM: max(previous, 1) × e(p). It restarts at 1 whenever evidence has melted away, so
 * `windows` counts the windows since the last restart: the change probably began there.
 * Source: Shin, Ramdas & Rinaldo 2024, E-detectors: a nonparametric framework for sequential change detection.
 *
 * This is a measure of persistence to show beside an alarm, not an alarm by itself: windows that share one finite
 * reference share its sampling error, and over many windows that error would add up like drift.
 */
export function advanceEvidence(previous: Evidence | null, p: number): Evidence {
  const continued = previous !== null && previous.e_value > 1;
  const held = continued ? previous : { e_value: 1, windows: 0 };
  return { e_value: Math.min(E_VALUE_MAX, held.e_value * eValueOf(p)), windows: held.windows + 1 };
}

/**
 * The e-CUSUM after each of consecutive windows, from their `min_p`; null (insufficient) leaves it where it was.
 */
export function evidenceOf(p_values: readonly (number | null)[]): number[] {
  let evidence: Evidence | null = null;
  return p_values.map((p) => {
    if (p !== null) evidence = advanceEvidence(evidence, p);
    return evidence?.e_value ?? 1;
  });
}
