/** A uniform grid over one map's points, for "which sample is nearest to here". */

export class Grid {
  private readonly starts: Uint32Array;
  private readonly rows: Uint32Array;
  private readonly cells: number;
  private readonly left: number;
  private readonly bottom: number;
  private readonly step: number;

  constructor(private readonly xy: Float32Array, bounds: Bounds) {
    const count = xy.length / 2;
    this.cells = Math.max(1, Math.min(512, Math.round(Math.sqrt(count / 2))));
    [this.left, this.bottom] = [bounds.left, bounds.bottom];
    const extent = Math.max(bounds.right - bounds.left, bounds.top - bounds.bottom);
    this.step = extent / this.cells || 1;
    const cellOf = new Uint32Array(count);
    this.starts = new Uint32Array(this.cells * this.cells + 1);
    for (let i = 0; i < count; i++) {
      cellOf[i] = this.column(xy[2 * i]) + this.row(xy[2 * i + 1]) * this.cells;
      this.starts[cellOf[i] + 1]++;
    }
    for (let c = 0; c < this.cells * this.cells; c++) this.starts[c + 1] += this.starts[c];
    const next = this.starts.slice();
    this.rows = new Uint32Array(count);
    for (let i = 0; i < count; i++) this.rows[next[cellOf[i]]++] = i;
  }

  private clamp(cell: number): number {
    return Math.min(this.cells - 1, Math.max(0, Math.floor(cell)));
  }

  private column(x: number): number {
    return this.clamp((x - this.left) / this.step);
  }

  private row(y: number): number {
    return this.clamp((y - this.bottom) / this.step);
  }

  /** Row nearest to (x, y) within `radius` for which `usable` holds, or -1. */
  nearest(x: number, y: number, radius: number, usable: (row: number) => boolean): number {
    let [best, squared] = [-1, radius * radius];
    const [fromColumn, toColumn] = [this.column(x - radius), this.column(x + radius)];
    const [fromRow, toRow] = [this.row(y - radius), this.row(y + radius)];
    for (let r = fromRow; r <= toRow; r++) {
      const end = this.starts[r * this.cells + toColumn + 1];
      for (let k = this.starts[r * this.cells + fromColumn]; k < end; k++) {
        const i = this.rows[k];
        const d = (this.xy[2 * i] - x) ** 2 + (this.xy[2 * i + 1] - y) ** 2;
        if (d <= squared && usable(i)) [best, squared] = [i, d];
      }
    }
    return best;
  }
}

export interface Bounds {
  left: number;
  right: number;
  bottom: number;
  top: number;
}

/** The one frame of both maps. */
export function boundsOf(...layouts: Float32Array[]): Bounds {
  const b = { left: Infinity, right: -Infinity, bottom: Infinity, top: -Infinity };
  for (const xy of layouts) {
    for (let i = 0; i < xy.length; i += 2) {
      b.left = Math.min(b.left, xy[i]);
      b.right = Math.max(b.right, xy[i]);
      b.bottom = Math.min(b.bottom, xy[i + 1]);
      b.top = Math.max(b.top, xy[i + 1]);
    }
  }
  return Number.isFinite(b.left) ? b : { left: 0, right: 1, bottom: 0, top: 1 };
}

/** The point in the direction of an arrow key that is nearest, sideways steps counting double. */
export function step(xy: Float32Array, from: number, dx: number, dy: number, usable: (row: number) => boolean): number {
  const [x, y] = [xy[2 * from], xy[2 * from + 1]];
  let [best, least] = [from, Infinity];
  for (let i = 0; i < xy.length / 2; i++) {
    const along = (xy[2 * i] - x) * dx + (xy[2 * i + 1] - y) * dy;
    if (along <= 0) continue;
    const across = Math.abs((xy[2 * i] - x) * dy - (xy[2 * i + 1] - y) * dx);
    const cost = along + 2 * across;
    if (cost < least && usable(i)) [best, least] = [i, cost];
  }
  return best;
}
