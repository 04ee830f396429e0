import { formatCents, formatUsd } from '../core/money.ts';
import type { Ledger } from '../cost/ledger.ts';
import type { Category, Tenant } from '../cost/record.ts';

/** The ledger for a reader: invoice, totals, unit costs, lost time, advice and warnings; empty parts are left out. */
export function costTable(ledger: Ledger): string {
  const { totals } = ledger;
  const categories = ['tenant', 'idle', 'stranded', 'overhead', 'unobserved'] as const;
  return [
    section('Invoice (USD)', [
      ...ledger.invoice.map(({ tenant, cents }): Row => [nameOf(tenant), formatCents(cents)]),
      ['total', formatCents(ledger.invoice.reduce((sum, line) => sum + line.cents, 0n))],
    ]),
    section('Where it went (USD)', [
      ...categories.map((category): Row => [category, formatUsd(totals[category])]),
      ['billed', formatUsd(totals.billed)],
    ]),
    section(
      'Unit costs (USD)',
      ledger.unit_costs.map(({ model, unit, nano_usd }): Row => [`${model}, ${unit}`, formatUsd(nano_usd)]),
    ),
    section(
      'Time of runs',
      ledger.badput.map((row): Row => [`${row.run}, ${row.bucket}, ${row.seconds} s`, formatUsd(row.nano_usd)]),
    ),
    section(
      'Advice (USD a month)',
      ledger.recommendations.map((row): Row => [`${row.rule} ${row.subject}`, formatUsd(row.nano_usd_per_month)]),
    ),
    ...ledger.warnings.map(({ code, message }) => `${code}: ${message}\n`),
  ].join('');
}

type Row = readonly [name: string, amount: string];

function section(title: string, rows: readonly Row[]): string {
  if (rows.length === 0) return '';
  const left = rows.reduce((most, [name]) => Math.max(most, name.length), 0);
  const right = rows.reduce((most, [, amount]) => Math.max(most, amount.length), 0);
  return `${title}\n${rows.map(([name, amount]) => `  ${name.padEnd(left)}  ${amount.padStart(right)}\n`).join('')}\n`;
}

function nameOf(tenant: Tenant | Category): string {
  if (typeof tenant === 'string') return tenant;
  return Object.values(tenant.fields).join(' / ') || '(no key)';
}
