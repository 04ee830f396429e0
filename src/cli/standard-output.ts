import type { Writable } from 'node:stream';
import { LeewayError, systemCode } from '../core/errors.ts';

/**
 * Standard output of a command. After the first failure nothing more is written. A reader that is gone (`| head -1`) is
 * no fault of the command: `onReaderGone` is told once. What cannot be written otherwise (a full disk) is a failure.
 */
export class StandardOutput {
  readonly #stream: Writable;
  readonly #onReaderGone: () => void;
  #failure: unknown = null;
  #used = false;

  constructor(stream: Writable, onReaderGone: () => void) {
    this.#stream = stream;
    this.#onReaderGone = onReaderGone;
    stream.on('error', (error) => this.#fail(error));
  }

  write(text: string): void {
    this.#used = true;
    if (this.#failure === null) this.#stream.write(text);
  }

  /** Resolves when everything is written, or nothing more can be; throws LW-OUTPUT when a reader did not get it all. */
  async written(): Promise<void> {
    if (this.#used && this.#failure === null)
      await new Promise<void>((resolve) =>
        this.#stream.write('', (error) => {
          if (error !== null && error !== undefined) this.#fail(error);
          resolve();
        }),
      );
    const code = systemCode(this.#failure);
    if (this.#failure === null || code === 'EPIPE') return;
    throw new LeewayError(
      'LW-OUTPUT',
      `standard output: cannot be written (${code ?? 'unknown reason'}), the answer is not whole; make room or choose another place`,
      { cause: this.#failure },
    );
  }

  #fail(error: Error): void {
    if (this.#failure !== null) return;
    this.#failure = error;
    if (systemCode(error) === 'EPIPE') this.#onReaderGone();
  }
}
