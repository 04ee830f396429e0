import { createHash } from 'node:crypto';
import { readdir, readFile } from 'node:fs/promises';
import { extname, join, relative, sep } from 'node:path';
import { systemCode } from '../core/errors.ts';
import { Answer, defineRoute, type Route } from './route.ts';

/** One file that the console consists of, in memory. */
export type StaticFile = {
  readonly path: string;
  readonly content: Buffer;
  readonly type: string;
  readonly etag: string;
};

const TYPES: Readonly<Record<string, string>> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.mjs': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.json': 'application/json',
  '.svg': 'image/svg+xml',
  '.png': 'image/png',
  '.ico': 'image/x-icon',
  '.webmanifest': 'application/manifest+json',
  '.txt': 'text/plain; charset=utf-8',
  '.md': 'text/plain; charset=utf-8',
};

/** The only files of packages that are served: ES modules of the console, by the name in its import map. */
const VENDOR: Readonly<Record<string, string>> = {
  '/vendor/preact.js': 'preact/dist/preact.mjs',
  '/vendor/preact-hooks.js': 'preact/hooks/dist/hooks.mjs',
  '/vendor/htm.js': 'htm/dist/htm.mjs',
  '/vendor/uplot.js': 'uplot/dist/uPlot.esm.js',
  '/vendor/uplot.css': 'uplot/dist/uPlot.min.css',
};

/** A console is some dozens of modules; a folder of more is a wrong folder. */
const FILES_MAX = 500;

/**
 * Reads the console's files once: `web/` below the installation, without hidden files, the allowed vendor modules, and
 * the runbooks that incidents link to.
 * A request can only name a path that is in this list, so no path of the file system is ever built from a request.
 */
export async function loadStatic(installation: string): Promise<readonly StaticFile[]> {
  const web = join(installation, 'web');
  const names = (await filesBelow(web)).filter((path) => TYPES[extname(path)] !== undefined).slice(0, FILES_MAX);
  const own = names.map((path) => [`/${relative(web, path).split(sep).join('/')}`, path] as const);
  const vendor = Object.entries(VENDOR).map(
    ([path, file]) => [path, join(installation, 'node_modules', file)] as const,
  );
  const runbooks = (await filesBelow(join(installation, 'docs', 'runbooks')))
    .filter((path) => extname(path) === '.md')
    .map((path) => [`/${relative(installation, path).split(sep).join('/')}`, path] as const);
  const files = await Promise.all([...own, ...vendor, ...runbooks].map(([path, file]) => load(path, file)));
  return files.filter((file) => file !== null);
}

async function filesBelow(folder: string): Promise<string[]> {
  try {
    const entries = await readdir(folder, { recursive: true, withFileTypes: true });
    const files = entries.filter((entry) => entry.isFile() && !entry.name.startsWith('.'));
    return files.map((entry) => join(entry.parentPath, entry.name)).sort();
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

async function load(path: string, file: string): Promise<StaticFile | null> {
  try {
    const content = await readFile(file);
    const etag = `"${createHash('sha256').update(content).digest('base64url').slice(0, 27)}"`;
    return { path, content, type: TYPES[extname(file)] ?? 'application/octet-stream', etag };
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return null;
    throw error;
  }
}

/**
 * The policy that pages run under: own files only, nothing inline but the import map, which is named by its hash.
 * An import map cannot be a file of its own (HTML standard, "import maps").
 */
export function contentSecurityPolicy(files: readonly StaticFile[]): string {
  const hashes = files.filter((file) => file.type.startsWith('text/html')).flatMap(inlineHashes);
  return [
    "default-src 'none'",
    `script-src ${["'self'", ...new Set(hashes)].join(' ')}`,
    "style-src 'self'",
    "img-src 'self' data:",
    "font-src 'self'",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');
}

function inlineHashes(file: StaticFile): string[] {
  const scripts = file.content.toString('utf8').matchAll(/<script\b([^>]*)>([\s\S]*?)<\/script>/gi);
  return [...scripts].flatMap(([, attributes = '', text = '']) =>
    /\bsrc\s*=/i.test(attributes) ? [] : [`'sha256-${createHash('sha256').update(text).digest('base64')}'`],
  );
}

/** One route a file, `/` for index.html; revalidated by ETag on every use, so that an update shows at once. */
export function staticRoutes(files: readonly StaticFile[]): readonly Route[] {
  const policy = contentSecurityPolicy(files);
  return files.flatMap((file) => {
    const paths = file.path === '/index.html' ? ['/', '/index.html'] : [file.path];
    return paths.map((path) =>
      defineRoute({
        method: 'GET',
        path,
        scope: null,
        documented: false,
        summary: 'A file of the console',
        answer: file.type,
        run: async (call) => fileAnswer(file, policy, call.headers['if-none-match']),
      }),
    );
  });
}

/** The answer for one file: 304 when the client holds it already. */
export function fileAnswer(file: StaticFile, policy: string, if_none_match: string | string[] | undefined): Answer {
  const headers = {
    'content-type': file.type,
    etag: file.etag,
    'cache-control': 'no-cache',
    'content-security-policy': policy,
  };
  const held = String(if_none_match ?? '')
    .split(',')
    .map((tag) => tag.trim().replace(/^W\//, ''));
  return held.includes(file.etag) ? new Answer(304, headers, null) : new Answer(200, headers, file.content);
}
