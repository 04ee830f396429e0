const OFFSET = 0xcbf29ce484222325n;
const PRIME = 0x100000001b3n;
const MASK = 0xffffffffffffffffn;

/**
 * FNV-1a, 64 bits, as 16 hex digits (Fowler, Noll, Vo; draft-eastlake-fnv). Names things, proves nothing: at a million
 * incidents the chance of any collision is about 3e-8.
 */
export function hash64(text: string): string {
  let hash = OFFSET;
  for (const byte of new TextEncoder().encode(text)) hash = ((hash ^ BigInt(byte)) * PRIME) & MASK;
  return hash.toString(16).padStart(16, '0');
}

/** The id of an incident: the same rule, key and opening give the same id, on any machine, in any order of arrival. */
export function incidentId(rule: string, key: string, opening_ms: number): string {
  return `inc_${hash64(JSON.stringify([rule, key, opening_ms]))}`;
}

/** The id of a notification: the same event told to the same destination is the same notification. */
export function notificationId(subject: string, event: string, destination: string): string {
  const name = JSON.stringify([subject, event, destination]);
  return `msg_${hash64(name)}${hash64(`${name}#`)}`;
}
