import { divideHalfEven } from '../core/money.ts';
import type { HourRange } from './asset-bill.ts';
import { byBytes, type HourRow } from './hour-row.ts';
import { hourOf, type ServedRecord } from './record.ts';

/** What a model's unit of work cost: its tenant rows over what it served. */
export type UnitCost = {
  readonly model: string;
  readonly unit: '1000_inferences' | '1000000_tokens';
  readonly nano_usd: bigint;
};

/** Unit costs of every `tenant.model` that served something in the window, half-even to the nano-USD. */
export function unitCostsOf(rows: readonly HourRow[], served: readonly ServedRecord[], window: HourRange): UnitCost[] {
  const costs = new Map<string, bigint>();
  for (const { category, tenant, nano_usd } of rows) {
    const model = tenant?.fields['model'];
    if (category === 'tenant' && model !== undefined) costs.set(model, (costs.get(model) ?? 0n) + nano_usd);
  }
  const work = new Map<string, { requests: bigint; tokens: bigint }>();
  for (const { model, from_us, requests, tokens } of served) {
    const hour = hourOf(from_us);
    if (hour < window.from || hour >= window.to) continue;
    const held = work.get(model);
    if (held === undefined) work.set(model, { requests, tokens });
    else {
      held.requests += requests;
      held.tokens += tokens;
    }
  }
  return [...costs]
    .sort(([a], [b]) => byBytes(a, b))
    .flatMap(([model, nano_usd]) => {
      const { requests, tokens } = work.get(model) ?? { requests: 0n, tokens: 0n };
      const units: UnitCost[] = [];
      if (requests > 0n)
        units.push({ model, unit: '1000_inferences', nano_usd: divideHalfEven(nano_usd * 1000n, requests) });
      if (tokens > 0n)
        units.push({ model, unit: '1000000_tokens', nano_usd: divideHalfEven(nano_usd * 1_000_000n, tokens) });
      return units;
    });
}
