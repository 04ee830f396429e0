/** Why a loop ended before it was told to. */
export type Broken = { readonly error: unknown };

/**
 * Waits until `signal` fires (null) or the first of `loops` fails. A service of which a part is dead must not pass for a
 * living one: whoever waits ends it with the failure, and its supervisor starts it again. Failures after the signal are the
 * caller's. A loop that merely ends had nothing to do.
 */
export function untilBroken(loops: readonly Promise<void>[], signal: AbortSignal): Promise<Broken | null> {
  const { promise, resolve } = Promise.withResolvers<Broken | null>();
  if (signal.aborted) resolve(null);
  signal.addEventListener('abort', () => resolve(null), { once: true });
  for (const loop of loops) loop.catch((error: unknown) => resolve({ error }));
  return promise;
}
