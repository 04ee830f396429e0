// The only module that talks to the service. One store of server state: a resource is a path, its last answer and
// whoever looks at it.

const TOKEN_KEY = 'leeway.token';
/** Gentle: what the stream did not tell is at most this old. */
const POLL_MS = 10_000;
/** A resource is asked for at most this often, however many events arrive. */
const REFRESH_MS_MIN = 1500;
/** Answers kept although nobody looks: pages gone back to show at once. */
const ENTRIES_MAX = 100;
const REQUEST_MS = 20_000;

/** A refused or failed request, with what to do. */
export class ApiProblem extends Error {
  /** @param {{ status: number, code: string, title: string, detail: string }} of */
  constructor({ status, code, title, detail }) {
    super(detail === '' ? title : detail);
    this.status = status;
    this.code = code;
    this.title = title;
    this.detail = detail;
  }
}

/** @typedef {{ value: unknown, text: string, problem: ApiProblem | null, loaded_ms: number, asked_ms: number, pending: boolean, listeners: Set<() => void> }} Entry */

/** @type {Map<string, Entry>} */
const entries = new Map();
/** @type {Set<() => void>} */
const lockListeners = new Set();
let locked = false;

/** The token of this tab, or null. */
export function token() {
  try {
    return sessionStorage.getItem(TOKEN_KEY);
  } catch (error) {
    return error instanceof Error ? null : null; // storage is blocked: ask again on each load
  }
}

/**
 * Keeps the token for this tab and asks anew for everything shown.
 * @param {string} value
 */
export function enterToken(value) {
  sessionStorage.setItem(TOKEN_KEY, value.trim());
  setLocked(false);
  for (const [path, entry] of entries) if (entry.listeners.size > 0) void refresh(path, true);
}

/** Forgets the token of this tab and asks for another. */
export function forgetToken() {
  sessionStorage.removeItem(TOKEN_KEY);
  setLocked(true);
}

/** @param {boolean} value */
function setLocked(value) {
  if (locked === value) return;
  locked = value;
  for (const listener of lockListeners) listener();
}

/** Whether the service wants a token that this tab does not have. */
export function isLocked() {
  return locked;
}

/** @param {() => void} listener @returns {() => void} */
export function watchLock(listener) {
  lockListeners.add(listener);
  return () => lockListeners.delete(listener);
}

function headers() {
  const value = token();
  return value === null || value === '' ? {} : { authorization: `Bearer ${value}` };
}

/**
 * @param {string} path
 * @param {RequestInit} [init]
 * @returns {Promise<string>}
 */
async function request(path, init = {}) {
  /** @type {Response} */
  let response;
  try {
    const signal = AbortSignal.timeout(REQUEST_MS);
    response = await fetch(path, {
      ...init,
      signal,
      headers: { accept: 'application/json', 'content-type': 'application/json', ...headers() },
    });
  } catch (error) {
    const late = error instanceof DOMException && error.name === 'TimeoutError';
    throw new ApiProblem({
      status: 0,
      code: '',
      title: late ? 'The service did not answer in time' : 'The service cannot be reached',
      detail: late
        ? `No answer within ${REQUEST_MS / 1000} s.`
        : 'Check that "leeway serve" is running at this address.',
    });
  }
  const text = await response.text();
  if (response.ok) return text;
  if (response.status === 401) setLocked(true);
  throw problemOf(response.status, text);
}

/** @param {number} status @param {string} text */
function problemOf(status, text) {
  /** @type {Record<string, unknown>} */
  let body = {};
  try {
    body = JSON.parse(text) ?? {};
  } catch {
    body = { title: `HTTP ${status}` }; // not ours: a proxy in between
  }
  const of = (/** @type {string} */ name) => (typeof body[name] === 'string' ? String(body[name]) : '');
  return new ApiProblem({ status, code: of('code'), title: of('title') || `HTTP ${status}`, detail: of('detail') });
}

/**
 * One answer, outside the store.
 * @param {string} path
 */
export async function get(path) {
  return JSON.parse(await request(path));
}

/**
 * Asks the service to do something; then everything shown is asked for again.
 * @param {string} path
 * @param {Record<string, unknown>} body
 */
export async function post(path, body) {
  const text = await request(path, {
    method: 'POST',
    body: JSON.stringify(body),
  });
  for (const [shown, entry] of entries) if (entry.listeners.size > 0) void refresh(shown, true);
  return text === '' ? null : JSON.parse(text);
}

/**
 * What is known of a path, made if it was not.
 * @param {string} path
 * @returns {Entry}
 */
