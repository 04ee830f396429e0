import type { Notification, SinkContext } from '../../../src/core/define.ts';
import { signWebhook } from '../../../src/transport/webhook-signature.ts';

export const NOW_MS = Date.UTC(2026, 0, 2, 3, 4, 5);

/** An incident's notification as the desk queues it. */
export function notificationOf(
  changes: Partial<Notification> = {},
  incident: Record<string, unknown> = {},
): Notification {
  return {
    id: 'msg_1',
    type: 'leeway.incident.opened',
    subject: 'incident/inc_1',
    at_ms: NOW_MS,
    severity: 'warn',
    data: {
      incident: {
        id: 'inc_1',
        kind: 'slow_rank',
        severity: 'warn',
        status: 'open',
        title: 'Rank 2 is 30 % slower than usual (thermal)',
        subjects: [{ type: 'rank', id: '2' }],
        cause: 'thermal',
        started_at_ms: NOW_MS - 60_000,
        opened_at_ms: NOW_MS,
        resolved_at_ms: null,
        coverage_ratio: 0.98,
        gpu_seconds_lost: 12,
        usd_lost: '0.42',
        usd_per_hour: '9.00',
        rule: 'straggler.slow_rank',
        runbook_url: 'http://leeway.test/docs/runbooks/straggler.slow_rank.md',
        job: 'digits',
        ...incident,
      },
      findings: [
        {
          name: 'straggler.slow_rank',
          value: 0.3,
          threshold: 0.2,
          window: { from_ms: 0, to_ms: 1 },
          evidence: { a: 1 },
        },
      ],
      url: 'http://leeway.test/incidents/inc_1',
    },
    ...changes,
  };
}

export function contextOf(
  settings: Record<string, unknown>,
  secrets: Record<string, readonly string[]> = {},
): SinkContext<Readonly<Record<string, unknown>>> {
  return { settings, secrets, installation: 'test', now_ms: NOW_MS + 1000, sign: signWebhook };
}
