import { refresh } from '../api.js';
import { html, useEffect, useState } from './dom.js';

/** A skeleton is a promise of soon: after this long, words say what is waited for. */
const SKELETON_MS = 300;

/** @param {{ path: string, rows: number }} props */
export function Waiting({ path, rows }) {
  const [late, setLate] = useState(false);
  useEffect(() => {
    const timer = setTimeout(() => setLate(true), SKELETON_MS);
    return () => clearTimeout(timer);
  }, [path]);
  if (late)
    return html`<p class="quiet" role="status">Waiting for the service to answer <code>${path.split('?')[0]}</code>.</p>`;
  return html`<div class="skeleton" aria-hidden="true">${Array.from({ length: rows }, (_, row) => html`<i key=${row}></i>`)}</div>`;
}

/**
 * What went wrong and what to do about it.
 * @param {{ problem: import('../api.js').ApiProblem, path: string, stale?: boolean }} props
 */
export function Problem({ problem, path, stale = false }) {
  return html`
    <div class="problem" role="alert">
      <p>
        <strong>${stale ? 'Not current: ' : ''}${problem.title.charAt(0).toUpperCase() + problem.title.slice(1)}.</strong> ${problem.detail}
        ${problem.code !== '' && html` <code>${problem.code}</code>`}
      </p>
      <p class="quiet">${adviceFor(problem)}</p>
      <p><button type="button" onClick=${() => refresh(path, true)}>Try again</button></p>
    </div>
  `;
}

/** @param {import('../api.js').ApiProblem} problem */
function adviceFor({ status }) {
  if (status === 0) return 'The page asks again by itself every few seconds.';
  if (status === 401) return 'Enter a token with scope "read"; "leeway token create --scopes read" makes one.';
  if (status === 403) return 'The token in this tab has too little scope for this; enter another under Settings.';
  if (status === 404)
    return 'It may have been removed, or the address has a slip. The lists in the navigation show what there is.';
  if (status === 429 || status === 503)
    return 'The service cannot do this at the moment; the page asks again by itself. "GET /readyz" says what is missing.';
  if (status >= 500) return 'The log of the service says why; "GET /readyz" says what is missing.';
  return 'GET /openapi.json describes what the service accepts.';
}

/** Nothing to show, and the command that changes it. */
export function Empty({ children }) {
  return html`<div class="empty">${children}</div>`;
}
