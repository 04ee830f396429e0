import type { Static, TSchema } from 'typebox';
import { Compile } from 'typebox/compile';

/** A problem as the schema library reports it: where (JSON pointer), what, and the fields that it names. */
export type SchemaProblem = { readonly instancePath: string; readonly message: string; readonly params?: object };

/** A schema ready to check values. Compiled at the first use, so that importing one costs nothing. */
export type CompiledSchema<Schema extends TSchema> = {
  readonly check: (value: unknown) => value is Static<Schema>;
  readonly problems: (value: unknown) => readonly SchemaProblem[];
};

/** Makes a checker of a TypeBox schema. */
export function compiled<const Schema extends TSchema>(schema: Schema): CompiledSchema<Schema> {
  type Checker = { Check(value: unknown): boolean; Errors(value: unknown): readonly SchemaProblem[] };
  let checker: Checker | null = null;
  const ready = (): Checker => {
    checker ??= Compile(schema);
    return checker;
  };
  return {
    check: (value): value is Static<Schema> => ready().Check(value),
    problems: (value) => ready().Errors(value),
  };
}
