import { LeewayError } from '../core/errors.ts';

/** Memory for bodies that are being read: a route holds at most `bytes_max` at once, further senders hear 503 (Prometheus drops what is answered 429). */
export class BodyRoom {
  readonly #bytes_max: number;
  #held = 0;

  constructor(bytes_max: number) {
    this.#bytes_max = bytes_max;
  }

  /** What `use` makes of a body, whose bytes are counted until it is done. Throws LW-BUSY where there is no room. */
  async hold<Result>(
    read: (onBytes: (bytes: number) => void) => Promise<Buffer>,
    use: (body: Buffer) => Result | Promise<Result>,
  ): Promise<Result> {
    let own = 0;
    const onBytes = (bytes: number): void => {
      own += bytes;
      this.#held += bytes;
      if (this.#held > this.#bytes_max)
        throw new LeewayError('LW-BUSY', 'too many bodies at once; send this one again');
    };
    try {
      return await use(await read(onBytes));
    } finally {
      this.#held -= own;
    }
  }
}
