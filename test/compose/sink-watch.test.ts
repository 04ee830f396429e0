import { expect, test } from 'vitest';
import { judgeSink, judgeSinks } from '../../src/compose/sink-watch.ts';
import { SINK_STATES } from '../../src/control/collections.ts';
import { findingOf, ruleOf } from '../incident/fixtures.ts';
import { answer, destinationOf, type House, openHouse } from '../pipeline/desk-house.ts';

const signal = new AbortController().signal;
const ann = { actor: 'ann', note: '' };
const BOTH = new Set(['pager', 'chat']);
const RULES = [
  ruleOf(),
  ruleOf({ id: 'sink.disabled', finding: 'sink.disabled', fire: { above: 0.5 }, clear: { below: 0.5 } }),
];

/** Pager and chat, and the pager answered 410; `disabled` of the house is told, the desk is not, as if the process died. */
async function pagerGone(): Promise<House> {
  const house = await openHouse({ rules: RULES, destinations: [destinationOf('pager'), destinationOf('chat')] });
  house.door.answers.set('pager', [answer(410), answer(200)]);
  await house.desk.judge([findingOf(0.5)], house.clock.now_ms());
  await house.courier.deliverNext('pager', signal);
  return house;
}

async function stateOf(house: House): Promise<string | undefined> {
  return (await house.incidents()).find(({ rule }) => rule === 'sink.disabled')?.state;
}

test('a sink that answered 410 just before its process died is told elsewhere after the start', async () => {
  await using house = await pagerGone();
  const gone_ms = house.clock.now_ms();
  expect(await stateOf(house)).toBeUndefined();
  await house.clock.advance(60_000);
  for (let look = 0; look < 3; look++) await judgeSinks(house, BOTH);
  expect(await stateOf(house)).toBe('firing');
  const incident = (await house.incidents()).find(({ rule }) => rule === 'sink.disabled');
  expect(incident?.started_at_ms).toBe(gone_ms);
  while ((await house.courier.deliverNext('chat', signal)) !== null);
  expect(house.door.told('chat').map(({ type }) => type)).toEqual([
    'leeway.incident.opened',
    'leeway.incident.opened', // once, however often it is looked at
  ]);
});

test('looking again changes nothing of what the attempt itself told', async () => {
  await using house = await pagerGone();
  await judgeSink(house, 'pager', 'answered 410, gone');
  const before = await house.outbox();
  await judgeSinks(house, BOTH);
  expect(await house.outbox()).toEqual(before);
  expect(await stateOf(house)).toBe('firing');
});

test('an incident ends with a good test whose process died, and with a sink that is taken out', async () => {
  await using house = await pagerGone();
  await judgeSinks(house, BOTH);
  await house.courier.test('pager', ann, signal);
  expect((await house.control.transaction((tx) => tx.get(SINK_STATES, 'pager')))?.body.state).toBe('ok');
  for (let look = 0; look < 2; look++) await judgeSinks(house, BOTH); // recovering, resolved
  expect(await stateOf(house)).toBe('resolved');

  await using other = await pagerGone();
  await judgeSinks(other, BOTH);
  for (let look = 0; look < 2; look++) await judgeSinks(other, new Set(['chat']));
  expect(await stateOf(other)).toBe('resolved');
});

test('where nothing is disabled nothing is judged', async () => {
  await using house = await openHouse({ rules: RULES });
  await judgeSinks(house, BOTH);
  expect(await house.incidents()).toEqual([]);
});
