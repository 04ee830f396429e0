import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { FuzzTarget } from './fuzz.ts';

const DECODERS = join(import.meta.dirname, 'decoders');

/** Names of the decoders that can be fuzzed: one file each. */
export function decoderNames(): string[] {
  return readdirSync(DECODERS)
    .filter((name) => name.endsWith('.ts'))
    .map((name) => name.slice(0, -'.ts'.length))
    .toSorted();
}

export async function loadTarget(name: string): Promise<FuzzTarget> {
  const module = (await import(join(DECODERS, `${name}.ts`))) as { readonly target: () => FuzzTarget }; // every file of the folder
  return module.target();
}
