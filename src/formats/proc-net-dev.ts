/** Cumulative bytes of one network device. */
export type DeviceBytes = { readonly device: string; readonly rx_bytes: number; readonly tx_bytes: number };

/** Devices of /proc/net/dev in their order; lines that are none are passed over. Source: proc_pid_net(5). */
export function parseNetDev(text: string): DeviceBytes[] {
  return text.split('\n').flatMap((line) => {
    const match = /^\s*([^\s|:]{1,64}(?::[^\s|:]{1,64})?):\s*(\d+(?:\s+\d+){15})\s*$/.exec(line);
    if (match === null) return [];
    const counters = (match[2] ?? '').split(/\s+/).map(Number);
    return [{ device: match[1] ?? '', rx_bytes: counters[0] ?? 0, tx_bytes: counters[8] ?? 0 }];
  });
}
