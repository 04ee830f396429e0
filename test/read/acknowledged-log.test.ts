import { describe } from 'vitest';
import { openSqliteControl } from '../../src/control/sqlite.ts';
import { ManualClock } from '../../src/core/clock.ts';
import { acknowledgedContract } from '../contract/acknowledged.ts';

describe('the log of the acknowledged in sqlite', () =>
  acknowledgedContract(() => openSqliteControl({ data_dir: ':memory:', clock: new ManualClock() })));
