import type { Control } from '../core/ports.ts';

/** `control`, whose every refusal of a lease calls `onOther`: another process has it, and speaks for all of them. */
export function leaseWatch(control: Control, onOther: () => void): Control {
  return {
    transaction: (work) => control.transaction(work),
    lease: async (name, holder, ttl_ms) => {
      const is_held = await control.lease(name, holder, ttl_ms);
      if (!is_held) onOther();
      return is_held;
    },
    release: (name, holder) => control.release(name, holder),
    [Symbol.asyncDispose]: () => control[Symbol.asyncDispose](),
  };
}
