import { integerBelow, type Random } from '../../src/core/random.ts';

const VALUES: readonly unknown[] = [
  null,
  true,
  '',
  'x',
  0,
  -1,
  1.5,
  1e308,
  Number.MAX_SAFE_INTEGER,
  '18446744073709551616',
  '-9223372036854775809',
  '1763596800123000000',
  '2026-01-01T00:00:00Z',
  'NaN',
  'Infinity',
  '\ud800',
  '\u0000',
  'ü'.repeat(3_000),
  [],
  {},
  [[[[[]]]]],
  { __proto__: null, constructor: 1 },
];
const KEYS = ['', 'type', 'labels', 'name', 'value', 'attributes', 'constructor', '__proto__', 'toString', 'at_ms'];

/** The JSON in `bytes`, of one line or of several, with one to three of its values replaced, dropped, doubled or renamed. */
export function reshaped(bytes: Uint8Array, random: Random): Uint8Array {
  const lines = Buffer.from(bytes).toString('utf8').split('\n');
  const at = integerBelow(random, lines.length);
  let value: unknown;
  try {
    value = JSON.parse(lines[at] ?? '');
  } catch {
    return bytes; // the corpus also keeps what is no JSON any more
  }
  for (let change = 0; change <= integerBelow(random, 3); change++) changeOne(value, random);
  lines[at] = JSON.stringify(value);
  return Buffer.from(lines.join('\n'));
}

type Node = Record<string, unknown> | unknown[];

function isNode(value: unknown): value is Node {
  return typeof value === 'object' && value !== null;
}

function changeOne(root: unknown, random: Random): void {
  let node = root;
  for (let step = 0; step < 40 && isNode(node); step++) {
    const keys = Object.keys(node);
    const key = keys[integerBelow(random, Math.max(1, keys.length))];
    if (key === undefined) return;
    const below: unknown = Reflect.get(node, key);
    // deep places are as likely as shallow ones
    if (isNode(below) && Object.keys(below).length > 0 && integerBelow(random, 5) > 0) {
      node = below;
      continue;
    }
    alter(node, key, random);
    return;
  }
}

function alter(node: Node, key: string, random: Random): void {
  const kind = integerBelow(random, 5);
  const value: unknown = Reflect.get(node, key);
  if (kind === 0) Reflect.deleteProperty(node, key);
  else if (kind === 1 && Array.isArray(node))
    node.push(...Array.from({ length: 1 + integerBelow(random, 20) }, () => value));
  else if (kind === 2 && !Array.isArray(node)) {
    const name = KEYS[integerBelow(random, KEYS.length)] ?? '';
    Object.defineProperty(node, name, { value, enumerable: true, configurable: true, writable: true });
  } else Reflect.set(node, key, structuredClone(VALUES[integerBelow(random, VALUES.length)]));
}
