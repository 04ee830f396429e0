import { sampleBlocks, SampleWords } from '../formats/sample-frame.ts';

/** The last minute that a roll-up's DateTime can say: in 2106. Samples beyond it, or before 1970, are not rolled up. */
const MINUTE_MAX = 71_582_787;

/** The first and the last time of some samples, Unix ms. */
export type TimeSpan = { readonly from_ms: number; readonly to_ms: number };

/** Unix minutes that the samples of whole blocks lie in; none for what are no such blocks. `span`: of them all, where known. */
export function minutesOf(bytes: Buffer, span?: TimeSpan): Set<number> {
  const minutes = new Set<number>();
  if (span !== undefined && minuteOf(span.from_ms) === minuteOf(span.to_ms)) minutes.add(minuteOf(span.from_ms));
  else {
    const words = new SampleWords();
    for (const block of sampleBlocks(bytes) ?? []) addMinutes(words.read(bytes, block).times, minutes);
  }
  for (const minute of minutes) if (!(minute >= 0 && minute <= MINUTE_MAX)) minutes.delete(minute);
  return minutes;
}

function addMinutes(times: Int32Array, minutes: Set<number>): void {
  let last = Number.NaN;
  for (let word = 0; word < times.length; word += 2) {
    const minute = minuteOf(((times[word] as number) >>> 0) + (times[word + 1] as number) * 4_294_967_296); // word + 1 < length
    if (minute === last) continue;
    last = minute;
    minutes.add(minute);
  }
}

function minuteOf(at_ms: number): number {
  return Math.floor(at_ms / 60_000);
}
