import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { openBrowser } from './browser.ts';

// Takes the documentation's pictures of a console that runs, with whatever data it has:
//   node scripts/screenshots.ts http://127.0.0.1:8787 [--out docs/screenshots] [--only overview,job] [--narrow]

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    out: { type: 'string', default: 'docs/screenshots' },
    only: { type: 'string', default: '' },
    theme: { type: 'string', default: 'light,dark' },
    narrow: { type: 'boolean', default: false },
  },
});
const url = positionals[0] ?? 'http://127.0.0.1:8787';

/** A field of the first item of a list that has the field `having`, or null: pages of objects are taken of it. */
async function first(list: string, field: string, having = field): Promise<string | null> {
  const response = await fetch(`${url}/api/v1/${list}`);
  const body: unknown = await response.json();
  const items: unknown = Reflect.get(Object(body), 'items');
  const found: unknown = Array.isArray(items) ? items.find((item) => typeof item[having] === 'string') : null;
  const value: unknown = Reflect.get(Object(found), field);
  return typeof value === 'string' ? encodeURIComponent(value).replaceAll('.', '%2E') : null;
}

const objects = {
  incident: ['incidents', await first('incidents', 'id', 'job')],
  drift: ['incidents', await first('incidents', 'id', 'model')],
  job: ['training', (await first('incidents', 'job')) ?? (await first('jobs', 'job'))],
  model: ['models', await first('models', 'model')],
  decision: ['retraining', await first('decisions', 'id')],
} as const;
const lists = ['incidents', 'training', 'models', 'cost', 'retraining', 'delivery', 'sources', 'settings'];
const pages: [string, string][] = [['overview', '/'], ...lists.map((name): [string, string] => [name, `/${name}`])];
for (const [name, [segment, id]] of Object.entries(objects)) if (id !== null) pages.push([name, `/${segment}/${id}`]);

const wanted = values.only === '' ? pages : pages.filter(([name]) => values.only.split(',').includes(name));
const width = values.narrow ? 390 : 1280;
await mkdir(values.out, { recursive: true });
await using browser = await openBrowser();
for (const theme of values.theme.split(',')) {
  const colorScheme = theme === 'dark' ? 'dark' : 'light';
  const page = await browser.newPage({ colorScheme, viewport: { width, height: 800 } });
  for (const [name, path] of wanted) {
    await page.goto(url + path);
    await page.locator('h1').waitFor();
    await page.locator('.skeleton').first().waitFor({ state: 'detached' });
    await page.waitForLoadState('load');
    await page.waitForTimeout(1500); // charts are drawn after their answers arrived
    await page.screenshot({
      path: join(values.out, `${name}-${theme}${values.narrow ? '-narrow' : ''}.png`),
      fullPage: true,
    });
  }
  await page.close();
}
