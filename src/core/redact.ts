/** Masks what may be a secret inside a text: credentials and queries of addresses, signing secrets, tokens. */
export function redact(value: unknown): unknown {
  if (typeof value !== 'string') return value;
  return value
    .replace(/^([a-z][a-z0-9+.-]*:\/\/)[^/@\s]*@/i, '$1***@')
    .replace(/^(https?:\/\/[^?\s]*\?).+$/i, '$1***')
    .replace(/whsec_[A-Za-z0-9+/=_-]+|lw_[A-Za-z0-9.-]+_[A-Za-z0-9_-]{8,}/g, '***');
}