export function entryOf(path) {
  const known = entries.get(path);
  if (known !== undefined) return known;
  for (const [old, entry] of entries) {
    if (entries.size < ENTRIES_MAX) break;
    if (entry.listeners.size === 0) entries.delete(old);
  }
  const fresh = {
    value: undefined,
    text: '',
    problem: null,
    loaded_ms: 0,
    asked_ms: 0,
    pending: false,
    listeners: new Set(),
  };
  entries.set(path, fresh);
  return fresh;
}

/**
 * Asks for a path again; listeners hear only of an answer that differs, so nothing flickers.
 * @param {string} path
 * @param {boolean} [now] even if it was asked for a moment ago
 */
export async function refresh(path, now = false) {
  const entry = entryOf(path);
  if (entry.pending || (!now && Date.now() - entry.asked_ms < REFRESH_MS_MIN)) return;
  entry.pending = true;
  entry.asked_ms = Date.now();
  let changed = false;
  try {
    const text = await request(path);
    changed = text !== entry.text || entry.problem !== null;
    if (text !== entry.text) Object.assign(entry, { text, value: JSON.parse(text) });
    entry.problem = null;
    entry.loaded_ms = Date.now();
  } catch (error) {
    const problem = error instanceof ApiProblem ? error : unreadable(error);
    changed = entry.problem?.message !== problem.message;
    entry.problem = problem;
  } finally {
    entry.pending = false;
  }
  if (changed) for (const listener of entry.listeners) listener();
}

/** @param {unknown} error */
function unreadable(error) {
  return new ApiProblem({ status: 0, code: '', title: 'The answer cannot be read', detail: String(error) });
}

/** What each event of the stream may have changed, by the beginning of the path. */
const CHANGED = {
  incident: ['/api/v1/overview', '/api/v1/incidents', '/api/v1/jobs', '/api/v1/models'],
  finding: ['/api/v1/overview', '/api/v1/jobs', '/api/v1/models'],
  decision: ['/api/v1/overview', '/api/v1/decisions', '/api/v1/retrain-runs', '/api/v1/incidents'],
  delivery: ['/api/v1/overview', '/api/v1/delivery', '/api/v1/sources', '/api/v1/incidents', '/api/v1/sinks'],
};

/**
 * Asks again for what an event may have changed and somebody looks at.
 * @param {string} event
 */
export function hear(event) {
  const prefixes = CHANGED[/** @type {keyof typeof CHANGED} */ (event)] ?? [];
  for (const [path, entry] of entries)
    if (entry.listeners.size > 0 && prefixes.some((prefix) => path.startsWith(prefix))) void refresh(path);
}

/** Asks for everything shown every POLL_MS while the page is visible. */
export function startPolling() {
  setInterval(() => {
    if (document.hidden || locked) return;
    for (const [path, entry] of entries)
      if (entry.listeners.size > 0 && Date.now() - entry.asked_ms >= POLL_MS) void refresh(path);
  }, 1000);
}

/**
 * Reads the stream of events for as long as the page lives. `fetch` instead of EventSource: it can carry the token.
 * @param {(live: boolean) => void} onState
 */
export async function followStream(onState) {
  for (;;) {
    if (locked) {
      await pause(1000);
      continue;
    }
    try {
      const response = await fetch('/api/v1/stream', { headers: { accept: 'text/event-stream', ...headers() } });
      if (!response.ok || response.body === null) throw new Error(`HTTP ${response.status}`);
      onState(true);
      await readEvents(response.body, hear);
    } catch (error) {
      onState(false);
      if (error instanceof TypeError && document.hidden) await pause(5000);
    }
    onState(false);
    await pause(3000);
  }
}

/** @param {number} ms @returns {Promise<void>} */
function pause(ms) {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** @param {ReadableStream<Uint8Array>} body @param {(event: string) => void} onEvent */
async function readEvents(body, onEvent) {
  const parser = eventParser(onEvent);
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    parser(value);
  }
}

/**
 * Takes pieces of a text/event-stream and calls back with the name of each whole event (WHATWG HTML, "server-sent
 * events"; only names are needed, since the API holds the state).
 * @param {(event: string) => void} onEvent
 * @returns {(text: string) => void}
 */
export function eventParser(onEvent) {
  let held = '';
  let name = '';
  let data = false;
  return (text) => {
    const lines = (held + text).split('\n');
    held = lines.pop() ?? '';
    for (const line of lines.map((each) => each.replace(/\r$/, ''))) {
      if (line === '') {
        if (data) onEvent(name === '' ? 'message' : name);
        [name, data] = ['', false];
      } else if (line.startsWith('event:')) name = line.slice(6).trim();
      else if (line.startsWith('data:')) data = true;
    }
  };
}
