import { compareUtf8 } from '../core/canonical.ts';
import type { Fraction } from '../core/rational.ts';
import type { MigSlice } from './mig.ts';
import type { ClaimRecord, Mode } from './record.ts';

/** A claim that passed the checks against its asset; `slice` is set for mode `mig`. */
export type Claim = { readonly record: ClaimRecord; readonly slice: MigSlice | null };

type Life = { readonly gpus: bigint; readonly from_us: bigint; readonly to_us: bigint };
type Occupied = { mode: Mode; claims: Set<Claim> };

/**
 * Decides claim by claim, in order of (from, canonical JSON), whether the asset can hold it at the first instant of
 * the claim within the asset's life, beside those already taken. Returns the claims taken and those refused with the
 * reason. An asset without GPUs holds any number. Source: contracts/cost.md "Capacity".
 */
export function admitClaims(
  life: Life,
  claims: readonly Claim[],
): { taken: Claim[]; refused: { claim: Claim; reason: string }[] } {
  const ordered = [...claims].sort((a, b) => byStart(a.record, b.record));
  const taken: Claim[] = [];
  const refused: { claim: Claim; reason: string }[] = [];
  const occupancy = new Occupancy(life.gpus);
  for (const claim of ordered) {
    const from_us = claim.record.from_us > life.from_us ? claim.record.from_us : life.from_us;
    const to_us = claim.record.to_us < life.to_us ? claim.record.to_us : life.to_us;
    const counts = from_us < to_us && life.gpus > 0n;
    if (counts) occupancy.release(from_us);
    const reason = counts ? occupancy.refusal(claim) : null;
    if (reason !== null) refused.push({ claim, reason });
    else {
      taken.push(claim);
      if (counts) occupancy.take(claim, to_us);
    }
  }
  return { taken, refused };
}

function byStart(a: ClaimRecord, b: ClaimRecord): number {
  if (a.from_us !== b.from_us) return a.from_us < b.from_us ? -1 : 1;
  return compareUtf8(a.canonical, b.canonical);
}

class Occupancy {
  readonly #gpus: bigint;
  readonly #held = new Map<bigint, Occupied>();
  #active: { claim: Claim; to_us: bigint }[] = [];
  #unindexed = 0n;
  #next_end_us: bigint | null = null;

  constructor(gpus: bigint) {
    this.#gpus = gpus;
  }

  /** Frees what ended at or before `at_us`. */
  release(at_us: bigint): void {
    if (this.#next_end_us === null || at_us < this.#next_end_us) return;
    const staying: { claim: Claim; to_us: bigint }[] = [];
    this.#next_end_us = null;
    for (const entry of this.#active) {
      if (entry.to_us <= at_us) this.#free(entry.claim);
      else {
        staying.push(entry);
        if (this.#next_end_us === null || entry.to_us < this.#next_end_us) this.#next_end_us = entry.to_us;
      }
    }
    this.#active = staying;
  }

  take(claim: Claim, to_us: bigint): void {
    const indexes = claim.record.gpu_indexes;
    if (indexes === null) this.#unindexed += claim.record.gpus;
    for (const index of indexes ?? []) {
      const held = this.#held.get(index);
      if (held === undefined) this.#held.set(index, { mode: claim.record.mode, claims: new Set([claim]) });
      else held.claims.add(claim);
    }
    this.#active.push({ claim, to_us });
    if (this.#next_end_us === null || to_us < this.#next_end_us) this.#next_end_us = to_us;
  }

  #free(claim: Claim): void {
    const indexes = claim.record.gpu_indexes;
    if (indexes === null) this.#unindexed -= claim.record.gpus;
    for (const index of indexes ?? []) {
      const held = this.#held.get(index);
      held?.claims.delete(claim);
      if (held?.claims.size === 0) this.#held.delete(index);
    }
  }

  /** Why the claim does not fit beside the active ones, or null. */
  refusal(claim: Claim): string | null {
    const { gpu_indexes, gpus, mode } = claim.record;
    const fresh = (gpu_indexes ?? []).filter((index) => !this.#held.has(index)).length;
    const used = BigInt(this.#held.size + fresh) + this.#unindexed + (gpu_indexes === null ? gpus : 0n);
    if (used > this.#gpus) return `${used} GPUs would be in use, the asset has ${this.#gpus}`;
    for (const index of gpu_indexes ?? []) {
      const held = this.#held.get(index);
      if (held === undefined) continue;
      if (mode === 'whole' || held.mode !== mode) return `GPU ${index} is already claimed in mode ${held.mode}`;
      const over = overfull(mode, [...held.claims, claim]);
      if (over !== null) return `GPU ${index}: ${over}`;
    }
    return null;
  }
}

function overfull(mode: Mode, claims: readonly Claim[]): string | null {
  if (mode === 'mig') {
    const compute = claims.reduce((sum, claim) => sum + (claim.slice?.compute ?? 0n), 0n);
    const memory = claims.reduce((sum, claim) => sum + (claim.slice?.memory ?? 0n), 0n);
    return compute > 7n || memory > 8n ? `${compute} of 7 compute and ${memory} of 8 memory slices` : null;
  }
  if (mode !== 'time_slice') return null;
  const total = claims.reduce<Fraction>((sum, claim) => plusOneOf(sum, claim.record.replicas), {
    numerator: 0n,
    denominator: 1n,
  });
  return total.numerator > total.denominator ? 'time slices exceed the whole' : null;
}

/** sum + 1/replicas, kept small where the replicas agree. */
function plusOneOf(sum: Fraction, replicas: bigint): Fraction {
  if (sum.denominator % replicas === 0n)
    return { numerator: sum.numerator + sum.denominator / replicas, denominator: sum.denominator };
  return { numerator: sum.numerator * replicas + sum.denominator, denominator: sum.denominator * replicas };
}
