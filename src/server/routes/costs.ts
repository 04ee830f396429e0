import { partsOf } from '../page.ts';
import { defineRoute, type Route } from '../route.ts';
import { COSTS, COSTS_EXPLAIN, COSTS_EXPLAIN_QUERY, COSTS_QUERY } from '../shapes/operation.ts';

/** The ledger: what was billed, to whom it belongs, and why. */
export const costRoutes: readonly Route[] = [
  defineRoute({
    method: 'GET',
    path: '/api/v1/costs',
    scope: 'read',
    summary: 'Cost by tenant and category; the items sum to the bill exactly',
    query: COSTS_QUERY,
    answer: COSTS,
    run: ({ query }, { services }) => {
      const { group_by, ...rest } = query;
      return services.read.costs({ ...rest, group_by: partsOf(group_by) });
    },
  }),
  defineRoute({
    method: 'GET',
    path: '/api/v1/costs/explain',
    scope: 'read',
    summary: 'The segments behind an hour of an asset',
    query: COSTS_EXPLAIN_QUERY,
    answer: COSTS_EXPLAIN,
    run: ({ query }, { services }) => services.read.explainCost(query),
  }),
];
