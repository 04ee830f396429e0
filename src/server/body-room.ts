import { LeewayError } from '../core/errors.ts';

/** Memory for bodies that are being read: a route holds at most `bytes_max` at once, further senders hear 429. */
export class BodyRoom {
  readonly #bytes_max: number;
  #held = 0;

  constructor(bytes_max: number) {
    this.#bytes_max = bytes_max;
  }

  /** What `read` makes of the chunks, counted until it is done. Throws LW-OVERLOADED where there is no room. */
  async hold<Result>(
    chunks: AsyncIterable<Buffer>,
    read: (counted: AsyncIterable<Buffer>) => Promise<Result>,
  ): Promise<Result> {
    let own = 0;
    const counted = async function* (this: BodyRoom): AsyncGenerator<Buffer> {
      for await (const chunk of chunks) {
        own += chunk.length;
        this.#held += chunk.length;
        if (this.#held > this.#bytes_max)
          throw new LeewayError('LW-OVERLOADED', 'too many bodies at once; send this one again');
        yield chunk;
      }
    };
    try {
      return await read(counted.call(this));
    } finally {
      this.#held -= own;
    }
  }
}
