/** What a MIG instance takes of its GPU: `compute` of 7 compute slices, `memory` of 8 memory slices. */
export type MigSlice = { readonly compute: bigint; readonly memory: bigint };

const POSSIBLE = new Set(['1,1', '1,2', '2,2', '3,4', '4,4', '7,8']);
const PROFILE = /^(\d{1,9})g\.(\d{1,9})gb$/;

/**
 * The slices of a profile such as `3g.40gb` or `1g.10gb+me` on a GPU model, or null where the model has no MIG that we
 * know or the profile does not exist on it. Source: contracts/cost.md "Shares"; NVIDIA MIG user guide, profile tables.
 */
export function migSlice(profile: string, gpu_model: string): MigSlice | null {
  const total_gb = memoryOf(gpu_model);
  const match = PROFILE.exec(profile.split('+', 1)[0] ?? '');
  if (total_gb === null || match === null) return null;
  const compute = BigInt(match[1] ?? '0');
  const memory = (16n * BigInt(match[2] ?? '0') + total_gb) / (2n * total_gb); // round(8M/T), halves up
  return POSSIBLE.has(`${compute},${memory}`) ? { compute, memory } : null;
}

function memoryOf(gpu_model: string): bigint | null {
  if (gpu_model.includes('A100')) return gpu_model.includes('80GB') ? 80n : 40n;
  if (gpu_model.includes('H100')) return gpu_model.includes('NVL') ? 94n : gpu_model.includes('96GB') ? 96n : 80n;
  return gpu_model.includes('H200') ? 141n : null;
}
