import { readFile } from 'node:fs/promises';
import { LeewayError, systemCode } from '../core/errors.ts';

/** Lines of a secret file: one secret, or the old and the new one during a rotation. Longer files are no secrets. */
const LINES_MAX = 8;

/** The lines of a secret file, without spaces and empty lines. Throws LW-CONFIG, never showing what the file holds. */
export async function readSecret(path: string): Promise<readonly string[]> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    throw new LeewayError(
      'LW-CONFIG',
      `${path}: the secret cannot be read (${systemCode(error) ?? 'unknown reason'})`,
      {
        cause: error,
      },
    );
  }
  const lines = text
    .split('\n')
    .map((line) => line.trim())
    .filter((line) => line !== '');
  if (lines.length >= 1 && lines.length <= LINES_MAX) return lines;
  throw new LeewayError(
    'LW-CONFIG',
    `${path}: holds ${lines.length} lines, expected one secret a line, at most ${LINES_MAX}`,
  );
}
