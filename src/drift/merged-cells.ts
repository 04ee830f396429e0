/** Two rows of counts over merged cells; `members` lists the original cells of each. */
export type MergedCells = {
  readonly x: readonly number[];
  readonly y: readonly number[];
  readonly members: readonly (readonly number[])[];
};

export type MergeOptions = {
  /** true: only neighbours join (bins); false: the rarest join into one cell (categories). */
  readonly ordered: boolean;
  /** Rows that each cell must be expected to hold in the smaller sample. */
  readonly expected_min: number;
  readonly cells_max: number;
};

/**
 * Joins cells until each is expected to hold `expected_min` rows in the smaller sample. Looks at the pooled counts only,
 * which say nothing about a difference, so tests on the merged cells stay valid. O(cells log cells).
 */
export function mergedCells(x: ArrayLike<number>, y: ArrayLike<number>, options: MergeOptions): MergedCells {
  let n = 0;
  let m = 0;
  for (let cell = 0; cell < x.length; cell++) {
    n += x[cell] ?? 0;
    m += y[cell] ?? 0;
  }
  const smaller = Math.min(n, m);
  if (smaller === 0) return { x: [n], y: [m], members: [Array.from({ length: x.length }, (_, cell) => cell)] };
  const pooled_min = Math.max((options.expected_min * (n + m)) / smaller, (n + m) / options.cells_max);
  const groups = options.ordered ? neighbours(x, y, pooled_min) : rarest(x, y, pooled_min);
  const total = (counts: ArrayLike<number>, cells: readonly number[]): number =>
    cells.reduce((sum, cell) => sum + (counts[cell] ?? 0), 0);
  return {
    x: groups.map((cells) => total(x, cells)),
    y: groups.map((cells) => total(y, cells)),
    members: groups,
  };
}

function neighbours(x: ArrayLike<number>, y: ArrayLike<number>, pooled_min: number): number[][] {
  const groups: number[][] = [];
  let open: number[] = [];
  let held = 0;
  for (let cell = 0; cell < x.length; cell++) {
    open.push(cell);
    held += (x[cell] ?? 0) + (y[cell] ?? 0);
    if (held < pooled_min) continue;
    groups.push(open);
    open = [];
    held = 0;
  }
  if (open.length === 0) return groups;
  const last = groups.at(-1);
  if (last === undefined) groups.push(open);
  else for (const cell of open) last.push(cell);
  return groups;
}

function rarest(x: ArrayLike<number>, y: ArrayLike<number>, pooled_min: number): number[][] {
  const pooled = (cell: number): number => (x[cell] ?? 0) + (y[cell] ?? 0);
  const cells = Array.from({ length: x.length }, (_, cell) => cell);
  const large = cells.filter((cell) => pooled(cell) >= pooled_min);
  const small = cells.filter((cell) => pooled(cell) > 0 && pooled(cell) < pooled_min);
  const held = small.reduce((sum, cell) => sum + pooled(cell), 0);
  if (small.length > 0 && held < pooled_min && large.length > 0) {
    // too little even together: the smallest large cell takes it in
    const smallest = large.reduce((a, b) => (pooled(b) < pooled(a) ? b : a));
    return [...large.filter((cell) => cell !== smallest).map((cell) => [cell]), [smallest, ...small]];
  }
  return [...large.map((cell) => [cell]), ...(small.length > 0 ? [small] : [])];
}
