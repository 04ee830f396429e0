import { XMLParser, XMLValidator } from 'fast-xml-parser';
import { notDecodable } from '../formats/decode-result.ts';
import type { XmlElement } from '../formats/xml-node.ts';

/** Characters of a document: a GPU prints up to 125,000, a host holds at most 16, times eight for what is to come. */
const XML_CHARACTERS_MAX = 16 * 1_048_576;
/** Elements inside elements: nvidia-smi nests 6 deep. */
const XML_DEPTH_MAX = 32;

/**
 * A well-formed XML document as plain values, nothing converted. Entities are never expanded beyond the five of XML
 * itself; a document that declares its own is refused before it is parsed (billion laughs, external entities).
 * `without` = elements cut out unread (each to its first closing tag).
 * Throws LW-INPUT: too large, declares entities, nested too deep, not well-formed.
 */
export function parseXml(text: string, without: readonly string[] = []): XmlElement {
  if (text.length > XML_CHARACTERS_MAX)
    throw notDecodable(`${text.length} characters of XML`, `at most ${XML_CHARACTERS_MAX}`);
  if (/<!ENTITY/i.test(text)) throw notDecodable('the XML declares entities', 'none');
  const kept = without.reduce(withoutElement, text);
  const depth = depthOf(kept);
  if (depth > XML_DEPTH_MAX) throw notDecodable('elements nested too deep', `at most ${XML_DEPTH_MAX} levels`);
  const valid = validity(kept);
  if (valid !== null) throw notDecodable(`the XML is cut off or malformed (${valid})`, 'a whole document');
  return parsed(kept);
}

function validity(text: string): string | null {
  const result = XMLValidator.validate(text);
  return result === true ? null : `${result.err.code} in line ${result.err.line}`;
}

function parsed(text: string): XmlElement {
  const parser = new XMLParser({
    ignoreAttributes: false,
    parseTagValue: false,
    parseAttributeValue: false,
    processEntities: false,
    htmlEntities: false,
    trimValues: true,
    maxNestedTags: XML_DEPTH_MAX + 1,
  });
  try {
    const document: unknown = parser.parse(text);
    return document as XmlElement; // parse door: every value is set to stay a string above
  } catch {
    throw notDecodable('the XML cannot be parsed', 'a well-formed document'); // the parser's own errors quote the input
  }
}

function withoutElement(text: string, tag: string): string {
  const open = `<${tag}>`;
  const close = `</${tag}>`;
  let kept = '';
  let from = 0;
  for (let at = text.indexOf(open); at !== -1; at = text.indexOf(open, from)) {
    const end = text.indexOf(close, at);
    if (end === -1) break;
    kept += text.slice(from, at);
    from = end + close.length;
  }
  return kept + text.slice(from);
}

/** The deepest nesting of tags, counted without parsing. O(length). */
function depthOf(text: string): number {
  let depth = 0;
  let deepest = 0;
  for (let at = text.indexOf('<'); at !== -1; at = text.indexOf('<', at + 1)) {
    const next = text[at + 1];
    if (next === '/') depth--;
    else if (next !== '!' && next !== '?' && text[text.indexOf('>', at) - 1] !== '/') depth++;
    if (depth > deepest) deepest = depth;
    if (deepest > XML_DEPTH_MAX) return deepest;
  }
  return deepest;
}
