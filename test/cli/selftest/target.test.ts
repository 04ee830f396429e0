import { writeFile } from 'node:fs/promises';
import path from 'node:path';
import { expect, test } from 'vitest';
import { type Target, type TargetOptions, targetOf } from '../../../src/cli/selftest/target.ts';
import { loadConfig } from '../../../src/config.ts';
import { scratchDirectory } from '../../contract/scratch-directory.ts';

/** The target of a configuration; the files beside it are `token` (lw_a) and `other` (lw_b). */
async function targetFor(config: object, options: TargetOptions = {}, environment = {}): Promise<Target> {
  await using directory = await scratchDirectory();
  await writeFile(path.join(directory.path, 'leeway.config.json'), JSON.stringify(config));
  await writeFile(path.join(directory.path, 'token'), 'lw_a\n');
  await writeFile(path.join(directory.path, 'other'), 'lw_b\n');
  return await targetOf(await loadConfig({ cwd: directory.path, environment }), options);
}

test.each([
  ['the default', {}, 'http://127.0.0.1:8787'],
  ['a port', { server: { port: 9000 } }, 'http://127.0.0.1:9000'],
  ['every address of the machine', { server: { host: '0.0.0.0' } }, 'http://127.0.0.1:8787'],
  ['every address, version 6', { server: { host: '::' } }, 'http://[::1]:8787'],
  ['an address of version 6', { server: { host: '::1', port: 9 } }, 'http://[::1]:9'],
  ['a certificate', { server: { tls: { cert_file: 'c', key_file: 'k' } } }, 'https://127.0.0.1:8787'],
  ['a public address', { server: { public_url: 'https://leeway.example/base/' } }, 'https://leeway.example/base'],
])('%s: records go where the service listens', async (_name, config, url) => {
  expect(await targetFor(config)).toEqual({ ingest_url: url, read_url: url, token: null });
});

test('--url goes before the configuration, --read-url tells gateway and console apart', async () => {
  const config = { server: { public_url: 'https://leeway.example' } };
  expect(await targetFor(config, { url: 'http://gateway:1' })).toMatchObject({
    ingest_url: 'http://gateway:1',
    read_url: 'http://gateway:1',
  });
  expect(await targetFor(config, { url: 'http://gateway:1', read_url: 'http://console:2/' })).toMatchObject({
    ingest_url: 'http://gateway:1',
    read_url: 'http://console:2',
  });
});

test('the token is that of gateway.token_file, else the one that is named, from a file or the environment', async () => {
  const gateway = { token_file: 'token' };
  expect(await targetFor({ gateway })).toMatchObject({ token: 'lw_a' });
  expect(await targetFor({ gateway }, { token_file: 'other' })).toMatchObject({ token: 'lw_b' });
  expect(await targetFor({}, { token_file: 'env:TOKEN' }, { TOKEN: 'lw_c' })).toMatchObject({ token: 'lw_c' });
  await expect(targetFor({}, { token_file: 'nowhere' })).rejects.toMatchObject({ code: 'LW-CONFIG' });
});

test('a service that takes a free port at each start must be named', async () => {
  await expect(targetFor({ server: { port: 0 } })).rejects.toMatchObject({ code: 'LW-USAGE' });
  expect(await targetFor({ server: { port: 0 } }, { url: 'http://127.0.0.1:7' })).toMatchObject({
    ingest_url: 'http://127.0.0.1:7',
  });
});
