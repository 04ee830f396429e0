import { createHash } from 'node:crypto';
import { mkdir, symlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { createFixture, temporaryDirectory } from './fixture.ts';

const IMPORT_MAP = '{"imports":{"preact":"/vendor/preact.js"}}';
const ROOT = join(import.meta.dirname, '../..');

async function installation(): Promise<{ path: string } & AsyncDisposable> {
  const directory = await temporaryDirectory();
  await mkdir(join(directory.path, 'web', 'pages'), { recursive: true });
  const page = `<!doctype html><script type="importmap">${IMPORT_MAP}</script><script type="module" src="/app.js"></script>`;
  await writeFile(join(directory.path, 'web', 'index.html'), page);
  await writeFile(join(directory.path, 'web', 'app.js'), 'export {};\n');
  await writeFile(join(directory.path, 'web', 'pages', 'job.js'), 'export {};\n');
  await writeFile(join(directory.path, 'web', 'style.css'), ':root {}\n');
  await writeFile(join(directory.path, 'web', '.secret.js'), 'planted text');
  await writeFile(join(directory.path, 'web', 'notes.exe'), 'not a file of a console');
  await writeFile(join(directory.path, 'outside.js'), 'planted text');
  await symlink(join(ROOT, 'node_modules'), join(directory.path, 'node_modules'));
  return directory;
}

describe('the console', () => {
  test.each([
    ['/', 'text/html; charset=utf-8'],
    ['/index.html', 'text/html; charset=utf-8'],
    ['/app.js', 'text/javascript; charset=utf-8'],
    ['/pages/job.js', 'text/javascript; charset=utf-8'],
    ['/style.css', 'text/css; charset=utf-8'],
    ['/vendor/preact.js', 'text/javascript; charset=utf-8'],
    ['/vendor/preact-hooks.js', 'text/javascript; charset=utf-8'],
    ['/vendor/htm.js', 'text/javascript; charset=utf-8'],
    ['/vendor/uplot.js', 'text/javascript; charset=utf-8'],
    ['/vendor/uplot.css', 'text/css; charset=utf-8'],
  ])('serves %s as %s to everyone, also where tokens are needed', async (url, type) => {
    await using directory = await installation();
    await using fixture = await createFixture({ installation: directory.path, tokens: true });
    const answer = await fixture.app.inject({ url });
    expect([answer.statusCode, answer.headers['content-type']]).toEqual([200, type]);
    expect(answer.payload.length).toBeGreaterThan(0);
  });

  test.each([
    '/.secret.js',
    '/notes.exe',
    '/../outside.js',
    '/..%2foutside.js',
    '/%2e%2e/outside.js',
    '/pages/..%2f..%2foutside.js',
    '/vendor/../../outside.js',
    '/vendor/typebox.js',
    '/vendor/preact.js/package.json',
    '/node_modules/preact/package.json',
  ])('does not serve %s', async (url) => {
    await using directory = await installation();
    await using fixture = await createFixture({ installation: directory.path });
    const answer = await fixture.app.inject({ url });
    expect(answer.statusCode).toBe(404);
    expect(answer.payload).not.toContain('planted text');
  });

  test('allows no script but its own files and its import map, by hash', async () => {
    await using directory = await installation();
    await using fixture = await createFixture({ installation: directory.path });
    const { headers } = await fixture.app.inject({ url: '/' });
    const hash = createHash('sha256').update(IMPORT_MAP).digest('base64');
    const policy = String(headers['content-security-policy']);
    expect(policy).toContain(`script-src 'self' 'sha256-${hash}';`);
    expect(policy).toContain("default-src 'none'");
    expect(policy).toContain("frame-ancestors 'none'");
    expect(policy).not.toContain('unsafe');
  });

  test('is revalidated by its ETag', async () => {
    await using directory = await installation();
    await using fixture = await createFixture({ installation: directory.path });
    const first = await fixture.app.inject({ url: '/app.js' });
    const etag = String(first.headers['etag']);
    expect(first.headers['cache-control']).toBe('no-cache');
    for (const tag of [etag, `W/${etag}`, `"other", ${etag}`]) {
      const again = await fixture.app.inject({ url: '/app.js', headers: { 'if-none-match': tag } });
      expect([again.statusCode, again.payload]).toEqual([304, '']);
    }
    const changed = await fixture.app.inject({ url: '/app.js', headers: { 'if-none-match': '"other"' } });
    expect(changed.statusCode).toBe(200);
  });

  test('answers its own addresses with its page, so that a link can be opened', async () => {
    await using directory = await installation();
    await using fixture = await createFixture({ installation: directory.path, tokens: true });
    const headers = { accept: 'text/html,application/xhtml+xml' };
    const page = await fixture.app.inject({ url: '/incidents/inc_1?range=1h', headers });
    expect([page.statusCode, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8']);
    expect((await fixture.app.inject({ url: '/incidents/inc_1' })).statusCode).toBe(404);
    expect((await fixture.app.inject({ url: '/missing.js', headers })).statusCode).toBe(404);
    expect((await fixture.app.inject({ url: '/api/v1/missing', headers })).statusCode).toBe(401);
  });

  test('may be missing altogether', async () => {
    await using directory = await temporaryDirectory();
    await using fixture = await createFixture({ installation: directory.path });
    expect((await fixture.app.inject({ url: '/' })).statusCode).toBe(404);
  });
});
