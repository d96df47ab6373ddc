/** A freehand polygon: thinned to what a URL can hold, and which points lie inside. */

import type { Lasso } from "./types";

type Point = [number, number];

export const MAX_VERTICES = 40;
const BANDS = 256;

/** Distance of `p` from the segment `a`-`b`. */
function distance(p: Point, a: Point, b: Point): number {
  const [dx, dy] = [b[0] - a[0], b[1] - a[1]];
  const squared = dx * dx + dy * dy;
  const along = squared ? ((p[0] - a[0]) * dx + (p[1] - a[1]) * dy) / squared : 0;
  const t = Math.min(1, Math.max(0, along));
  return Math.hypot(p[0] - a[0] - t * dx, p[1] - a[1] - t * dy);
}

/** Ramer-Douglas-Peucker on an open line. */
function thin(line: Point[], tolerance: number): Point[] {
  const keep = new Uint8Array(line.length);
  keep[0] = keep[line.length - 1] = 1;
  const spans: Point[] = [[0, line.length - 1]];
  for (let span = spans.pop(); span; span = spans.pop()) {
    const [first, last] = span;
    let [worst, at] = [tolerance, -1];
    for (let i = first + 1; i < last; i++) {
      const d = distance(line[i], line[first], line[last]);
      if (d > worst) [worst, at] = [d, i];
    }
    if (at > 0) {
      keep[at] = 1;
      spans.push([first, at], [at, last]);
    }
  }
  return line.filter((_, i) => keep[i]);
}

const short = (value: number): number => Number(value.toPrecision(4));

/**
 * The polygon that is drawn, tested and reported: one and the same, so that Python and the
 * browser count the same points. `tolerance` is in the units of `line`.
 */
export function simplify(line: Point[], tolerance: number): Point[] {
  let thinned = thin(line, tolerance);
  for (let t = tolerance * 1.5; thinned.length > MAX_VERTICES; t *= 1.5) thinned = thin(line, t);
  return thinned.map(([x, y]) => [short(x), short(y)]);
}

/**
 * Marks in `out` which of the interleaved `xy` lie inside by the even-odd rule, exactly as
 * `dashboard.selection.Lasso.contains` does; returns how many. Edges are sorted into horizontal
 * bands first, so a point meets the few edges of its band and not all of them.
 */
export function inside(points: Lasso["points"], xy: Float32Array, out: Uint8Array): number {
  out.fill(0);
  if (points.length < 3) return 0;
  const xs = points.map((p) => p[0]);
  const ys = points.map((p) => p[1]);
  const [left, right] = [Math.min(...xs), Math.max(...xs)];
  const [bottom, top] = [Math.min(...ys), Math.max(...ys)];
  if (!(top > bottom)) return 0;
  const perUnit = BANDS / (top - bottom);
  const bandOf = (y: number): number => Math.min(BANDS - 1, Math.floor((y - bottom) * perUnit));
  const bands: number[][] = Array.from({ length: BANDS }, () => []);
  points.forEach(([x2, y2], i) => {
    const [x1, y1] = points[(i + points.length - 1) % points.length];
    if (y1 === y2) return;
    const last = bandOf(Math.max(y1, y2));
    for (let b = bandOf(Math.min(y1, y2)); b <= last; b++) bands[b].push(x1, y1, x2, y2);
  });
  let count = 0;
  for (let i = 0; i < out.length; i++) {
    const [x, y] = [xy[2 * i], xy[2 * i + 1]];
    if (x < left || x > right || y < bottom || y > top) continue;
    const edges = bands[bandOf(y)];
    let odd = 0;
    for (let e = 0; e < edges.length; e += 4) {
      const [x1, y1, x2, y2] = [edges[e], edges[e + 1], edges[e + 2], edges[e + 3]];
      if (y1 > y !== y2 > y && x < ((x2 - x1) * (y - y1)) / (y2 - y1) + x1) odd ^= 1;
    }
    out[i] = odd;
    count += odd;
  }
  return count;
}
