import { entryOf, refresh } from '../api.js';
import { useEffect, useState } from './dom.js';
import { Empty, Problem, Waiting } from './states.js';
import { html } from './dom.js';

/**
 * A path of the API, kept current. `path` null = nothing is asked for.
 * @param {string | null} path
 * @returns {{ value: any, problem: import('../api.js').ApiProblem | null, loaded_ms: number }}
 */
export function useResource(path) {
  const [, draw] = useState(0);
  useEffect(() => {
    if (path === null) return undefined;
    const entry = entryOf(path);
    const listener = () => draw((times) => times + 1);
    entry.listeners.add(listener);
    void refresh(path);
    return () => entry.listeners.delete(listener);
  }, [path]);
  if (path === null) return { value: undefined, problem: null, loaded_ms: 0 };
  const { value, problem, loaded_ms } = entryOf(path);
  return { value, problem, loaded_ms };
}

/**
 * Draws a path's answer with `children(value)`; before it a skeleton, on failure what to do, and both the old answer
 * and the problem when a later request failed.
 * @param {{ path: string, children: (value: any) => unknown, empty?: (value: any) => unknown, rows?: number, heading?: string }} props `heading`: the page's, until the answer has a better one
 */
export function Resource({ path, children, empty, rows = 4, heading }) {
  const { value, problem } = useResource(path);
  if (value === undefined) {
    const state =
      problem === null
        ? html`<${Waiting} path=${path} rows=${rows} />`
        : html`<${Problem} problem=${problem} path=${path} />`;
    return html`${heading !== undefined && html`<h1>${heading}</h1>`}${state}`;
  }
  const nothing = empty?.(value) ?? null;
  return html`
    ${problem !== null && html`<${Problem} problem=${problem} path=${path} stale />`}
    ${nothing === null ? children(value) : html`<${Empty}>${nothing}<//>`}
  `;
}

/**
 * The time now, every `every_ms`, for "3.2 s ago".
 * @param {number} [every_ms]
 */
export function useNow(every_ms = 1000) {
  const [now_ms, setNow] = useState(Date.now());
  useEffect(() => {
    const timer = setInterval(() => setNow(Date.now()), every_ms);
    return () => clearInterval(timer);
  }, [every_ms]);
  return now_ms;
}
