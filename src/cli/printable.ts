/** Text for a terminal: names come from files and records, and a control character in them must not steer it. Lines stay. */
export function printable(text: string): string {
  return text.replace(/[^\P{Cc}\n]/gu, '\ufffd');
}
