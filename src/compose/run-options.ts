/** How a role is run. */
export type RunOptions = {
  /** SIGTERM or SIGINT: drain and end within 10 s. */
  readonly signal: AbortSignal;
  /** Called once when everything listens. */
  readonly onReady?: (address: { readonly url: string }) => void;
};
