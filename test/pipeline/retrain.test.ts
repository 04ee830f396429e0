import { expect, test } from 'vitest';
import { AUDIT, RETRAIN_RUNS } from '../../src/control/collections.ts';
import {
  EPISODE,
  HOUR_MS,
  POLICY,
  WINDOW_MS,
  analysisOf,
  consider,
  coordinatorOf,
  decisionsOf,
  onlyDecision,
  openCoordinator,
  promoted,
  stateWith,
  told,
} from './coordinator.ts';

test('an episode is dispatched once, however often the analysis repeats and the service restarts', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  for (let time = 0; time < 5; time++) {
    await consider(house, retraining, analysisOf());
    await consider(house, coordinatorOf(house, POLICY), analysisOf());
    await house.clock.advance(1_000);
  }
  const decision = await onlyDecision(house);
  expect(decision).toMatchObject({ state: 'dispatched', attempt: 1, episode_id: 'inc_1@1767225600000' });
  expect(decision.dispatch_key).toBe('test:digits:inc_1@1767225600000:1');
  expect(await told(house)).toEqual(['requested to target:live']);
});

test('a crash at any write of a dispatch leaves nothing behind, and the next start dispatches once', async () => {
  const { house } = await openCoordinator();
  await using _ = house;
  for (let crash_at = 1; ; crash_at++) {
    let writes = 0;
    const crashed = await house.control
      .transaction(async (tx) => {
        const counting = new Proxy(tx, {
          get: (target, key) => {
            const value: unknown = Reflect.get(target, key);
            if (typeof value !== 'function') return value;
            return (...given: unknown[]): unknown => {
              if ((key === 'insert' || key === 'update') && ++writes === crash_at) throw new Error('the power went');
              return Reflect.apply(value, target, given);
            };
          },
        });
        await coordinatorOf(house, POLICY).consider(counting, analysisOf(), EPISODE);
      })
      .then(() => false)
      .catch(() => true);
    const sent = await told(house);
    expect(sent).toEqual(crashed ? [] : ['requested to target:live']);
    expect(await decisionsOf(house)).toHaveLength(crashed ? 0 : 1);
    if (!crashed) {
      expect(crash_at).toBe(5); // decision, run, decision again, outbox: four writes
      break;
    }
  }
});

test('the request carries exactly the fields of the contract', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const [row] = await house.outbox();
  const decision = await onlyDecision(house);
  expect(row?.body).toMatchObject({ type: 'leeway.retrain.requested', expires_at_ms: decision.expires_at_ms });
  const data = row?.body.data ?? {};
  expect(Object.keys(data)).toEqual(
    'decision_id dispatch_key model lineage episode_id attempt reason drift data gates budget expires_at_ms status_url cancel_url'.split(
      ' ',
    ),
  );
  expect(data['drift']).toEqual({
    model: 'digits',
    version: 'v1',
    incident_id: 'inc_1',
    detected_at_ms: EPISODE.opened_at_ms,
    estimated_start_ms: EPISODE.opened_at_ms - 4_000,
    features: [{ name: 'x', statistic: 'ks', value: 0.6, p_value: 1e-20, contribution: 1 }],
    segments: [],
    e_value: 1e9,
    samples_per_false_alarm: 1_000,
    estimated_metrics: { accuracy: { estimate: 0.7, low: 0.65, high: 0.75 } },
    reference: { version: 'v1', edges_id: 'v1:first-100' },
    url: 'http://leeway.test/incidents/inc_1',
    windows_drifted: 3,
    windows_assessed: 4,
  });
  expect(data['data']).toEqual({
    from_ms: EPISODE.opened_at_ms - 4_000,
    to_ms: house.clock.now_ms(),
    rows: 400,
    labelled_rows: 300,
  });
  expect(data['budget']).toEqual({ reserved_usd: '5.000000000' });
  for (const gate of data['gates'] as object[])
    expect(Object.keys(gate).toSorted()).toEqual(['gate', 'note', 'observed', 'result', 'threshold']);
});

