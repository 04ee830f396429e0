import type { Bus } from './ports.ts';

/** `bus` with some of its doors replaced; the rest goes through. */
export function busOver(bus: Bus, changes: Partial<Pick<Bus, 'publish' | 'consume' | 'backlog'>>): Bus {
  return {
    publish: (batch, signal) => bus.publish(batch, signal),
    consume: (handle, signal, noteAside) => bus.consume(handle, signal, noteAside),
    backlog: () => bus.backlog(),
    ...(bus.reach && { reach: bus.reach.bind(bus) }),
    ...(bus.betweenDeliveries && { betweenDeliveries: bus.betweenDeliveries.bind(bus) }),
    [Symbol.asyncDispose]: () => bus[Symbol.asyncDispose](),
    ...changes,
  };
}
