import { html, useEffect, useRef } from './dom.js';

/**
 * A modal dialog of the browser's own: focus stays inside, Escape closes it.
 * @param {{ title: string, onClose: () => void, children: unknown, closable?: boolean }} props
 */
export function Dialog({ title, onClose, children, closable = true }) {
  const ref = useRef(/** @type {HTMLDialogElement | null} */ (null));
  useEffect(() => {
    const dialog = ref.current;
    if (dialog !== null && !dialog.open) dialog.showModal();
    return () => dialog?.close();
  }, []);
  const cancel = (/** @type {Event} */ event) => {
    event.preventDefault();
    if (closable) onClose();
  };
  return html`
    <dialog ref=${ref} aria-labelledby="dialog-title" onCancel=${cancel}>
      <h2 id="dialog-title">${title}</h2>
      ${children}
      ${closable && html`<p class="actions"><button type="button" onClick=${onClose}>Close</button></p>`}
    </dialog>
  `;
}
