import { html, useState } from './dom.js';

const KEY = 'leeway.theme';
const CHOICES = ['system', 'light', 'dark'];

/** Called when the theme changed: charts on canvas draw their colours anew. @type {Set<() => void>} */
const listeners = new Set();

/** @param {() => void} listener @returns {() => void} */
export function watchTheme(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

/** Tells listeners when the system's theme changes. Call once. */
export function startTheme() {
  matchMedia('(prefers-color-scheme: dark)').addEventListener('change', tell);
}

function tell() {
  for (const listener of listeners) listener();
}

/**
 * A colour token as the canvas takes it, e.g. ink('accent').
 * @param {string} name
 */
export function ink(name) {
  const probe = document.createElement('i');
  probe.style.color = `var(--${name})`;
  document.body.append(probe);
  const { color } = getComputedStyle(probe);
  probe.remove();
  return color;
}

/** The choice of theme. */
export function ThemeChoice() {
  const [theme, setTheme] = useState(document.documentElement.dataset['theme'] ?? 'system');
  const choose = (/** @type {any} */ event) => {
    const next = event.target.value;
    if (next === 'system') delete document.documentElement.dataset['theme'];
    else document.documentElement.dataset['theme'] = next;
    try {
      localStorage.setItem(KEY, next);
    } catch {
      setTheme(next); // storage is blocked: the choice lasts until the reload
    }
    setTheme(next);
    tell();
  };
  return html`<label class="theme">Theme <select onChange=${choose} value=${theme}>${CHOICES.map((each) => html`<option key=${each} value=${each}>${each}</option>`)}</select></label>`;
}
