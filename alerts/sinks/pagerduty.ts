import Type from 'typebox';
import { defineSink, type Notification } from '../../src/core/define.ts';
import { LeewayError } from '../../src/core/errors.ts';
import { classifyHttp } from '../../src/formats/http-outcome.ts';
import { clipped, incidentText } from '../../src/formats/incident-text.ts';

/** Limits of Events API v2 (developer.pagerduty.com): summary 1024, dedup_key 255, whole event 512 KB. */
const SUMMARY_MAX = 1024;
const DEDUP_MAX = 255;
const EVENT_BYTES_MAX = 512_000;

const TOLD = new Set([
  'leeway.incident.opened',
  'leeway.incident.escalated',
  'leeway.incident.acknowledged',
  'leeway.incident.resolved',
  'leeway.watchdog',
]);

/** PagerDuty, Events API v2: one alert an incident of ours, triggered, acknowledged and resolved by its dedup_key. */
export const pagerduty = defineSink({
  name: 'pagerduty',
  about: 'An alert in PagerDuty through Events API v2.',
  config: Type.Object(
    {
      /** A file with the integration's routing key (32 characters). */
      routing_key_file: Type.String({ minLength: 1 }),
      base_url: Type.String({
        pattern: '^https?://[^\\s]+$',
        maxLength: 2048,
        default: 'https://events.pagerduty.com',
      }),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => TOLD.has(type),
  render: (notification, { settings, secrets, installation }) => {
    const routing_key = secrets['routing_key_file']?.[0];
    if (routing_key === undefined || !/^[A-Za-z0-9]{32}$/.test(routing_key))
      throw new LeewayError(
        'LW-CONFIG',
        'routing_key_file holds no routing key of 32 letters and digits; copy it anew',
      );
    const event = { routing_key, ...eventOf(notification, installation) };
    const whole = JSON.stringify(event);
    const fits = new TextEncoder().encode(whole).length <= EVENT_BYTES_MAX;
    const body = fits ? whole : JSON.stringify({ ...event, payload: { ...event.payload, custom_details: OMITTED } });
    const url = `${settings.base_url.replace(/\/+$/, '')}/v2/enqueue`;
    return { url, headers: { 'content-type': 'application/json', 'user-agent': 'leeway' }, body };
  },
  classify: classifyHttp,
});

const OMITTED = { note: 'the evidence is too large for PagerDuty; follow the link' };
const ACTION = {
  opened: 'trigger',
  escalated: 'trigger',
  acknowledged: 'acknowledge',
  resolved: 'resolve',
  other: 'trigger',
} as const;

function eventOf(notification: Notification, installation: string) {
  const said = incidentText(notification);
  const test = notification.type === 'leeway.watchdog';
  const links = [
    ...(said.url === null ? [] : [{ href: said.url, text: 'Open in Leeway' }]),
    ...(said.runbook_url === null ? [] : [{ href: said.runbook_url, text: 'Runbook' }]),
  ];
  return {
    event_action: ACTION[said.state],
    dedup_key: clipped(`leeway:${installation}:${said.id}`, DEDUP_MAX),
    payload: {
      summary: clipped(said.title, SUMMARY_MAX),
      source: clipped(said.subjects[0] ?? `leeway ${installation}`, SUMMARY_MAX),
      severity: test ? 'info' : said.severity === 'page' ? 'critical' : 'warning',
      timestamp: new Date(notification.at_ms).toISOString(),
      component: said.job ?? said.model ?? undefined,
      group: said.rule,
      class: said.kind,
      custom_details: { ...Object.fromEntries(said.facts), findings: notification.data['findings'] },
    },
    links,
    client: 'Leeway',
    ...(said.url === null ? {} : { client_url: said.url }),
  };
}
