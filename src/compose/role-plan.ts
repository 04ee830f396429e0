import type { LoadedConfig } from '../config.ts';
import { type ErrorDetail, LeewayError } from '../core/errors.ts';
import type { Route } from '../server/route.ts';

/** What a role opens, runs and answers. */
export type RolePlan = {
  /** Whether it opens the bus and the store; every role has the control store. */
  readonly bus: boolean;
  readonly store: boolean;
  /** Whether it runs this machine's collectors. */
  readonly collects: boolean;
  /** Whether it stores, analyses, delivers and retrains. */
  readonly works: boolean;
  readonly serves: (route: Pick<Route, 'scope' | 'documented'>) => boolean;
};

const isProbe = ({ scope, documented }: Pick<Route, 'scope' | 'documented'>): boolean => scope === null && documented;

export const ROLE_PLANS = {
  all: { bus: true, store: true, collects: true, works: true, serves: () => true },
  gateway: {
    bus: true,
    store: false,
    collects: false,
    works: false,
    serves: (route) => route.scope === 'ingest' || isProbe(route),
  },
  worker: { bus: true, store: true, collects: false, works: true, serves: isProbe },
  console: {
    bus: false,
    store: true,
    collects: false,
    works: false,
    serves: (route) => route.scope !== 'ingest',
  },
} as const satisfies Record<string, RolePlan>;

export type PlannedRole = keyof typeof ROLE_PLANS;

/** Roles that share their work with other processes need doors that processes share. Throws LW-CONFIG with each that is not. */
export function assertShared(role: PlannedRole, { config }: LoadedConfig): void {
  if (role === 'all') return;
  const plan = ROLE_PLANS[role];
  const errors: ErrorDetail[] = [];
  const wants = (path: string, got: string, expected: string): void => {
    if (got !== expected) errors.push({ path, got: `"${got}"`, expected: `"${expected}" with --role ${role}` });
  };
  if (plan.bus) wants('bus.kind', config.bus.kind, 'kafka');
  if (plan.store) wants('store.kind', config.store.kind, 'clickhouse');
  wants('control.kind', config.control.kind, 'postgres');
  if (errors.length === 0) return;
  throw new LeewayError(
    'LW-CONFIG',
    `--role ${role} shares its bus, store and control store with other processes; use --role all on one machine`,
    { errors },
  );
}
