import type { LetterContents } from '../../transport/spool-letters.ts';

/** One thing that was set aside, wherever it lies; `list --format json` prints these, `raw` as base64. */
export type Letter = {
  readonly id: string;
  /** `rejected`: refused by the store; `damaged`, `unreadable`: the bytes are no frame. */
  readonly kind: 'rejected' | 'damaged' | 'unreadable';
  readonly table: string | null;
  readonly bytes: number;
  readonly frames: number;
  readonly rows: number;
  readonly contents: readonly LetterContents[];
  readonly code: string | null;
  readonly reason: string | null;
  readonly set_aside_at_ms: number | null;
  /** Null: `replay` takes it; else why it does not. */
  readonly not_replayable: string | null;
  /** The first bytes, capped. */
  readonly raw: Buffer;
};

/** A letter that was put back on the path to the store. */
export type Replayed = { readonly id: string; readonly rows: number };

/** Where letters lie. */
export type LetterBox = AsyncDisposable & {
  /** The place, in words. */
  readonly place: string;
  /** Letters that were not replayed, the oldest first. */
  list(): Promise<readonly Letter[]>;
  /** Puts letters back; all of them exist and are replayable. */
  replay(letters: readonly Letter[]): Promise<readonly Replayed[]>;
  /** What happens next, for a person. */
  readonly next: string;
};
