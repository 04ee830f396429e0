import { ApiProblem, post } from '../api.js';
import { html, useState } from './dom.js';

/**
 * Buttons that change something, with one note for all of them. Each action: the path to post to and its extra body.
 * @param {{ actions: ReadonlyArray<{ name: string, path: string, body?: () => Record<string, unknown>, noteIn?: string, disabled?: boolean, primary?: boolean, done: string }>, note?: boolean, children?: unknown }} props
 */
export function Acting({ actions, note = true, children }) {
  const [text, setText] = useState('');
  const [said, setSaid] = useState('');
  const [busy, setBusy] = useState(false);
  const run = async (/** @type {any} */ action) => {
    setBusy(true);
    try {
      const noted = text.trim() === '' || !note ? {} : { [action.noteIn ?? 'note']: text.trim() };
      const answer = await post(action.path, { ...noted, ...action.body?.() });
      setSaid(typeof action.done === 'function' ? action.done(answer) : action.done);
      setText('');
    } catch (error) {
      setSaid(error instanceof ApiProblem ? refusal(error) : String(error));
    } finally {
      setBusy(false);
    }
  };
  return html`
    <div class="actions">
      ${note && html`<input aria-label="Note" placeholder="Note, kept in the audit log" maxlength="4096" value=${text} onInput=${(/** @type {any} */ event) => setText(event.target.value)} />`}
      ${children}
      ${actions.map((action) => html`<button key=${action.name} type="button" class=${action.primary === true ? 'primary' : null} disabled=${busy || action.disabled === true} onClick=${() => run(action)}>${action.name}</button>`)}
      <span role="status" class="quiet">${said}</span>
    </div>
  `;
}

/** @param {ApiProblem} problem */
function refusal({ status, title, detail }) {
  const next = status === 403 ? ' A token with scope "operate" (decisions: "approve") may.' : '';
  return `Not done: ${detail === '' ? title : detail}.${next}`.replace('..', '.');
}
