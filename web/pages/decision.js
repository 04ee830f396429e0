import { duration, percent, valueOf, words } from '../format.js';
import { Acting } from '../parts/acting.js';
import { html } from '../parts/dom.js';
import { Evidence } from '../parts/evidence.js';
import { Gates } from '../parts/gates.js';
import { History } from '../parts/history.js';
import { Mark } from '../parts/marks.js';
import { Resource } from '../parts/resource.js';
import { CopyId, Facts, Time } from '../parts/text.js';
import { apiPath, hrefOf } from '../route.js';

/** States that a person can still stop. */
const CANCELLABLE = ['suggested', 'awaiting_approval', 'approved', 'deferred', 'dispatched'];

/** One retraining decision: why it did or did not run, and what came of it. @param {{ id: string }} props */
export function Decision({ id }) {
  return html`<p class="quiet"><a href="/retraining">Retraining</a></p>
    <${Resource} path=${apiPath('decisions', id)} rows=${8} heading=${id}>${(/** @type {any} */ decision) => html`<${Shown} decision=${decision} />`}<//>`;
}

/** @param {{ decision: any }} props */
function Shown({ decision }) {
  return html`
    <h1>Retraining of ${decision.model} ${decision.version ?? ''}</h1>
    <p class="sentence"><${Mark} word=${decision.state} /> ${decision.reason ?? ''}</p>
    <${Facts} facts=${[
      ['Model', html`<a href=${hrefOf('models', decision.model)}>${decision.model}</a>`],
      ['Policy', decision.policy],
      ['Made', html`<${Time} at_ms=${decision.created_at_ms} withAgo />`],
      ['Last change', html`<${Time} at_ms=${decision.updated_at_ms} />`],
      decision.expires_at_ms !== null && ['Expires', html`<${Time} at_ms=${decision.expires_at_ms} withAgo />`],
      decision.incident_id !== null && [
        'Incident',
        html`<a href=${hrefOf('incidents', decision.incident_id)}>${decision.incident_id}</a>`,
      ],
      decision.dispatch_key !== null && [
        'Dispatch key',
        html`<${CopyId} id=${decision.dispatch_key} label="dispatch key" />`,
      ],
      ['Id', html`<${CopyId} id=${decision.id} label="decision id" />`],
    ]} />
    <${Actions} decision=${decision} />
    <h2>Gates</h2><${Gates} gates=${decision.gates} />
    <h2>Run</h2><${Run} run=${decision.run} />
    <h2>Did it help?</h2><${Confirmation} confirmation=${decision.confirmation} />
    <h2>History</h2><${History} events=${decision.events} />
  `;
}

/** @param {{ decision: any }} props */
function Actions({ decision }) {
  const of = (/** @type {string} */ verb) => apiPath('decisions', decision.id, `/${verb}`);
  const stoppable = CANCELLABLE.includes(decision.state);
  if (!decision.can_approve && !stoppable) return null;
  return html`<${Acting} actions=${[
    { name: 'Approve', path: of('approve'), disabled: !decision.can_approve, primary: true, done: 'Approved.' },
    { name: 'Reject', path: of('reject'), disabled: !decision.can_approve, done: 'Rejected.' },
    { name: 'Cancel', path: of('cancel'), disabled: !stoppable, done: 'Cancelled.' },
  ].filter(({ disabled }) => !disabled)} />`;
}

/** @param {{ run: any }} props */
function Run({ run }) {
  if (run === null) return html`<p class="quiet">No run was started for it.</p>`;
  const link = run.url !== null && /^https?:\/\//.test(run.url);
  return html`
    <${Facts} facts=${[
      ['State', html`<${Mark} word=${run.state} />`],
      ['Dispatched', html`<${Time} at_ms=${run.dispatched_at_ms} />`],
      ['Last news', html`<${Time} at_ms=${run.updated_at_ms} />`],
      ['Took', duration(run.updated_at_ms - run.dispatched_at_ms)],
      ['New version', run.version ?? '–'],
      run.reason !== null && ['Reason', run.reason],
      run.url !== null && [
        'Pipeline',
        link ? html`<a href=${run.url} target="_blank" rel="noreferrer">${run.url}</a>` : run.url,
      ],
      ['Id', html`<${CopyId} id=${run.id} label="run id" />`],
    ]} />
    ${run.metrics !== null && html`<${Evidence} evidence=${run.metrics} />`}
  `;
}

/** @param {{ confirmation: any }} props */
function Confirmation({ confirmation }) {
  if (confirmation === null)
    return html`<p class="quiet">Not known yet: it is judged on the first windows of the new version.</p>`;
  const { accuracy_before, accuracy_drifted, accuracy_after, windows, result } = confirmation;
  return html`
    <${Facts} facts=${[
      ['Result', html`<${Mark} word=${result} />`],
      ['Accuracy before', percent(accuracy_before, 1)],
      ['While it drifted', percent(accuracy_drifted, 1)],
      ['After retraining', percent(accuracy_after, 1)],
    ]} />
    ${windows.length > 0 && html`<${Evidence} evidence=${{ windows: windows.map((/** @type {any} */ window) => (typeof window === 'object' ? window : { window: valueOf('', window) })) }} />`}
    <p class="quiet">${words(result)} over ${windows.length === 0 ? 'the first windows' : `${windows.length} windows`} of the new version.</p>
  `;
}
