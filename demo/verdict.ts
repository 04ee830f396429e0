import type { DemoReport } from './report.ts';
import type { SenderAccount } from './sender.ts';
import type { ServiceProcess } from './service-process.ts';

type Costs = { totals: Record<string, string> };
type Delivery = {
  items: { source: string; stored: number; duplicates_absorbed: number; declared_loss: Record<string, number> }[];
};

/** The two accounts at the end: what the producers say they emitted against what the store holds, and the bill. */
export async function finalAccounts(
  service: ServiceProcess,
  accounts: readonly SenderAccount[],
): Promise<Pick<DemoReport, 'cost' | 'delivery'>> {
  const [costs, delivery] = await Promise.all([
    service.get<Costs>('/api/v1/costs'),
    service.get<Delivery>('/api/v1/delivery?limit=500'),
  ]);
  const ours = new Set(accounts.map((account) => account.source));
  const held = delivery.items.filter((item) => ours.has(item.source));
  const lost = accounts.map(
    ({ lost: { buffer_full, refused, unsent }, rejected }) => buffer_full + refused + unsent + rejected,
  );
  const billed = costs.totals['billed_nano_usd'] ?? '0';
  const idle = costs.totals['idle_nano_usd'] ?? '0';
  const parts = ['tenant_nano_usd', 'stranded_nano_usd', 'overhead_nano_usd', 'unobserved_nano_usd'];
  const allocated = parts.reduce((sum, name) => sum + BigInt(costs.totals[name] ?? 0), 0n);
  return {
    cost: { billed_nano_usd: billed, allocated_nano_usd: String(allocated), idle_nano_usd: idle },
    delivery: {
      emitted: total(accounts.map((account) => account.emitted)),
      stored: total(held.map((item) => item.stored)),
      duplicates: total(held.map((item) => item.duplicates_absorbed)),
      declared_loss: total(lost),
    },
  };
}

type Told = { notifications: { sink: string; type: string; state: string }[] };

/** Every notification of the incidents with what became of it. */
export async function notificationsOf(
  service: ServiceProcess,
  incidents: readonly string[],
): Promise<DemoReport['notifications']> {
  const details = await Promise.all(incidents.map((id) => service.get<Told>(`/api/v1/incidents/${id}`)));
  return details.flatMap(({ notifications }) =>
    notifications.map(({ sink, type, state }) => ({
      sink,
      kind: type,
      status: state === 'delivered' || state === 'retrying' ? state : 'failed',
    })),
  );
}

function total(counts: readonly number[]): number {
  return counts.reduce((sum, count) => sum + count, 0);
}
