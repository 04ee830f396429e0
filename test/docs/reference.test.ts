import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { referencePages } from '../../scripts/reference-pages.ts';
import { ERRORS } from '../../src/core/errors.ts';
import { RECORD_TYPES } from '../../src/core/records.ts';
import { TABLES } from '../../src/core/tables.ts';

const FOLDER = join(import.meta.dirname, '..', '..', 'docs', 'reference');
const pages = await referencePages();

describe('docs/reference', () => {
  test('holds the generated pages and no other', () => {
    expect(readdirSync(FOLDER).sort()).toEqual([...pages.keys()].sort());
  });

  test.each([...pages.keys()])('%s is what the code says; "npm run reference" writes it anew', (name) => {
    const path = join(FOLDER, name);
    expect(existsSync(path)).toBe(true);
    expect(readFileSync(path, 'utf8')).toBe(pages.get(name));
  });

  test('every error code, record type and typed column has its place', () => {
    const errors = pages.get('errors.md') ?? '';
    expect(Object.keys(ERRORS).filter((code) => !errors.includes(`| \`${code}\` |`))).toEqual([]);
    const records = pages.get('records.md') ?? '';
    for (const type of RECORD_TYPES) {
      const section = records.split(`\n## ${type}\n`)[1]?.split('\n## ')[0] ?? '';
      const lacking = Object.keys(TABLES[type].columns).filter((column) => !section.includes(`| \`${column}\` |`));
      expect([type, lacking]).toEqual([type, []]);
    }
  });

  test('a default of the configuration and a key of an extension are told', () => {
    const configuration = pages.get('configuration.md') ?? '';
    expect(configuration).toContain('| `server.port` | `8787` | an integer 0 to 65535 |');
    expect(configuration).toContain('`sinks[]{kind=slack}.url_file`');
    expect(configuration).toContain('`retraining.policies[].target{kind=webhook}.url`');
  });

  test('a required and an optional field are told apart', () => {
    const records = pages.get('records.md') ?? '';
    expect(records).toContain('| `duration_ms` | yes | a number 0 or more |');
    expect(records).toContain('| `loss` |  | ');
  });
});
