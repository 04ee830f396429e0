import type { QueryParameters } from '../core/ports.ts';

/** Messages between the store and the child that owns the data directory. */
export type ChildRequest = { readonly id: number; readonly sql: string } & (
  | { readonly kind: 'command' }
  | { readonly kind: 'rows'; readonly json_lines: string }
  | { readonly kind: 'select'; readonly parameters: QueryParameters }
);

export type ChildReply =
  | { readonly kind: 'ready' }
  | { readonly kind: 'refused'; readonly reason: string }
  | { readonly kind: 'done'; readonly id: number; readonly json_lines: string }
  | { readonly kind: 'failed'; readonly id: number; readonly engine_code: number; readonly reason: string };
