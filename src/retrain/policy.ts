/** When a model may be retrained (contract: config.md `retraining.policies`). Money in nano-USD. */
export type RetrainPolicy = {
  readonly id: string;
  /** Pattern of model names; `*` matches any rest. The first policy that matches applies. */
  readonly model: string;
  readonly mode: 'off' | 'suggest' | 'approve' | 'auto';
  readonly hysteresis: { readonly windows: number; readonly drifted_min: number };
  readonly cooldown_ms: number;
  readonly runs_per_week_max: number;
  readonly budget_per_month_nano_usd: bigint;
  readonly estimated_run_nano_usd: bigint;
  readonly labels_min: number;
  readonly approval_above_nano_usd: bigint;
  readonly decision_ttl_ms: number;
  readonly evidence: 'performance' | 'drift';
};

/** Whether `pattern` (with `*` for any rest) matches `name`. */
export function patternMatches(pattern: string, name: string): boolean {
  const star = pattern.indexOf('*');
  return star < 0 ? pattern === name : name.startsWith(pattern.slice(0, star));
}

/** The first policy whose pattern matches the model, or null. */
export function policyFor<Policy extends RetrainPolicy>(policies: readonly Policy[], model: string): Policy | null {
  return policies.find((policy) => patternMatches(policy.model, model)) ?? null;
}
