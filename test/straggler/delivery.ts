import { seededRandom } from '../../src/core/random.ts';
import type { LeewayRecord } from '../../src/core/records.ts';

/** The records as a collector delivers them: up to `late_ms` late, some twice, some never; seeded. */
export function delivered(
  records: readonly LeewayRecord[],
  how: { seed: number; late_ms: number; lost: number; twice: number },
): LeewayRecord[] {
  const random = seededRandom(how.seed);
  const out: { at: number; record: LeewayRecord }[] = [];
  for (const record of records) {
    const at_ms = 'at_ms' in record ? record.at_ms : 0;
    if (record.type !== 'job' && random.next() < how.lost) continue;
    out.push({ at: at_ms + random.next() * how.late_ms, record });
    if (random.next() < how.twice) out.push({ at: at_ms + random.next() * how.late_ms, record });
  }
  return out.sort((a, b) => a.at - b.at).map((item) => item.record);
}
