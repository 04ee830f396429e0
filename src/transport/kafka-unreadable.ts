import type { DeadLetter } from './kafka-dead-letter.ts';
import { messageBytes } from './kafka-driver.ts';

/** Messages that hold no frame, waiting in order for the dead-letter topic. */
export class UnreadableMessages {
  #letters: DeadLetter[] = [];
  #bytes = 0;

  /** What they take in memory. */
  get bytes(): number {
    return this.#bytes;
  }

  get isEmpty(): boolean {
    return this.#letters.length === 0;
  }

  add(letter: DeadLetter): void {
    this.#letters.push(letter);
    this.#bytes += messageBytes(letter.message);
  }

  /** Takes the oldest out. */
  take(): DeadLetter | undefined {
    const letter = this.#letters.shift();
    if (letter !== undefined) this.#bytes -= messageBytes(letter.message);
    return letter;
  }

  /** Drops what was read from partitions that `keep` refuses. */
  retain(keep: (partition: number) => boolean): void {
    const letters = this.#letters;
    this.#letters = [];
    this.#bytes = 0;
    for (const letter of letters) if (keep(letter.partition)) this.add(letter);
  }
}
