/** What one line of CSV holds: its fields, or why not. `open` = a quoted field goes on in the next line. */
export type CsvLine =
  | { readonly kind: 'fields'; readonly fields: string[] }
  | { readonly kind: 'open' }
  | { readonly kind: 'bad' };

/**
 * Splits a line (or several joined by "\n", after `open`) into fields. RFC 4180: a field that begins with a quote ends
 * with one, doubled quotes stand for one. A quote inside an unquoted field is kept as it is.
 */
export function splitCsv(text: string): CsvLine {
  if (!text.includes('"')) return { kind: 'fields', fields: text.split(',') };
  const fields: string[] = [];
  let at = 0;
  for (;;) {
    if (text[at] !== '"') {
      const comma = text.indexOf(',', at);
      fields.push(comma < 0 ? text.slice(at) : text.slice(at, comma));
      if (comma < 0) return { kind: 'fields', fields };
      at = comma + 1;
      continue;
    }
    const end = closingQuote(text, at + 1);
    if (end < 0) return { kind: 'open' };
    fields.push(text.slice(at + 1, end).replaceAll('""', '"'));
    if (end + 1 === text.length) return { kind: 'fields', fields };
    if (text[end + 1] !== ',') return { kind: 'bad' };
    at = end + 2;
  }
}

function closingQuote(text: string, from: number): number {
  let at = from;
  for (;;) {
    const quote = text.indexOf('"', at);
    if (quote < 0 || text[quote + 1] !== '"') return quote;
    at = quote + 2;
  }
}