test('what the cooldown holds back is a decision with gate cooldown defer, dispatched when it is over', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const { run_id } = await onlyDecision(house);
  await retraining.report(String(run_id), { state: 'failed', at_ms: 0, reason: 'out of memory' }, 'local');
  expect((await onlyDecision(house)).state).toBe('not_fixed');
  await consider(house, retraining, analysisOf());
  const [, held] = await decisionsOf(house);
  expect(held).toMatchObject({ state: 'deferred', attempt: 2, episode_id: 'inc_1@1767225600000' });
  expect(held?.gates.filter(({ result }) => result === 'defer').map(({ gate }) => gate)).toEqual(['cooldown']);
  await house.clock.advance(HOUR_MS - 1);
  await consider(house, retraining, analysisOf());
  expect((await decisionsOf(house))[1]?.state).toBe('deferred');
  await house.clock.advance(1);
  await consider(house, retraining, analysisOf());
  expect((await decisionsOf(house))[1]?.state).toBe('dispatched');
  expect(await told(house)).toEqual([
    'requested to target:live',
    'not_fixed to ops',
    'not_fixed to target:live',
    'requested to target:live',
  ]);
});

test('a person approves, rejects or cancels an open decision; a closed one is a conflict', async () => {
  const { house, retraining } = await openCoordinator({ mode: 'approve' });
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const { id, state } = await onlyDecision(house);
  expect(state).toBe('awaiting_approval');
  expect((await retraining.approve(id, 'token:mia', 'go')).state).toBe('approved');
  await expect(retraining.approve(id, 'token:mia', 'go')).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  await consider(house, retraining, analysisOf());
  const dispatched = await onlyDecision(house);
  expect(dispatched.state).toBe('dispatched');
  expect(dispatched.gates.find(({ gate }) => gate === 'approval')).toMatchObject({
    result: 'override',
    observed: 'token:mia',
  });
  await expect(retraining.close(id, 'token:mia', 'no', 'rejected')).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  expect((await retraining.close(id, 'token:mia', 'stop', 'cancelled')).state).toBe('cancelled');
  for (const verdict of ['rejected', 'cancelled'] as const)
    await expect(retraining.close(id, 'token:mia', 'no', verdict)).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  await expect(retraining.approve(id, 'token:mia', 'go')).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  await expect(retraining.approve('dec_none', 'token:mia', 'go')).rejects.toMatchObject({ code: 'LW-NOT-FOUND' });
  expect(await told(house)).toEqual(['requested to target:live', 'cancelled to target:live']);
  const audit = await house.control.transaction((tx) => tx.list(AUDIT, {}));
  expect(audit.map(({ body }) => [body.action, body.actor])).toEqual([
    ['decision.approve', 'token:mia'],
    ['decision.cancel', 'token:mia'],
  ]);
});

test('a cancelled run no longer counts as under way, though its pipeline never answers', async () => {
  const { house, retraining } = await openCoordinator({ cooldown_ms: 0 });
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const { id, run_id } = await onlyDecision(house);
  await retraining.close(id, 'token:mia', 'stop', 'cancelled');
  const run = await house.control.transaction((tx) => tx.get(RETRAIN_RUNS, String(run_id)));
  expect(run?.body).toMatchObject({ state: 'cancelled', reason: 'stop' });
  await consider(house, retraining, analysisOf(), { incident_id: 'inc_2', opened_at_ms: house.clock.now_ms() });
  expect((await decisionsOf(house)).map(({ state }) => state)).toContain('dispatched');
});

