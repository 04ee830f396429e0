import { ago, localTime, money, moneyExact, utcTime } from '../format.js';
import { html, useEffect, useRef, useState } from './dom.js';
import { useNow } from './resource.js';

/**
 * A time: local, UTC on hover.
 * @param {{ at_ms: number | null | undefined, withAgo?: boolean }} props
 */
export function Time({ at_ms, withAgo = false }) {
  const now_ms = useNow(withAgo ? 1000 : 60_000);
  if (at_ms === null || at_ms === undefined) return html`<span class="quiet" title="not known">–</span>`;
  return html`<time dateTime=${new Date(at_ms).toISOString()} title=${utcTime(at_ms)}
    >${localTime(at_ms, { now_ms })}${withAgo ? html` <span class="quiet">${ago(at_ms, now_ms)}</span>` : ''}</time
  >`;
}

/**
 * How long ago, UTC on hover.
 * @param {{ at_ms: number | null | undefined }} props
 */
export function Ago({ at_ms }) {
  const now_ms = useNow();
  if (at_ms === null || at_ms === undefined) return html`<span class="quiet" title="never seen">never</span>`;
  return html`<time dateTime=${new Date(at_ms).toISOString()} title=${utcTime(at_ms)}>${ago(at_ms, now_ms)}</time>`;
}

/**
 * Money to the cent, exact on hover.
 * @param {{ nano: bigint | string | null }} props
 */
export function Money({ nano }) {
  return html`<span class="number" title=${moneyExact(nano)}>${money(nano)}</span>`;
}

/**
 * An id that a click copies.
 * @param {{ id: string | null | undefined, label?: string }} props
 */
export function CopyId({ id, label = 'id' }) {
  const [copied, setCopied] = useState(false);
  const timer = useRef(0);
  useEffect(() => () => clearTimeout(timer.current), []);
  if (id === null || id === undefined) return html`<span class="quiet">–</span>`;
  const copy = async () => {
    try {
      await navigator.clipboard.writeText(id);
      setCopied(true);
      timer.current = setTimeout(() => setCopied(false), 1500);
    } catch {
      setCopied(false); // no permission: the text can still be selected
    }
  };
  return html`<span class="id"
    ><code>${id}</code><button type="button" class="link" aria-label=${`Copy ${label} ${id}`} onClick=${copy}>${copied ? 'copied' : 'copy'}</button></span
  >`;
}

/**
 * Facts as term and value, in a row that wraps.
 * @param {{ facts: ReadonlyArray<readonly [string, unknown] | null | false> }} props
 */
export function Facts({ facts }) {
  const shown = facts.filter((fact) => fact !== null && fact !== false);
  return html`<dl class="facts">${shown.map(([term, value]) => html`<div key=${term}><dt>${term}</dt><dd>${value}</dd></div>`)}</dl>`;
}
