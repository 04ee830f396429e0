/** An element: its text and children by tag, or a list where a tag repeats. Attributes carry the prefix `@_`. */
export type XmlNode = string | readonly XmlNode[] | XmlElement;
export type XmlElement = { readonly [tag: string]: XmlNode };

/**
 * Reads a whole document as plain values, elements named in `without` cut out unread. Throws LW-INPUT when it is not
 * well-formed, too large or hostile. The package behind it is a door's business; decoders take it as a function.
 */
export type XmlRead = (text: string, without: readonly string[]) => XmlElement;

/** The five entities of XML 1.0 section 4.6, once: `&amp;lt;` is the text `&lt;`. */
export function plainText(text: string): string {
  const entities: Readonly<Record<string, string>> = { lt: '<', gt: '>', amp: '&', quot: '"', apos: "'" };
  return text.replace(/&(lt|gt|amp|quot|apos);/g, (_, name: string) => entities[name] ?? '');
}
