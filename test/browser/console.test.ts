import { readFile } from 'node:fs/promises';
import { createRequire } from 'node:module';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { CHROMIUM_PATH, hasChromium, openBrowser } from '../../scripts/browser.ts';
import { ADMIN_TOKEN, type ConsoleServer, type Mode, startConsole } from './console-server.ts';

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
  'delivery of a source': '/delivery?source=n02',
  sources: '/sources',
  settings: '/settings',
} as const;

const LISTS = Object.values(PAGES).filter((path) => path.split('/').length === 2);

const axe = await readFile(createRequire(import.meta.url).resolve('axe-core/axe.min.js'), 'utf8');
const titleOf = hasChromium() ? 'the console' : `the console: SKIPPED, there is no browser at ${CHROMIUM_PATH}`;

describe.skipIf(!hasChromium())(titleOf, () => {
  let browser: Browser;
  let servers: Readonly<Record<Mode, ConsoleServer>>;
  beforeAll(async () => {
    browser = await openBrowser();
    servers = { data: await startConsole(), empty: await startConsole('empty'), error: await startConsole('error') };
  });
  afterAll(async () => {
    await browser.close();
    for (const server of Object.values(servers)) await server[Symbol.asyncDispose]();
  });

  /** A page at `path` whose errors and foreign requests are kept. */
  async function open(path: string, options: { mode?: Mode; url?: string } = {}) {
    const url = options.url ?? servers[options.mode ?? 'data'].url;
    const context = await browser.newContext({
      viewport: { width: 1280, height: 800 },
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
      if (!request.url().startsWith(url)) wrong.push(`foreign request ${request.url()}`);
    });
    await page.goto(url + path);
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

  describe.concurrent.each(Object.entries(PAGES))('%s', (_name, path) => {
    test('shows data without an error, accessibly, and names from telemetry as text, light and wide, dark and narrow', async () => {
      await using opened = await open(path);
      const { page } = opened;
      expect(await violations(page)).toEqual([]);
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.setViewportSize({ width: 390, height: 800 });
      expect(await violations(page)).toEqual([]);
      const overflow: unknown = await page.evaluate('document.documentElement.scrollWidth - innerWidth');
      expect(overflow).toBeLessThanOrEqual(0);
      expect(await page.locator('img').count()).toBe(0);
      expect(await page.title()).not.toBe('pwned');
      expect(opened.wrong).toEqual([]);
    });

    test('says what to do when the service fails', async () => {
      await using opened = await open(path, { mode: 'error' });
      await opened.page.locator('.problem').first().waitFor();
      expect(await opened.page.locator('.problem').first().textContent()).toMatch(/LW-STORE-GONE/);
      expect(await opened.page.getByRole('button', { name: 'Try again' }).count()).toBeGreaterThan(0);
      expect(await opened.page.locator('h1').count()).toBe(1);
      expect(opened.wrong).toEqual([]);
    });
  });

  test.each(['/', '/incidents/inc_01JDAQ7K9'])('%s is accessible when the service fails', async (path) => {
    await using opened = await open(path, { mode: 'error' });
    await opened.page.locator('.problem').first().waitFor();
    expect(await violations(opened.page)).toEqual([]);
  });

  test.concurrent.each(LISTS)('%s without data says the next command', async (path) => {
    await using opened = await open(path, { mode: 'empty' });
    const text = await opened.page.locator('.empty').first().textContent();
    expect(text?.length).toBeGreaterThan(20);
    expect(await opened.page.locator('.empty code, .empty a').count()).toBeGreaterThan(0);
    expect(opened.wrong).toEqual([]);
  });

  test('shows something useful within a second, from one request', async () => {
    await using opened = await open('/sources');
    const asked: string[] = [];
    opened.page.on('request', (request) => asked.push(new URL(request.url()).pathname));
    await opened.page.goto(servers.data.url);
    await opened.page.getByText('2 open').waitFor();
    const painted: unknown = await opened.page.evaluate('performance.now()');
    expect(painted).toBeLessThan(1000);
    expect(asked.filter((path) => path.startsWith('/api/') && path !== '/api/v1/stream')).toEqual(['/api/v1/overview']);
  });

  test('the keys go to pages, open search and help, and arrows move in tables', async () => {
    await using opened = await open('/');
    const { page } = opened;
    await page.keyboard.press('g');
    await page.keyboard.press('i');
    await page.getByRole('heading', { name: 'Incidents' }).waitFor();
    expect(new URL(page.url()).pathname).toBe('/incidents');
    await page.getByRole('link', { name: 'Rank 5 is' }).focus();
    await page.keyboard.press('ArrowDown');
    expect(await page.locator(':focus').textContent()).toBe('digits v3: 3 of 8 features drift');
    await page.keyboard.press('?');
    await page.getByRole('dialog').getByText('Search jobs, models').waitFor();
    await page.keyboard.press('Escape');
    await page.keyboard.press('/');
    await page.getByRole('combobox', { name: 'Search' }).fill('llama');
    await page.getByRole('option', { name: 'llama' }).first().waitFor();
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'llama-3.1-pretrain' }).waitFor();
    expect(new URL(page.url()).pathname).toBe('/training/llama-3%2E1-pretrain');
    await page.reload();
    await page.getByRole('heading', { name: 'llama-3.1-pretrain' }).waitFor();
  });

  test('the address holds the order of a table and the hour that was chosen', async () => {
    await using opened = await open('/training');
    const { page } = opened;
    await page.getByRole('button', { name: 'Job', exact: true }).click();
    expect(new URL(page.url()).search).toBe('?sort=-job');
    expect(await page.locator('th[aria-sort]').getAttribute('aria-sort')).toBe('descending');
    await page.goto(`${servers.data.url}/cost`);
    await page.locator('.column').first().click();
    await page.getByRole('heading', { name: /^The hour from/ }).waitFor();
    const address = page.url();
    await page.goto(address);
    await page.getByRole('heading', { name: /^The hour from/ }).waitFor();
    await page.getByRole('button', { name: 'explain' }).first().click();
    await page.getByRole('textbox', { name: 'Asset' }).fill('n01');
    await page.getByRole('button', { name: 'Explain this hour' }).click();
    await page.getByText('$3.96').first().waitFor();
    expect(opened.wrong).toEqual([]);
  });

  test('the last row of the cost table is the sum of the rows, to the nano-dollar', async () => {
    await using opened = await open('/cost');
    const cells = await opened.page
      .getByRole('region', { name: 'Cost by tenant and category' })
      .locator('tr td:last-child')
      .allTextContents();
    const nano = cells.map((cell) => {
      const [whole = '', fraction = ''] = cell.replaceAll(/[$,]/g, '').split('.');
      return BigInt(whole) * 1_000_000_000n + BigInt(fraction.padEnd(9, '0'));
    });
    const bill = nano.pop();
    expect(nano.length).toBe(5);
    expect(nano.reduce((sum, each) => sum + each, 0n)).toBe(bill);
    expect(bill).toBe(24n * 99_000_000_000n);
  });

  test('the delivery adds up before the eyes of the reader, and a source opens by key to its epochs and gaps', async () => {
    await using opened = await open('/delivery');
    const { page } = opened;
    const numbers = async (): Promise<number[]> => {
      const terms = await page.locator('.equation b').allTextContents();
      return terms.map((text) => Number(text.replaceAll(',', '')));
    };
    const [emitted = NaN, ...terms] = await numbers();
    // three sources of 602,105 records and one epoch more of 8,420
    expect(emitted).toBe(3 * 602_105 + 8_420);
    expect(terms.reduce((sum, term) => sum + term, 0)).toBe(emitted);
    expect(await page.getByRole('region', { name: 'The account by source' }).locator('tbody tr').count()).toBe(3);
    await page.getByRole('link', { name: 'n01' }).focus();
    await page.keyboard.press('ArrowDown');
    await page.keyboard.press('Enter');
    await page.getByRole('heading', { name: 'Delivery of n02' }).waitFor();
    expect(new URL(page.url()).search).toBe('?source=n02');
    await page.getByRole('region', { name: 'The account by epoch' }).waitFor();
    expect(await numbers()).toEqual([610_525, 610_405, 20, 100]);
    const gaps = page.getByRole('region', { name: 'Gaps in the sequences' }).locator('tbody tr');
    expect(await gaps.allInnerTexts()).toEqual([
      expect.stringMatching(/17 – 19\s+3\s+missing/),
      expect.stringMatching(/812\s+1\s+declared lost/),
      expect.stringMatching(/4,208\s+1\s+may be in flight/),
    ]);
    expect(opened.wrong).toEqual([]);
  });

  test('an action reaches the service with its note, and a refusal is told', async () => {
    await using opened = await open('/retraining/dec_1');
    const { page } = opened;
    await page.getByRole('textbox', { name: 'Note' }).fill('go ahead');
    await page.getByRole('button', { name: 'Approve' }).click();
    await page.getByText('Approved.').waitFor();
    const call = servers.data.calls.find(({ name }) => name === 'approve');
    expect(call?.argument).toMatchObject({ id: 'dec_1', note: 'go ahead', actor: 'local' });
  });

  test('an event of the stream renews what is shown without a reload', async () => {
    await using opened = await open('/');
    const { page } = opened;
    await page.getByText('live', { exact: true }).waitFor();
    const { incidents } = servers.data.fleet.overview;
    Object.assign(incidents, { open: 7 });
    try {
      await page.waitForTimeout(1600); // a resource is asked for at most every 1.5 s
      servers.data.emit({ event: 'incident', data: { id: 'inc_1' } });
      await page.getByText('7 open').waitFor({ timeout: 3000 });
    } finally {
      Object.assign(incidents, { open: 2 });
    }
  });

  test('asks for a token where the service wants one, and goes on with it', async () => {
    await using guarded = await startConsole('data', { tokens: true });
    await using opened = await open('/', { url: guarded.url });
    const { page } = opened;
    await page.getByRole('dialog', { name: 'This service asks for a token' }).waitFor();
    expect(await violations(page)).toEqual([]);
    await page.locator('#token').fill('lw_admin_wrong');
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByText('The token was not accepted').waitFor();
    await page.locator('#token').fill(ADMIN_TOKEN);
    await page.getByRole('button', { name: 'Use this token' }).click();
    await page.getByText('2 open').waitFor();
    expect(await page.evaluate("sessionStorage.getItem('leeway.token')")).toBe(ADMIN_TOKEN);
    expect(await page.evaluate('localStorage.length')).toBe(0);
  });

  test('the policy of the page refuses an inline script', async () => {
    await using opened = await open('/');
    const ran: unknown = await opened.page.evaluate(
      "(() => { const s = document.createElement('script'); s.textContent = 'window.ran = true'; document.head.append(s); return window.ran === true; })()",
    );
    expect(ran).toBe(false);
  });
});