test('an open decision expires with its time, also when the model sends nothing any more', async () => {
  const { house, retraining } = await openCoordinator({ mode: 'approve', decision_ttl_ms: 10_000 });
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const { id } = await onlyDecision(house);
  await house.clock.advance(10_000);
  await expect(retraining.approve(id, 'token:mia', 'go')).rejects.toMatchObject({ code: 'LW-CONFLICT' });
  await house.control.transaction((tx) => retraining.expire(tx));
  expect((await onlyDecision(house)).state).toBe('expired');
  await consider(house, retraining, analysisOf());
  expect((await onlyDecision(house)).state).toBe('expired');
  expect(await told(house)).toEqual([]);
});

test('reports that repeat or come out of order change nothing', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const run_id = String((await onlyDecision(house)).run_id);
  const report = (state: 'running' | 'succeeded' | 'failed', version?: string) =>
    retraining.report(run_id, { state, at_ms: 0, ...(version === undefined ? {} : { version }) }, 'webhook:1');
  const running = await report('running');
  const decision = await onlyDecision(house);
  await house.clock.advance(1_000);
  expect(await report('running')).toEqual(running);
  expect(await onlyDecision(house)).toEqual(decision);
  const succeeded = await report('succeeded', 'v2');
  for (const state of ['running', 'failed', 'succeeded'] as const) expect(await report(state, 'v3')).toEqual(succeeded);
  expect((await onlyDecision(house)).events.map(({ kind }) => kind)).toEqual([
    'opened',
    'dispatched',
    'run_running',
    'run_succeeded',
  ]);
  await expect(retraining.report('run_none', { state: 'running', at_ms: 0 }, 'local')).rejects.toMatchObject({
    code: 'LW-NOT-FOUND',
  });
});

test('a success reported before the run was said to run is taken', async () => {
  const { house, retraining } = await openCoordinator();
  await using _ = house;
  await consider(house, retraining, analysisOf());
  const run_id = String((await onlyDecision(house)).run_id);
  const run = await retraining.report(run_id, { state: 'succeeded', at_ms: 0, version: 'v2' }, 'local');
  expect(run).toMatchObject({ state: 'succeeded', version: 'v2' });
});

async function succeed(version?: string) {
  const opened = await openCoordinator({ cooldown_ms: 0 });
  const { house, retraining } = opened;
  await consider(house, retraining, analysisOf());
  const run_id = String((await onlyDecision(house)).run_id);
  await house.clock.advance(60_000);
  await retraining.report(
    run_id,
    { state: 'succeeded', at_ms: 0, ...(version === undefined ? {} : { version }) },
    'local',
  );
  await house.clock.advance(60_000);
  return opened;
}

test('four windows of the new version that neither drift nor answer worse confirm it, to target and sinks', async () => {
  const { house, retraining } = await succeed('v2');
  await using _ = house;
  const from_ms = house.clock.now_ms() - 20_000;
  await consider(house, retraining, promoted('v2', from_ms, Array(3).fill({})), null);
  expect((await onlyDecision(house)).state).toBe('dispatched');
  await consider(house, retraining, promoted('v2', from_ms, [{}, { drifts: true }, {}, {}, { drifts: true }]), null);
  const decision = await onlyDecision(house);
  expect(decision).toMatchObject({
    state: 'confirmed',
    accuracy_before: 0.96,
    accuracy_drifted: 0.7,
    accuracy_after: 0.96,
  });
  expect(decision.after.map(({ drifted }) => drifted)).toEqual([false, true, false, false]);
  await consider(house, retraining, promoted('v2', from_ms, Array(9).fill({ drifts: true })), null);
  expect(await told(house)).toEqual(['requested to target:live', 'confirmed to ops', 'confirmed to target:live']);
  const row = (await house.outbox()).find(({ body }) => body.type === 'leeway.retrain.confirmed');
  expect(Object.keys(row?.body.data ?? {})).toEqual([
    'decision_id',
    'model',
    'version',
    'previous_version',
    'evidence',
  ]);
  expect(row?.body.data).toMatchObject({ decision_id: decision.id, version: 'v2', previous_version: 'v1' });
});

