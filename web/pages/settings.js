import { forgetToken, token } from '../api.js';
import { count, duration, valueOf, words } from '../format.js';
import { Acting } from '../parts/acting.js';
import { html } from '../parts/dom.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { Table } from '../parts/table.js';
import { CopyId, Time } from '../parts/text.js';
import { apiPath, queryText } from '../route.js';
import { More } from './incidents.js';

/** Rules, sinks, this tab's token and the audit log. @param {{ query: Record<string, string> }} props */
export function Settings({ query }) {
  return html`
    <h1>Settings</h1>
    <h2>Sinks</h2>
    <${Resource} path="/api/v1/sinks?limit=100" empty=${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p>Nobody is told of incidents. Add a sink under <code>sinks</code> in the configuration, then <code>POST /-/reload</code>.</p>` : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Sinks" columns=${SINK_COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ sink) => sink.id} sortName="sinks" />`}
    <//>
    <h2>Rules</h2>
    <${Resource} path="/api/v1/rules?limit=200" empty=${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p>No rule is loaded: no incident will open. They are files in <code>alerts/rules</code>.</p>` : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Rules" columns=${RULE_COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ rule) => rule.id} sortName="rules" />`}
    <//>
    <h2>Token of this tab</h2><${Token} />
    <h2>Audit</h2>
    <${Resource} path=${`/api/v1/audit${queryText({ limit: 50, cursor: query['cursor'] })}`} empty=${(/** @type {any} */ value) => (value.items.length === 0 ? html`<p>Nobody has changed anything yet. <code>leeway check audit</code> verifies the chain.</p>` : null)}>
      ${(/** @type {any} */ value) => html`<${Table} caption="Audit log" columns=${AUDIT_COLUMNS} rows=${value.items} keyOf=${(/** @type {any} */ entry) => String(entry.sequence)} sortName="audit" /><${More} list="settings" query=${query} cursor=${value.next_cursor} />`}
    <//>
  `;
}

/** @type {import('../parts/table.js').Column[]} */
const SINK_COLUMNS = [
  { name: 'id', title: 'Sink', cell: (sink) => sink.id },
  { name: 'kind', title: 'Kind', cell: (sink) => sink.kind, wide: true },
  { name: 'state', title: 'State', cell: (sink) => html`<${Mark} word=${sink.state} />` },
  { name: 'reason', title: 'Why', cell: (sink) => sink.reason ?? '–', wide: true, grow: true },
  { name: 'pending', title: 'Pending', cell: (sink) => count(sink.pending), number: true },
  { name: 'last', title: 'Last attempt', cell: lastAttempt, wide: true },
  {
    name: 'test',
    title: html`<span class="unseen">Test</span>`,
    cell: (sink) =>
      html`<${Acting} note=${false} actions=${[{ name: 'Send a test', path: apiPath('sinks', sink.id, '/test'), done: testText }]} />`,
  },
];

/** @param {any} sink */
function lastAttempt({ last_attempts }) {
  const last = last_attempts.toSorted((/** @type {any} */ a, /** @type {any} */ b) => b.at_ms - a.at_ms)[0];
  if (last === undefined) return 'none yet';
  return html`<${Time} at_ms=${last.at_ms} /> ${last.http_status === null ? (last.reason ?? words(last.outcome)) : `HTTP ${last.http_status}`}`;
}

/** @param {any} answer */
function testText({ outcome, http_status, reason, duration_ms }) {
  const status = http_status === null || http_status === undefined ? (reason ?? '') : `HTTP ${http_status}`;
  return [words(outcome), status, duration_ms === null || duration_ms === undefined ? '' : duration(duration_ms)]
    .filter((part) => part !== '')
    .join(', ');
}

/** @type {import('../parts/table.js').Column[]} */
const RULE_COLUMNS = [
  { name: 'id', title: 'Rule', cell: (rule) => html`<code>${rule.id}</code>`, sort: (rule) => rule.id },
  { name: 'fire', title: 'Fires', cell: (rule) => valueOf('', rule.fire) },
  { name: 'clear', title: 'Clears', cell: (rule) => valueOf('', rule.clear), wide: true },
  {
    name: 'for',
    title: 'After',
    cell: (rule) => (rule.for_ms === 0 ? 'at once' : duration(rule.for_ms)),
    number: true,
    wide: true,
  },
  {
    name: 'severity',
    title: 'Severity',
    cell: (rule) =>
      typeof rule.severity === 'string' ? html`<${Mark} word=${rule.severity} />` : valueOf('', rule.severity),
  },
  {
    name: 'runbook',
    title: 'Runbook',
    cell: (rule) => (rule.runbook === null ? '–' : html`<code>${rule.runbook}</code>`),
    wide: true,
    grow: true,
  },
  {
    name: 'muted',
    title: 'Tells',
    cell: (rule) => html`<${Mark} word=${rule.muted ? 'muted' : 'ok'} text=${rule.muted ? 'muted' : 'yes'} />`,
  },
  {
    name: 'mute',
    title: html`<span class="unseen">Mute</span>`,
    cell: (rule) =>
      html`<${Acting} note=${false} actions=${[{ name: rule.muted ? 'Unmute' : 'Mute', path: apiPath('rules', rule.id, rule.muted ? '/unmute' : '/mute'), done: '' }]} />`,
  },
];

/** @type {import('../parts/table.js').Column[]} */
const AUDIT_COLUMNS = [
  { name: 'at', title: 'When', cell: (entry) => html`<${Time} at_ms=${entry.at_ms} />` },
  { name: 'actor', title: 'Who', cell: (entry) => entry.actor },
  { name: 'action', title: 'Did', cell: (entry) => html`<code>${entry.action}</code>` },
  { name: 'subject', title: 'To', cell: (entry) => entry.subject },
  { name: 'detail', title: 'Detail', cell: (entry) => valueOf('', entry.detail), grow: true, wide: true },
  {
    name: 'hash',
    title: 'Chain',
    cell: (entry) => html`<${CopyId} id=${entry.sha256.slice(0, 12)} label="hash" />`,
    wide: true,
  },
];

function Token() {
  if ((token() ?? '') === '')
    return html`<p class="quiet">This tab uses no token: the service on this machine asks for none.</p>`;
  return html`<p>This tab uses a token; it is forgotten when the tab is closed. <button type="button" onClick=${forgetToken}>Forget it now</button></p>`;
}
