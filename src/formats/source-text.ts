/** The text of a source's bytes, and whether bytes had to be replaced because they are not valid in its encoding. */
export type SourceText = { readonly text: string; readonly replaced: boolean };

/**
 * Decodes by the byte-order mark: UTF-16 (what PowerShell's `>` writes) or UTF-8, else UTF-8. The mark is dropped;
 * invalid bytes become U+FFFD, so that one bad process name does not cost the file.
 */
export function sourceText(bytes: Uint8Array): SourceText {
  const encoding =
    bytes[0] === 0xff && bytes[1] === 0xfe ? 'utf-16le' : bytes[0] === 0xfe && bytes[1] === 0xff ? 'utf-16be' : 'utf-8';
  const text = new TextDecoder(encoding).decode(bytes);
  return { text, replaced: text.includes('\ufffd') };
}
