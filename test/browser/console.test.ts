import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CHROMIUM_PATH, hasChromium, openBrowser } from '../../scripts/browser.ts';
import { ADMIN_TOKEN, type ConsoleServer, type Mode, startConsole } from './console-server.ts';
import { HOSTILE } from './fleet.ts';

type Browser = Awaited<ReturnType<typeof openBrowser>>;
type Page = Awaited<ReturnType<Browser['newPage']>>;
type Violation = { readonly id: string; readonly nodes: readonly { readonly html: string }[] };

const PAGES = {
  overview: '/',
  incidents: '/incidents?status=all',
  incident: '/incidents/inc_01JDAQ7K9',
  'incident of a model': '/incidents/inc_01JDAR2M4',
  training: '/training',
  job: '/training/llama-3%2E1-pretrain',
  models: '/models',
  model: '/models/digits',
  cost: '/cost',
  retraining: '/retraining',
  decision: '/retraining/dec_1',
  'confirmed decision': '/retraining/dec_2',
  delivery: '/delivery',
  sources: '/sources',
  settings: '/settings',
} as const;

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const titleOf = hasChromium() ? 'the console' : `the console: SKIPPED, there is no browser at ${CHROMIUM_PATH}`;

describe.skipIf(!hasChromium())(titleOf, () => {
  let browser: Browser;
  let server: ConsoleServer;
  beforeAll(async () => {
    [browser, server] = await Promise.all([openBrowser(), startConsole()]);
  });
  afterAll(async () => {
    await browser.close();
    await server[Symbol.asyncDispose]();
  });

  /** A page at `path` whose errors and foreign requests are kept. */
  async function open(path: string, options: { dark?: boolean; narrow?: boolean; mode?: Mode; url?: string } = {}) {
    server.mode = options.mode ?? 'data';
    const context = await browser.newContext({
      colorScheme: options.dark === true ? 'dark' : 'light',
      viewport: { width: options.narrow === true ? 390 : 1280, height: 800 },
      reducedMotion: 'reduce',
    });
    const page = await context.newPage();
    const wrong: string[] = [];
    const answered = options.mode === 'error' || options.url !== undefined;
    page.on('pageerror', (error) => wrong.push(String(error)));
    page.on('console', (message) => {
      const refused = /status of (40[14]|503)/.test(message.text());
      if (message.type() === 'error' && !(answered && refused)) wrong.push(message.text());
    });
    page.on('request', (request) => {
      if (!request.url().startsWith(options.url ?? server.url)) wrong.push(`foreign request ${request.url()}`);
    });
    await page.goto((options.url ?? server.url) + path);
    await page.locator('h1, [role=alert], dialog[open]').first().waitFor();
    await page.locator('.skeleton').first().waitFor({ state: 'detached' });
    return { page, wrong, [Symbol.asyncDispose]: () => context.close() };
  }

  /** Accessibility violations of the page as it is. */
  async function violations(page: Page): Promise<string[]> {
    await page.evaluate(axe);
    const found: unknown = await page.evaluate("axe.run({ resultTypes: ['violations'] }).then((r) => r.violations)");
    return (found as Violation[]).map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html).join(' ')}`); // axe's own shape
  }

  describe.each(Object.entries(PAGES))('%s', (_name, path) => {
    test('shows data without an error, accessibly, and names from telemetry as text', async () => {
      await using opened = await open(path);
      expect(await violations(opened.page)).toEqual([]);
      expect(await opened.page.locator('img').count()).toBe(0);
      expect(await opened.page.title()).not.toBe('pwned');
      expect(opened.wrong).toEqual([]);
    });
  });
});
