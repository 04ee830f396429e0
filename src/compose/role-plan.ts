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
  /** What must answer for it to be ready: without that a load balancer had better send to another one. */
  readonly needs: readonly ('bus' | 'store' | 'control')[];
  readonly serves: (route: Served) => boolean;
  /**
   * What its /metrics has beside what it does itself: figures of the control store, which all processes share, and costs, for
   * which all cost records are in memory.
   */
  readonly shows: { readonly shared: boolean; readonly costs: boolean };
};

type Served = Pick<Route, 'scope' | 'documented' | 'path'>;

/** What every process that listens tells of itself. */
const isOfItself = ({ scope, documented, path }: Served): boolean =>
  (scope === null && documented) || path === '/metrics';

export const ROLE_PLANS = {
  all: {
    bus: true,
    store: true,
    collects: true,
    works: true,
    needs: ['bus', 'store', 'control'],
    serves: () => true,
    shows: { shared: true, costs: true },
  },
  gateway: {
    bus: true,
    store: false,
    collects: false,
    works: false,
    needs: ['bus'], // records are acknowledged without a control store
    serves: (route) => route.scope === 'ingest' || isOfItself(route),
    shows: { shared: false, costs: false },
  },
  worker: {
    bus: true,
    store: true,
    collects: false,
    works: true,
    needs: ['bus', 'store', 'control'],
    serves: isOfItself,
    shows: { shared: true, costs: false },
  },
  console: {
    bus: false,
    store: true,
    collects: false,
    works: false,
    needs: ['store', 'control'],
    serves: (route) => route.scope !== 'ingest',
    shows: { shared: true, costs: true },
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
