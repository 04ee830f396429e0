import type { Bus } from './ports.ts';

/** `bus` with some of its doors replaced; the rest goes through. */
export function busOver(bus: Bus, changes: Partial<Pick<Bus, 'publish' | 'backlog'>>): Bus {
  return {
    publish: (batch, signal) => bus.publish(batch, signal),
    consume: (handle, signal) => bus.consume(handle, signal),
    backlog: () => bus.backlog(),
    ...(bus.betweenDeliveries && { betweenDeliveries: bus.betweenDeliveries.bind(bus) }),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
    ...changes,
  };
}
