import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { LoadedConfig } from '../config.ts';
import type { AnySink } from '../core/define.ts';
import { LeewayError, systemCode } from '../core/errors.ts';
import { parseUsd } from '../core/money.ts';
import { parseRules, type Rule } from '../incident/rules.ts';
import type { Destination } from '../pipeline/deliver.ts';
import type { RetrainPolicy } from '../retrain/policy.ts';

/** The rules of the configured folder. Throws LW-CONFIG-RULE with every error, LW-CONFIG when it cannot be read. */
export async function loadRules(rules_dir: string): Promise<readonly Rule[]> {
  let names: string[];
  try {
    names = (await readdir(rules_dir)).filter((name) => name.endsWith('.json')).sort();
  } catch (error) {
    throw new LeewayError(
      'LW-CONFIG',
      `rules_dir ${rules_dir}: cannot be read (${systemCode(error) ?? 'unknown reason'}); set rules_dir to a folder of rules`,
      {
        cause: error,
      },
    );
  }
  const files = await Promise.all(
    names.map(async (name) => ({
      name: name.replace(/\.json$/, ''),
      text: await readFile(join(rules_dir, name), 'utf8'),
    })),
  );
  const { rules, errors } = parseRules(files);
  const [first] = errors;
  if (first !== undefined)
    throw new LeewayError('LW-CONFIG-RULE', `${first.path}: got ${first.got}, expected ${first.expected}`, { errors });
  return rules;
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
