import { PAGES } from '../route.js';
import { html } from './dom.js';
import { Dialog } from './dialog.js';

/** The keys of the console. @param {{ onClose: () => void }} props */
export function HelpDialog({ onClose }) {
  const keys = [
    ...PAGES.map(({ key, name }) => [`g ${key}`, name]),
    ['/', 'Search jobs, models, incidents and pages'],
    ['↑ ↓', 'From row to row in a table'],
    ['?', 'This help'],
    ['Esc', 'Close what is open'],
  ];
  return html`
    <${Dialog} title="Keys" onClose=${onClose}>
      <dl class="keys">
        ${keys.map(
          ([key, what]) =>
            html`<div key=${key}><dt>${String(key)
              .split(' ')
              .map((each) => html`<kbd>${each}</kbd> `)}</dt><dd>${what}</dd></div>`,
        )}
      </dl>
    <//>
  `;
}
