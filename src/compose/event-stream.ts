import type { StreamEvent } from '../server/services.ts';

/** The hub of `GET /api/v1/stream`. */
export class EventStream {
  readonly #listeners = new Set<(event: StreamEvent) => void>();

  subscribe(listener: (event: StreamEvent) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  emit(event: StreamEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
