import Type from 'typebox';
import { defineSink, type SinkResponse } from '../../src/core/define.ts';
import { LeewayError } from '../../src/core/errors.ts';
import type { Outcome } from '../../src/core/outcome.ts';
import { classifyHttp } from '../../src/formats/http-outcome.ts';
import { clipped, type IncidentText, incidentText } from '../../src/formats/incident-text.ts';

/** Slack's limits (docs.slack.dev, block kit reference): text of a section 3000, of its fields 2000 and ten of them. */
const SECTION_MAX = 3000;
const FIELD_MAX = 2000;
const FIELDS_MAX = 10;
const FALLBACK_MAX = 3000;
const URL_MAX = 3000;
/** Answers of Slack that mean the hook is gone for good. */
const GONE = new Set([
  'no_service',
  'no_service_id',
  'no_team',
  'no_active_hooks',
  'channel_is_archived',
  'team_disabled',
]);

const MARK = { opened: '🔴', escalated: '🔺', resolved: '✅', acknowledged: '👀', other: 'ℹ️' } as const;

/** A Slack channel through an incoming webhook. Names from telemetry are shown as text: no links, no mentions. */
export const slack = defineSink({
  name: 'slack',
  about: 'A message in a Slack channel through an incoming webhook.',
  config: Type.Object(
    {
      /** A file with the webhook's address: it is a secret. */
      url_file: Type.String({ minLength: 1 }),
    },
    { additionalProperties: false },
  ),
  accepts: (type) => type !== 'leeway.retrain.requested',
  render: (notification, { secrets }) => {
    const url = secrets['url_file']?.[0];
    if (url === undefined || !/^https?:\/\/[^\s]+$/.test(url))
      throw new LeewayError(
        'LW-CONFIG',
        'url_file of the slack sink holds no address; write the incoming webhook into it',
      );
    const said = incidentText(notification);
    const body = JSON.stringify({ text: fallback(said), blocks: blocks(said) });
    return { url, headers: { 'content-type': 'application/json; charset=utf-8', 'user-agent': 'leeway' }, body };
  },
  classify: (response, now_ms) => classify(response, now_ms),
});

function headline({ state, severity, title }: IncidentText): string {
  const word =
    state === 'other' ? '' : `${state === 'resolved' ? 'Resolved' : severity === 'page' ? 'PAGE' : 'Warning'}: `;
  return `${MARK[state]} ${word}${title}`;
}

function fallback(said: IncidentText): string {
  return clippedEscape(headline(said), FALLBACK_MAX);
}

function blocks(said: IncidentText): object[] {
  const link = said.url === null || said.url.length > URL_MAX ? null : `<${escaped(said.url)}|Open in Leeway>`;
  const guide = said.runbook_url === null ? null : `<${escaped(said.runbook_url)}|Runbook>`;
  const links = [link, guide].filter((item) => item !== null).join(' · ');
  const fields = said.facts.slice(0, FIELDS_MAX).map(([label, value]) => ({
    type: 'mrkdwn',
    text: `*${escaped(label)}*\n${clippedEscape(value, FIELD_MAX - 100)}`,
  }));
  return [
    { type: 'section', text: { type: 'mrkdwn', text: `*${clippedEscape(headline(said), SECTION_MAX - 10)}*` } },
    ...(fields.length === 0 ? [] : [{ type: 'section', fields }]),
    ...(links === '' ? [] : [{ type: 'context', elements: [{ type: 'mrkdwn', text: clipped(links, SECTION_MAX) }] }]),
  ];
}

/** Slack's three control characters (docs.slack.dev, "Escaping text"); `*_~` and backticks lose their meaning too. */
function escaped(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;');
}

/** Escaped and within `letters`: escapes lengthen the text, so the plain text is cut until its escape fits. */
function clippedEscape(text: string, letters: number): string {
  const plain = text.replaceAll(/[*_~`\n\r]/g, (mark) => (mark === '\n' || mark === '\r' ? ' ' : `${mark}\u200b`));
  let kept = clipped(plain, letters);
  while (escaped(kept).length > letters)
    kept = clipped(plain, Math.max(2, kept.length - (escaped(kept).length - letters)));
  return escaped(kept);
}

function classify(response: SinkResponse, now_ms: number): Outcome {
  const outcome = classifyHttp(response, now_ms);
  if (outcome.kind === 'ok' && response.body.trim() !== 'ok' && response.body_cut !== true)
    return { kind: 'reject', code: 'LW-DELIVERY', reason: 'Slack answered 200 without "ok"' };
  if (outcome.kind === 'reject' && GONE.has(response.body.trim()))
    return {
      kind: 'reject',
      code: 'LW-SINK-GONE',
      reason: `Slack answered ${response.status} ${response.body.trim()}`,
    };
  return outcome;
}
