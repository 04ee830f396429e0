/**
 * Loads a module of the console, `format.js` for instance. The console is plain JavaScript outside this type check, so
 * the caller says what shape it expects.
 */
export async function consoleModule<Shape>(name: string): Promise<Shape> {
  return (await import(new URL(`../../web/${name}`, import.meta.url).href)) as Shape; // the parse door of untyped modules
}
