import { enterToken, token } from '../api.js';
import { html, useState } from './dom.js';
import { Dialog } from './dialog.js';

/** Asks for a token when the service answers 401. It stays in this tab only. */
export function TokenDialog() {
  const [value, setValue] = useState('');
  const refused = (token() ?? '') !== '';
  const submit = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (value.trim() !== '') enterToken(value);
  };
  return html`
    <${Dialog} title="This service asks for a token" closable=${false} onClose=${() => {}}>
      ${refused && html`<p role="alert"><strong>The token was not accepted:</strong> it is wrong, expired or revoked.</p>`}
      <p>
        Make one with <code>leeway token create --scopes read</code>; add <code>operate</code> and <code>approve</code> to act on
        incidents and decisions. It is kept in this tab only, until the tab is closed.
      </p>
      <form onSubmit=${submit}>
        <label for="token">Token</label>
        <input id="token" type="password" autocomplete="off" spellcheck="false" placeholder="lw_…" value=${value}
          onInput=${(/** @type {any} */ event) => setValue(event.target.value)} />
        <button type="submit" class="primary">Use this token</button>
      </form>
    <//>
  `;
}