test.each([
  ['drift', [{ drifts: true }, {}, { drifts: true }, { drifts: true }]],
  // 80 right of 100 against 960 of 1,000: a fall of 16 points, exact p below 1e-8
  ['answer worse', [{ correct: 80 }, { correct: 80 }, { correct: 80 }, {}]],
])('three windows of four that %s mean not fixed, and the next attempt may come', async (_name, windows) => {
  const { house, retraining } = await succeed('v2');
  await using _ = house;
  await consider(house, retraining, promoted('v2', house.clock.now_ms() - 20_000, windows), null);
  expect((await onlyDecision(house)).state).toBe('not_fixed');
  expect(await told(house)).toEqual(['requested to target:live', 'not_fixed to ops', 'not_fixed to target:live']);
  await consider(house, retraining, analysisOf({ version: 'v2' }));
  expect((await decisionsOf(house)).map(({ attempt, state }) => [attempt, state])).toEqual([
    [1, 'not_fixed'],
    [2, 'dispatched'],
  ]);
});

test('windows too small to tell and those inside the new baseline confirm nothing', async () => {
  const { house, retraining } = await succeed('v2');
  await using _ = house;
  const analysis = promoted('v2', house.clock.now_ms() - 20_000, Array(6).fill({}));
  const known = analysis.state.versions[1];
  if (known !== undefined)
    known.windows = known.windows.slice(0, 3).map((window) => ({ ...window, status: 'insufficient', min_p: null }));
  await consider(house, retraining, analysis, null);
  expect((await onlyDecision(house)).state).toBe('dispatched');
});

test('windows wait for their labels, but not for ever', async () => {
  const { house, retraining } = await succeed('v2');
  await using _ = house;
  const analysis = promoted('v2', house.clock.now_ms() - 5_000, Array(4).fill({}));
  for (const version of analysis.state.versions)
    version.spans = version.spans.map((span) => ({ ...span, labelled: 79 }));
  await consider(house, retraining, analysis, null);
  expect((await onlyDecision(house)).state).toBe('dispatched');
  await house.clock.advance(10 * WINDOW_MS);
  await consider(house, retraining, analysis, null);
  expect((await onlyDecision(house)).state).toBe('confirmed');
});

test('a run that names no version is confirmed by the first version seen after its dispatch', async () => {
  const { house, retraining } = await succeed();
  await using _ = house;
  await consider(house, retraining, promoted('v2', house.clock.now_ms() - 20_000, Array(4).fill({})), null);
  expect((await onlyDecision(house)).state).toBe('confirmed');
});

test('where the version keeps its name only windows after the success count', async () => {
  const { house, retraining } = await succeed('v1');
  await using _ = house;
  const analysis = promoted('v1', house.clock.now_ms() - 62_000, Array(4).fill({ drifts: true }));
  const renamed = { ...analysis, state: stateWith(analysis.state.versions.slice(1)) };
  await consider(house, retraining, renamed, null);
  expect((await onlyDecision(house)).after).toHaveLength(2);
});

test('what is open for a version ends when another version serves', async () => {
  const { house, retraining } = await openCoordinator({ mode: 'approve' });
  await using _ = house;
  await consider(house, retraining, analysisOf());
  await consider(house, retraining, promoted('v2', 0, []), null);
  expect(await onlyDecision(house)).toMatchObject({ state: 'suppressed', reason: 'version v2 serves now' });
  await consider(house, retraining, analysisOf({ version: 'v2' }));
  expect((await decisionsOf(house)).map(({ version, state }) => [version, state])).toEqual([
    ['v1', 'suppressed'],
    ['v2', 'awaiting_approval'],
  ]);
});

test('mode off suppresses once an episode and tells nobody', async () => {
  const { house, retraining } = await openCoordinator({ mode: 'off' });
  await using _ = house;
  for (let time = 0; time < 3; time++) await consider(house, retraining, analysisOf());
  expect((await onlyDecision(house)).state).toBe('suppressed');
  expect(await told(house)).toEqual([]);
});
