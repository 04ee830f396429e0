import Type from 'typebox';
import { defineSink } from '../../src/core/define.ts';
import { classifyHttp } from '../../src/formats/http-outcome.ts';
import { clipped, incidentText } from '../../src/formats/incident-text.ts';

const TOLD = new Set([
  'leeway.incident.opened',
  'leeway.incident.escalated',
  'leeway.incident.resolved',
  'leeway.watchdog',
]);
/** How long Alertmanager believes an alert that is not repeated; `resend_ms` must be well below it. */
const HOUR_MS = 3_600_000;
const VALUE_MAX = 1024;

/** Prometheus Alertmanager, API v2: an alert per incident, resolved by its `endsAt`. */
export const alertmanager = defineSink({
  name: 'alertmanager',
  about: 'An alert in Prometheus Alertmanager, grouped and routed there.',
  config: Type.Object(
    {
      url: Type.String({ pattern: '^https?://[^\\s]+$', maxLength: 2048 }),
      /** Open incidents are sent again this often, since Alertmanager forgets what is not repeated. */
      resend_ms: Type.Integer({ minimum: 1000, maximum: HOUR_MS, default: 60_000 }),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => TOLD.has(type),
  resend_ms: ({ resend_ms }) => resend_ms,
  render: (notification, { settings, installation, now_ms }) => {
    const said = incidentText(notification);
    const resolved = said.state === 'resolved';
    const labels = {
      alertname: said.rule,
      severity: notification.type === 'leeway.watchdog' ? 'none' : said.severity === 'page' ? 'critical' : 'warning',
      kind: said.kind,
      incident: said.id,
      installation,
      ...(said.job === null ? {} : { job: said.job }),
      ...(said.model === null ? {} : { model: said.model }),
    };
    const facts = Object.fromEntries(
      said.facts.map(([name, value]) => [name.replaceAll(' ', '_'), clipped(value, VALUE_MAX)]),
    );
    const annotations = {
      summary: clipped(said.title, VALUE_MAX),
      ...facts,
      ...(said.runbook_url === null ? {} : { runbook_url: said.runbook_url }),
    };
    const ends_ms = resolved ? (said.resolved_at_ms ?? notification.at_ms) : now_ms + HOUR_MS;
    const starts_ms = said.opened_at_ms ?? notification.at_ms;
    const alert = (severity: string, end_ms: number) => ({
      labels: { ...labels, severity },
      annotations,
      startsAt: new Date(starts_ms).toISOString(),
      endsAt: new Date(Math.max(starts_ms, end_ms)).toISOString(),
      ...(said.url === null ? {} : { generatorURL: said.url }),
    });
    // labels name an alert there: the one that warned ends when it becomes, or ends as, a page
    const warned = labels.severity === 'critical' && (resolved || said.state === 'escalated');
    const alerts = [alert(labels.severity, ends_ms), ...(warned ? [alert('warning', notification.at_ms)] : [])];
    return {
      url: `${settings.url.replace(/\/+$/, '')}/api/v2/alerts`,
      headers: { 'content-type': 'application/json', 'user-agent': 'leeway' },
      body: JSON.stringify(alerts),
    };
  },
  classify: classifyHttp,
});
