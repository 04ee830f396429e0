import { readdir, readFile, stat } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { LeewayError, systemCode } from '../core/errors.ts';

/** A file of the tree: its absolute path and its text. */
export type TreeFile = { readonly path: string; readonly text: string };

/** Devices of a host: 16 adapters; ports of a device: 2; files of a port: 80. Twenty times that. */
const FILES_MAX = 50_000;
/** sysfs gives a page. */
const FILE_BYTES_MAX = 4_096;

/**
 * The files of InfiniBand devices below `directory`, which may be a device, its `ports`, a port, the class directory,
 * or what holds `sys/class/infiniband`. Only known places are opened, so links of sysfs lead nowhere else.
 * Throws LW-INPUT-FILE when it is no directory or holds no device.
 */
export async function readInfinibandTree(directory: string, cwd: string): Promise<readonly TreeFile[]> {
  const root = resolve(cwd, directory);
  await mustBeDirectory(root, directory);
  const files: TreeFile[] = [];
  for (const port of await portsBelow(root)) await readPort(port, files);
  if (files.length === 0)
    throw new LeewayError(
      'LW-INPUT-FILE',
      `${directory}: no InfiniBand port below it, expected <device>/ports/<n>/counters`,
    );
  return files;
}

async function mustBeDirectory(root: string, named: string): Promise<void> {
  const found = await stat(root).catch((error: unknown) => systemCode(error) ?? 'unknown reason');
  if (typeof found === 'string') {
    const reason = found === 'ENOENT' ? 'no such directory' : `cannot be read (${found})`;
    throw new LeewayError('LW-INPUT-FILE', `${named}: ${reason}; relative paths start where you stand`);
  }
  if (!found.isDirectory()) throw new LeewayError('LW-INPUT-FILE', `${named}: is a file, expected a directory`);
}

async function portsBelow(root: string): Promise<readonly string[]> {
  if (/\/ports\/\d+$/.test(root)) return [root];
  if (root.endsWith('/ports')) return numbered(root);
  const own = await numbered(join(root, 'ports'));
  if (own.length > 0) return own;
  const ports: string[] = [];
  for (const place of ['', 'infiniband', 'class/infiniband', 'sys/class/infiniband'])
    for (const device of await names(join(root, place)))
      ports.push(...(await numbered(join(root, place, device, 'ports'))));
  return ports;
}

async function numbered(directory: string): Promise<readonly string[]> {
  const found = await names(directory);
  return found.filter((name) => /^\d{1,3}$/.test(name)).map((name) => join(directory, name));
}

async function readPort(port: string, files: TreeFile[]): Promise<void> {
  for (const name of ['state', 'phys_state', 'rate', 'link_layer']) await readInto(join(port, name), files);
  for (const group of ['counters', 'hw_counters', 'counters_ext'])
    for (const name of await names(join(port, group))) await readInto(join(port, group, name), files);
  for (const name of ['hca_type', 'fw_ver', 'board_id', 'node_guid'])
    await readInto(join(port, '..', '..', name), files);
}

/** Names in a directory, in order; none when it is not there or may not be read (sysfs differs by driver). */
async function names(directory: string): Promise<readonly string[]> {
  const found = await readdir(directory).catch(() => []);
  return found.toSorted((a, b) => (a < b ? -1 : 1));
}

/** A file that cannot be read is left out: the decoder tells its counter absent. Some drivers answer EINVAL. */
async function readInto(path: string, files: TreeFile[]): Promise<void> {
  if (files.length >= FILES_MAX) return;
  const text = await readFile(path, 'utf8').catch(() => null);
  if (text !== null) files.push({ path, text: text.slice(0, FILE_BYTES_MAX) });
}
