import { afterAll, beforeAll, describe } from 'vitest';
import { openPostgresControl } from '../../src/control/postgres.ts';
import { systemClock } from '../../src/core/clock.ts';
import { systemRandom } from '../../src/core/random.ts';
import { controlContract } from '../contract/control.ts';
import { POSTGRES_MISSING, PostgresServer } from '../contract/postgres-server.ts';

describe.skipIf(POSTGRES_MISSING !== null)(`PostgreSQL ${POSTGRES_MISSING ?? ''}`, () => {
  let server: PostgresServer;
  let schemas = 0;
  beforeAll(async () => {
    server = await PostgresServer.start();
  });
  afterAll(() => server[Symbol.asyncDispose]());

  describe('the contract', () =>
    controlContract((clock) =>
      openPostgresControl({
        url: server.url,
        schema: `contract_${++schemas}`,
        clock: systemClock,
        random: systemRandom,
        lease_clock: clock,
      }),
    ));
});
