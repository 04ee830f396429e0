import type { Finding } from '../../src/core/finding.ts';
import { parseRules, type Rule } from '../../src/incident/rules.ts';

/** A rule with the defaults of its schema: fires above 0.2, clears below 0.1. */
export function ruleOf(changes: Partial<Rule> = {}): Rule {
  const id = changes.id ?? 'straggler.slow_rank';
  const file = {
    id,
    finding: id,
    fire: { above: 0.2 },
    clear: { below: 0.1 },
    severity: 'warn',
    runbook: `docs/runbooks/${id}.md`,
    ...changes,
  };
  const { rules, errors } = parseRules([{ name: id, text: JSON.stringify(file) }]);
  const [rule] = rules;
  if (rule === undefined) throw new Error(JSON.stringify(errors));
  return rule;
}

/** A finding about rank 2 of job digits. */
export function findingOf(value: number | null, changes: Partial<Finding> = {}): Finding {
  return {
    name: 'straggler.slow_rank',
    key: 'job:digits/slow_rank/2',
    scope: { job: 'digits' },
    subjects: [{ type: 'rank', id: '2' }],
    cause: 'thermal',
    value,
    reason: value === null ? 'no_steps' : null,
    data_count: 100,
    coverage_ratio: 1,
    window: { from_ms: 0, to_ms: 1000 },
    started_at_ms: 500,
    gpu_seconds_lost: 12,
    usd_lost: '0.42',
    usd_per_hour: '9.00',
    title: 'Rank 2 is 30 % slower than usual (thermal)',
    evidence: { clock_ratio: 0.7 },
    ...changes,
  };
}
