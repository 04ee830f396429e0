import { h, render } from 'preact';
import { useEffect, useErrorBoundary, useMemo, useRef, useState } from 'preact/hooks';
import htm from 'htm';

// The one door to the view library. Values in templates become text nodes, never HTML.

/** Tagged template that makes elements: html`<p class="x">${value}</p>`. */
export const html = htm.bind(h);

export { render, useEffect, useErrorBoundary, useMemo, useRef, useState };
