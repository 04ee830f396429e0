import { expect, test } from 'vitest';
import { type PlannedRole, ROLE_PLANS } from '../../src/compose/role-plan.ts';
import { bearer, createFixture } from '../server/fixture.ts';

const ROLES = ['all', 'gateway', 'worker', 'console'] as const satisfies readonly PlannedRole[];

test.each(ROLES)('role %s serves health, readiness and metrics, those for the scope read alone', async (role) => {
  await using server = await createFixture({ tokens: true, serves: ROLE_PLANS[role].serves });
  const statusOf = async (url: string, scope: string | null): Promise<number> =>
    (await server.app.inject({ url, headers: scope === null ? {} : bearer(scope) })).statusCode;
  expect([await statusOf('/healthz', null), await statusOf('/readyz', null)]).toEqual([200, 200]);
  expect([await statusOf('/metrics', null), await statusOf('/metrics', 'ingest')]).toEqual([401, 403]);
  expect(await statusOf('/metrics', 'read')).toBe(200);
});

test('a worker answers nothing else, a gateway what takes records, a console all but that', async () => {
  const served = async (role: PlannedRole): Promise<string[]> => {
    await using server = await createFixture({ serves: ROLE_PLANS[role].serves });
    return server.routes.map(({ path }) => path).filter((path) => !['/healthz', '/readyz', '/metrics'].includes(path));
  };
  const all = await served('all');
  const gateway = await served('gateway');
  expect(await served('worker')).toEqual([]);
  expect(gateway).toContain('/v1/events');
  expect(gateway.every((path) => !path.startsWith('/api/v1/') || path === '/api/v1/write')).toBe(true);
  expect(await served('console')).toEqual(all.filter((path) => !gateway.includes(path)));
});
