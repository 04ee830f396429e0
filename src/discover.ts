import { readdir } from 'node:fs/promises';
import { basename, join } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { AnyCollector, AnySink, AnyTarget } from './core/define.ts';
import { LeewayError, systemCode } from './core/errors.ts';

/** Everything that one-file extensions bring (core/define.ts). */
export type Extensions = {
  readonly collectors: readonly AnyCollector[];
  readonly sinks: readonly AnySink[];
  readonly targets: readonly AnyTarget[];
};

/** The root of the installation: what `collectors/`, `alerts/rules` and `web/` are relative to. */
export const INSTALLATION = fileURLToPath(new URL('..', import.meta.url));

/** The most files of one extension folder: a folder of more is not a folder of extensions. */
const FILES_MAX = 1000;

/**
 * Loads collectors/, alerts/sinks/ and src/retrain/targets/ below `root`, in the order of their names. A folder that
 * is not there brings nothing. Throws LW-CONFIG when a file exports no definition or one of another name.
 */
export async function discover(root: string = INSTALLATION): Promise<Extensions> {
  const [collectors, sinks, targets] = await Promise.all([
    load(join(root, 'collectors'), 'open', (value) => value as AnyCollector), // the parse door: `definitionOf` has looked
    load(join(root, 'alerts', 'sinks'), 'render', (value) => value as AnySink), // as above
    load(join(root, 'src', 'retrain', 'targets'), 'render', (value) => value as AnyTarget), // as above
  ]);
  return { collectors, sinks, targets };
}

async function load<Definition>(
  folder: string,
  verb: string,
  parse: (value: unknown) => Definition,
): Promise<readonly Definition[]> {
  const names = (await listFiles(folder)).filter((name) => name.endsWith('.ts') && !name.endsWith('.d.ts')).sort();
  if (names.length > FILES_MAX)
    throw new LeewayError('LW-CONFIG', `${folder}: ${names.length} files, at most ${FILES_MAX} extensions`);
  return Promise.all(
    names.map(async (name) => {
      const path = join(folder, name);
      const module: unknown = await import(pathToFileURL(path).href);
      return parse(definitionOf(module, path, verb));
    }),
  );
}

async function listFiles(folder: string): Promise<readonly string[]> {
  try {
    return await readdir(folder);
  } catch (error) {
    if (systemCode(error) === 'ENOENT') return [];
    throw error;
  }
}

function definitionOf(module: unknown, path: string, verb: string): object {
  const exported = typeof module === 'object' && module !== null ? Object.values(module) : [];
  const found = exported.find((value) => isDefinition(value, verb));
  const name = basename(path, '.ts');
  if (found === undefined)
    throw new LeewayError(
      'LW-CONFIG',
      `${path}: exports no definition with name, config and ${verb}; see core/define.ts`,
    );
  if (Reflect.get(found, 'name') !== name)
    throw new LeewayError('LW-CONFIG', `${path}: is named "${String(Reflect.get(found, 'name'))}", expected "${name}"`);
  return found;
}

function isDefinition(value: unknown, verb: string): value is object {
  return (
    typeof value === 'object' &&
    value !== null &&
    typeof Reflect.get(value, 'name') === 'string' &&
    typeof Reflect.get(value, 'config') === 'object' &&
    typeof Reflect.get(value, verb) === 'function'
  );
}
