import type { LinkGap } from '../formats/link-batch.ts';
import type { Publisher } from '../pipeline/publish.ts';

/** What publishers of this process gave up before it was durable, as totals of `run`. */
export function givenUp(publishers: readonly Publisher[], run: string): LinkGap[] {
  return totals(publishers, run, () => ({}));
}

/**
 * The last totals of `run`, once its publishers have ended: what they still hold goes with the process, as `unsent`.
 * `durableOf`: records of a source that are durable though its publisher holds them, of a batch that failed half-way.
 */
export function givenUpAtEnd(
  publishers: readonly Publisher[],
  run: string,
  durableOf: (source: string) => number = () => 0,
): LinkGap[] {
  return totals(publishers, run, (source, waiting) => ({ unsent: waiting - durableOf(source) }));
}

function totals(
  publishers: readonly Publisher[],
  run: string,
  more: (source: string, waiting: number) => Readonly<Record<string, number>>,
): LinkGap[] {
  return publishers.flatMap((publisher) => {
    const { source, epoch, declared_loss, waiting } = publisher.counts();
    return Object.entries({ ...declared_loss, ...more(source, waiting) }).flatMap(([reason, records]) =>
      records > 0 ? [{ source, epoch, run, reason, records, ranges: [] }] : [],
    );
  });
}
