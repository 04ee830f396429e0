import { expect, test } from 'vitest';
import { createFixture } from './fixture.ts';

test.each([
  ['incidents?status=bogus', 'query.status', 'a comma list of open, acknowledged, snoozed, resolved'],
  ['incidents?status=open,bogus', 'query.status', 'a comma list of open, acknowledged, snoozed, resolved'],
  ['incidents?severity=critical', 'query.severity', '"page" or "warn"'],
  ['incidents?state=open', 'query.state', '"firing"'],
  ['jobs?state=slow', 'query.state', '"running" or "slowed" or "hung" or "ended"'],
  ['sources?state=dead', 'query.state', '"live" or "silent" or "absent"'],
  ['sources?kind=nvidia', 'query.kind', '"collector" or "sender"'],
  ['models?status=drifted', 'query.status', '"drifting"'],
  ['decisions?state=approve', 'query.state', 'awaiting_approval'],
  ['retrain-runs?state=done', 'query.state', '"succeeded"'],
])('GET /api/v1/%s is a 400 that names the words: nothing could ever match', async (query, path, expected) => {
  await using fixture = await createFixture();
  const answer = await fixture.app.inject({ url: `/api/v1/${query}` });
  expect(answer.statusCode).toBe(400);
  expect(answer.json()).toMatchObject({
    code: 'LW-USAGE',
    errors: [{ path, expected: expect.stringContaining(expected) }],
  });
  expect(fixture.memory.calls).toEqual([]);
});

test.each([
  'incidents?status=open,acknowledged,snoozed,resolved',
  'incidents?status=',
  'incidents?severity=page&state=no_data&kind=anything_at_all',
  'jobs?state=hung&job=nobody',
  'sources?state=silent&kind=sender',
  'models?status=no_reference',
  'decisions?state=suppressed,deferred,suggested,awaiting_approval,approved,dispatched,expired,rejected,cancelled,confirmed,not_fixed',
  'retrain-runs?state=succeeded',
])('GET /api/v1/%s is answered: every word of the contract, and any text where the field is open', async (query) => {
  await using fixture = await createFixture();
  expect((await fixture.app.inject({ url: `/api/v1/${query}` })).statusCode).toBe(200);
});
