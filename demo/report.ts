/** What `leeway demo --report FILE` writes (contract: the README of demo/). `null` = not found or not measured. */
export type DemoReport = {
  readonly version: 1;
  readonly seed: number;
  readonly training: {
    ranks: number;
    slow_rank: number;
    detected_rank: number | null;
    detected_after_s: number | null;
    cleared_after_s: number | null;
    false_incidents: number;
  };
  readonly serving: {
    drift: string;
    accuracy_before: number | null;
    accuracy_drifted: number | null;
    accuracy_after: number | null;
    detected_after_s: number | null;
    decision: string | null;
    gates: readonly unknown[];
    retrained_version: string | null;
    confirmed: boolean | null;
  };
  readonly cost: { billed_nano_usd: string | null; allocated_nano_usd: string | null; idle_nano_usd: string | null };
  readonly delivery: {
    emitted: number | null;
    stored: number | null;
    duplicates: number | null;
    declared_loss: number | null;
  };
  readonly notifications: { sink: string; kind: string; status: 'delivered' | 'retrying' | 'failed' }[];
};

/** A report in which nothing has been found yet. */
export function emptyReport(of: { seed: number; ranks: number; slow_rank: number; drift: string }): DemoReport {
  return {
    version: 1,
    seed: of.seed,
    training: {
      ranks: of.ranks,
      slow_rank: of.slow_rank,
      detected_rank: null,
      detected_after_s: null,
      cleared_after_s: null,
      false_incidents: 0,
    },
    serving: {
      drift: of.drift,
      accuracy_before: null,
      accuracy_drifted: null,
      accuracy_after: null,
      detected_after_s: null,
      decision: null,
      gates: [],
      retrained_version: null,
      confirmed: null,
    },
    cost: { billed_nano_usd: null, allocated_nano_usd: null, idle_nano_usd: null },
    delivery: { emitted: null, stored: null, duplicates: null, declared_loss: null },
    notifications: [],
  };
}

/** Accuracy after retraining may stay this much below that before the drift. */
const ACCURACY_SLACK = 0.05;

/** Why the report is no success, in words; empty = every planted thing was found and everything adds up. */
export function failuresOf({ training, serving, cost, delivery, notifications }: DemoReport): string[] {
  const failures: string[] = [];
  const demand = (holds: boolean, what: string): void => {
    if (!holds) failures.push(what);
  };
  demand(
    training.detected_rank === training.slow_rank,
    `slow rank ${training.slow_rank} was planted, ${training.detected_rank} detected`,
  );
  demand(training.cleared_after_s !== null, 'the slow rank incident did not clear');
  demand(training.false_incidents === 0, `${training.false_incidents} false incidents`);
  demand(serving.detected_after_s !== null, `drift ${serving.drift} was not detected`);
  demand(serving.retrained_version !== null, 'no version was retrained');
  demand(serving.confirmed === true, 'the retraining was not confirmed');
  const { accuracy_before: before, accuracy_drifted: during, accuracy_after: after } = serving;
  demand(before !== null && during !== null && during < before, `accuracy did not fall (${before} to ${during})`);
  demand(
    before !== null && after !== null && after >= before - ACCURACY_SLACK,
    `accuracy did not come back (${before} to ${after})`,
  );
  demand(cost.billed_nano_usd !== null && addsUp(cost), 'the ledger does not add up to the bill');
  demand(
    delivery.emitted !== null && delivery.emitted === delivery.stored,
    `${delivery.emitted} records emitted, ${delivery.stored} stored`,
  );
  demand(delivery.duplicates === 0, `${delivery.duplicates} duplicates`);
  demand(delivery.declared_loss === 0, `${delivery.declared_loss} records declared lost`);
  const undelivered = notifications.filter((item) => item.status !== 'delivered').length;
  demand(
    notifications.length > 0 && undelivered === 0,
    `${undelivered} of ${notifications.length} notifications not delivered`,
  );
  return failures;
}

function addsUp({ billed_nano_usd, allocated_nano_usd, idle_nano_usd }: DemoReport['cost']): boolean {
  return (
    BigInt(billed_nano_usd ?? 0) === BigInt(allocated_nano_usd ?? 0) + BigInt(idle_nano_usd ?? 0) &&
    BigInt(billed_nano_usd ?? 0) > 0n
  );
}
