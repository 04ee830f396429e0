import { expect, test } from 'vitest';
import { Turns } from '../../src/core/turns.ts';

const signal = new AbortController().signal;

test('work is alone, looks are together, and neither overtakes the other for more than a turn', async () => {
  const turns = new Turns();
  const order: string[] = [];
  const gates = new Map<string, () => void>();
  const gated = (name: string) => async (): Promise<void> => {
    const gate = Promise.withResolvers<void>();
    gates.set(name, gate.resolve);
    order.push(`${name} begins`);
    await gate.promise;
    order.push(`${name} ends`);
  };
  const finish = async (name: string): Promise<void> => {
    gates.get(name)?.();
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  };
  const first = turns.alone(gated('work 1'));
  const looks = ['look 1', 'look 2'].map((name) => turns.together(gated(name), signal));
  expect(order).toEqual(['work 1 begins']);
  await finish('work 1');
  expect(order.slice(2)).toEqual(['look 1 begins', 'look 2 begins']);
  const second = turns.alone(gated('work 2'));
  const third = turns.together(gated('look 3'), signal); // behind the work that waits already
  await finish('look 1');
  expect(order).not.toContain('work 2 begins');
  await finish('look 2');
  expect(order.at(-1)).toBe('work 2 begins');
  await finish('work 2');
  await finish('look 3');
  await Promise.all([first, second, third, ...looks]);
  expect(order.slice(-2)).toEqual(['look 3 begins', 'look 3 ends']);
});

test('a look that waits no longer leaves no trace, and failures give the turn on', async () => {
  const turns = new Turns();
  const working = Promise.withResolvers<void>();
  const work = turns.alone(() => working.promise);
  const patience = new AbortController();
  const late = turns.together(() => Promise.resolve('seen'), patience.signal);
  patience.abort(new Error('too late'));
  await expect(late).rejects.toThrow('too late');
  working.reject(new Error('the store is gone'));
  await expect(work).rejects.toThrow('the store is gone');
  await expect(turns.together(() => Promise.reject(new Error('no answer')), signal)).rejects.toThrow('no answer');
  expect(await turns.alone(() => Promise.resolve('done'))).toBe('done');
});
