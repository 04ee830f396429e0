import { words } from '../format.js';
import { html } from './dom.js';

// A state is a colour and a shape and a word, so that it reads without any one of them.

const SHAPES = {
  page: 'M6 1 11.5 11H.5Z',
  warn: 'M6 .5 11.5 6 6 11.5.5 6Z',
  ok: 'M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1Z',
  info: 'M1.5 1.5h9v9h-9Z',
  none: 'M6 1a5 5 0 1 1 0 10A5 5 0 0 1 6 1Zm0 1.8a3.2 3.2 0 1 0 0 6.4 3.2 3.2 0 0 0 0-6.4Z',
};

/** @typedef {keyof typeof SHAPES} Tone */

/** The tone of every state word of the API. @type {Record<string, Tone>} */
const TONES = {
  page: 'page',
  warn: 'warn',
  hung: 'page',
  slowed: 'warn',
  running: 'ok',
  ended: 'none',
  stable: 'ok',
  drifting: 'warn',
  drift: 'warn',
  insufficient: 'none',
  no_reference: 'none',
  live: 'ok',
  silent: 'warn',
  absent: 'none',
  ok: 'ok',
  pass: 'ok',
  fail: 'page',
  failed: 'page',
  defer: 'warn',
  deferred: 'warn',
  override: 'info',
  retrying: 'warn',
  retry: 'warn',
  blocked: 'page',
  reject: 'page',
  disabled: 'page',
  delivered: 'ok',
  confirmed: 'ok',
  succeeded: 'ok',
  not_fixed: 'page',
  awaiting_approval: 'info',
  approved: 'info',
  dispatched: 'info',
  suggested: 'info',
  suppressed: 'none',
  expired: 'none',
  rejected: 'none',
  cancelled: 'none',
  firing: 'page',
  open: 'page',
  acknowledged: 'info',
  snoozed: 'none',
  resolved: 'ok',
  muted: 'none',
};

/** @param {string} word @returns {Tone} */
export function toneOf(word) {
  return TONES[word] ?? 'none';
}

/**
 * @param {{ tone: Tone }} props
 */
export function Shape({ tone }) {
  return html`<svg class="shape" data-tone=${tone} viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
    <path d=${SHAPES[tone]} fill-rule="evenodd" />
  </svg>`;
}

/**
 * A state with its shape and colour.
 * @param {{ word: string, tone?: Tone, text?: string }} props
 */
export function Mark({ word, tone, text }) {
  const chosen = tone ?? toneOf(word);
  return html`<span class="mark" data-tone=${chosen}><${Shape} tone=${chosen} />${text ?? words(word)}</span>`;
}
