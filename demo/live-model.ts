import { LeewayError } from '../src/core/errors.ts';
import type { Instrumented } from './instrument.ts';
import { openSession, type Session } from './onnx-session.ts';

/** A version in service: its bare session and the instrumented one around it. */
export type LiveVersion = { readonly version: string; readonly session: Session; readonly instrumented: Instrumented };

type Held = LiveVersion & { users: number; retired: boolean };

/** Puts the instrumentation around a new session of `version`. */
export type Wrap = (session: Session, version: string) => Instrumented;

/**
 * The model in service, exchangeable while requests run: a new session is created and warmed beside the old one, then takes
 * its place; the old one is released after its last request. No request sees a released session.
 */
export class LiveModel {
  readonly #wrap: Wrap;
  #current: Held | null = null;

  constructor(wrap: Wrap) {
    this.#wrap = wrap;
  }

  /** The version that the next request gets, or null before the first deployment. */
  get version(): string | null {
    return this.#current?.version ?? null;
  }

  /** Emits what the version in service has measured since the last call. */
  flush(): void {
    this.#current?.instrumented.flush();
  }

  /** Exchanges the model; returns the version before. Throws LW-INPUT when the bytes are no model of ours; then nothing changed. */
  async deploy(version: string, onnx: Uint8Array): Promise<string | null> {
    const next = await this.#open(version, onnx);
    const previous = this.#current;
    this.#current = next;
    if (previous === null) return null;
    previous.retired = true;
    await release(previous);
    return previous.version;
  }

  /** Runs `work` on the current version, which stays loaded until the work has ended. Throws LW-OVERLOADED before the first deployment. */
  async use<Result>(work: (live: LiveVersion) => Promise<Result>): Promise<Result> {
    const held = this.#current;
    if (held === null) throw new LeewayError('LW-OVERLOADED', 'no model is deployed yet; try again');
    held.users++;
    try {
      return await work(held);
    } finally {
      held.users--;
      await release(held);
    }
  }

  async #open(version: string, onnx: Uint8Array): Promise<Held> {
    try {
      const session = await openSession(onnx);
      return { version, session, instrumented: this.#wrap(session, version), users: 0, retired: false };
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new LeewayError('LW-INPUT', `version ${version}: not a usable ONNX model: ${reason.slice(0, 300)}`, {
        cause,
      });
    }
  }
}

async function release(held: Held): Promise<void> {
  if (!held.retired || held.users > 0) return;
  held.retired = false; // once
  held.instrumented.flush();
  await held.session.release();
}
