import { readdir, readFile } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { invalidConfig, type LoadedConfig } from '../config.ts';
import type { AnySink } from '../core/define.ts';
import { type ErrorDetail, LeewayError, systemCode } from '../core/errors.ts';
import { parseUsd } from '../core/money.ts';
import { parseRules, type Rule, type RuleFile } from '../incident/rules.ts';
import type { Destination } from '../pipeline/deliver.ts';
import type { RetrainPolicy } from '../retrain/policy.ts';

/** The rules of the configured folder. Throws LW-CONFIG-RULE with every error, LW-CONFIG when they cannot be read. */
export async function loadRules(rules_dir: string): Promise<readonly Rule[]> {
  const { rules, errors } = parseRules(await readRules(rules_dir));
  const [first] = errors;
  if (first !== undefined)
    throw new LeewayError('LW-CONFIG-RULE', `${first.path}: got ${first.got}, expected ${first.expected}`, { errors });
  return rules;
}

/** The rule files of a folder as they are. Throws LW-CONFIG when the folder or, naming each, a file cannot be read. */
export async function readRules(rules_dir: string): Promise<readonly RuleFile[]> {
  let names: string[];
  try {
    names = (await readdir(rules_dir)).filter((name) => name.endsWith('.json')).sort();
  } catch (error) {
    throw new LeewayError(
      'LW-CONFIG',
      `rules_dir ${rules_dir}: cannot be read (${systemCode(error) ?? 'unknown reason'}); set rules_dir to a folder of rules`,
      { cause: error },
    );
  }
  const files: RuleFile[] = [];
  const errors: ErrorDetail[] = [];
  for (const name of names) {
    const path = join(rules_dir, name);
    try {
      files.push({ name: basename(name, '.json'), text: await readFile(path, 'utf8') });
    } catch (error) {
      const got = `what cannot be read (${systemCode(error) ?? 'unknown reason'})`;
      errors.push({ path, got, expected: 'a rule file; make it readable or take it out of the folder' });
    }
  }
  if (errors.length > 0) throw invalidConfig(errors);
  return files;
}

/** The id of a policy's retraining target among the destinations. */
export function targetId(policy: string): string {
  return `target:${policy}`;
}

/** Everything that can be told: the configured sinks, and each policy's retraining target by name. */
export function destinationsOf({ config, extensions }: LoadedConfig): Destination[] {
  const sinks = config.sinks.map(({ id, kind, types, min_severity, ...settings }) => ({
    id,
    definition: definitionOf(extensions.sinks, kind),
    settings,
    types,
    min_severity,
  }));
  const targets = config.retraining.policies.flatMap((policy): Destination[] => {
    if (policy.target === undefined) return [];
    const { kind, ...settings } = policy.target;
    const definition = definitionOf(extensions.targets, kind);
    return [{ id: targetId(policy.id), definition, settings, types: [], min_severity: 'warn' }];
  });
  return [...sinks, ...targets];
}

function definitionOf(definitions: readonly AnySink[], kind: string): AnySink {
  const found = definitions.find((definition) => definition.name === kind);
  if (found === undefined) throw new LeewayError('LW-CONFIG', `no extension of kind "${kind}"`);
  return found;
}

/** The configured policies with their money in nano-USD. A policy without a target only ever suggests. */
export function policiesOf({ config }: LoadedConfig): RetrainPolicy[] {
  return config.retraining.policies.map((policy) => {
    const { budget_usd_per_month, estimated_run_usd, approval_above_usd, target, mode, ...rest } = policy;
    return {
      ...rest,
      mode: target === undefined && mode !== 'off' ? 'suggest' : mode,
      budget_per_month_nano_usd: nano(budget_usd_per_month),
      estimated_run_nano_usd: nano(estimated_run_usd),
      approval_above_nano_usd: nano(approval_above_usd),
    };
  });
}

function nano(usd: string): bigint {
  const parsed = parseUsd(usd);
  if (parsed === null) throw new LeewayError('LW-CONFIG', `"${usd}" is no amount of USD`);
  return parsed;
}
