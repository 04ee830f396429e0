import { expect, test } from 'vitest';
import { ManualClock } from '../../src/core/clock.ts';
import { Gathering } from '../../src/transport/gathering.ts';

/** A queue before a write; `begin` starts to wait and says whether the write began, with how many. */
class Queue {
  readonly clock = new ManualClock();
  readonly #gathering = new Gathering(this.clock);
  #queued = 0;
  began: number | null = null;

  come(): void {
    this.#queued++;
    this.#gathering.came(this.#queued);
  }

  /** Lets what has been resolved go on; no time passes. */
  async turn(): Promise<void> {
    for (let step = 0; step < 10; step++) await Promise.resolve();
  }

  begin(): void {
    this.began = null;
    void this.#gathering
      .wait(() => this.#queued)
      .then(() => {
        this.began = this.#queued;
        this.#queued = 0;
      });
  }

  /** One batch comes and is written; whether the write waited for more. */
  async writeOne(): Promise<boolean> {
    this.come();
    this.begin();
    await this.turn();
    const waited = this.began === null;
    await this.clock.advance(1);
    await this.turn();
    return waited;
  }
}

test('a sender that is alone waits with one write in thirty-two, for a millisecond', async () => {
  const queue = new Queue();
  const waited: number[] = [];
  for (let write = 1; write <= 96; write++) {
    if (await queue.writeOne()) waited.push(write);
    expect(queue.began).toBe(1);
  }
  expect(waited).toEqual([32, 64, 96]);
});

test('once two came within the wait, each write waits for two and begins when the second is there, not later', async () => {
  const queue = new Queue();
  for (let write = 1; write <= 31; write++) await queue.writeOne();
  for (let write = 32; write <= 60; write++) {
    queue.come();
    queue.begin();
    await queue.turn();
    expect(queue.began).toBeNull();
    queue.come();
    await queue.turn();
    expect(queue.began).toBe(2);
    await queue.clock.advance(1); // the timer of a wait that is over changes nothing
  }
});

test('one that does not come any more is waited for once', async () => {
  const queue = new Queue();
  for (let write = 1; write <= 31; write++) await queue.writeOne();
  queue.come();
  queue.begin();
  queue.come();
  await queue.turn();
  expect(queue.began).toBe(2);
  expect(await queue.writeOne()).toBe(true);
  expect(await queue.writeOne()).toBe(false);
});

test('the timer of an earlier wait does not end a later one', async () => {
  const queue = new Queue();
  for (let write = 1; write <= 31; write++) await queue.writeOne();
  queue.come();
  queue.begin();
  await queue.clock.advance(0.6);
  queue.come();
  await queue.turn();
  queue.come();
  queue.begin();
  await queue.clock.advance(0.6); // the first wait's millisecond ends here
  await queue.turn();
  expect(queue.began).toBeNull();
  await queue.clock.advance(0.4);
  await queue.turn();
  expect(queue.began).toBe(1);
});
