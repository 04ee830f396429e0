import { LeewayError } from '../core/errors.ts';
import { LIMITS } from '../core/limits.ts';
import type { BatchIdentity } from './services.ts';

type Headers = Readonly<Record<string, string | string[] | undefined>>;

/** The batch's name in its headers: all three, the source alone, or none. Throws LW-BODY for anything else. */
export function batchName(headers: Headers): { identity: BatchIdentity | null; source: string | null } {
  const source = text(headers['x-leeway-source']);
  const epoch = text(headers['x-leeway-epoch']);
  const sequence = text(headers['x-leeway-sequence']);
  if (source === null && epoch === null && sequence === null) return { identity: null, source: null };
  const errors = [];
  if (source === null || !isName(source))
    errors.push({
      path: 'X-Leeway-Source',
      got: source === null ? 'nothing' : 'a wrong name',
      expected: `1 to ${LIMITS.source_name_max} printable characters`,
    });
  const alone = epoch === null && sequence === null;
  if (alone && errors.length === 0) return { identity: null, source };
  const numbers = { epoch: integer(epoch, 0), sequence: integer(sequence, 1) };
  if (!alone && numbers.epoch === null)
    errors.push({ path: 'X-Leeway-Epoch', got: epoch ?? 'nothing', expected: 'an integer 0 to 2^53-1' });
  if (!alone && numbers.sequence === null)
    errors.push({ path: 'X-Leeway-Sequence', got: sequence ?? 'nothing', expected: 'an integer 1 to 2^53-1' });
  if (errors.length > 0 || source === null || numbers.epoch === null || numbers.sequence === null)
    throw new LeewayError('LW-BODY', 'a batch is named by source, epoch and sequence together', { errors });
  return { identity: { source, epoch: numbers.epoch, sequence: numbers.sequence }, source };
}

function isName(source: string): boolean {
  return source.length <= LIMITS.source_name_max && /^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$/.test(source);
}

function text(value: string | string[] | undefined): string | null {
  return value === undefined ? null : String(value);
}

function integer(value: string | null, least: number): number | null {
  if (value === null || !/^[0-9]{1,16}$/.test(value)) return null;
  const number = Number(value);
  return Number.isSafeInteger(number) && number >= least ? number : null;
}
