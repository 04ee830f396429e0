/** Database of the telemetry tables. */
export const DATABASE = 'leeway';

/** The ledger's plain name, where no quotes are taken. */
export const FRAMES = `${DATABASE}.frames`;

/** An identifier in back quotes. Names come from core/tables.ts only. */
export function quoted(name: string): string {
  return `\`${name.replaceAll('\\', '\\\\').replaceAll('`', '\\`')}\``;
}

/** A string literal. */
export function literal(text: string): string {
  return `'${text.replaceAll('\\', '\\\\').replaceAll("'", "\\'")}'`;
}
