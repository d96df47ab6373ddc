/** Class names on the maps: where a class is densest, moved until nothing overlaps. */

import type { Bounds } from "./grid";
import { NO_CLASS } from "./types";

/** Center of a class in one layout, and how far up and down its points reach. */
export interface Anchor {
  x: number;
  y: number;
  up: number;
  down: number;
}

export interface PlacedLabel {
  group: number;
  text: string;
  x: number;
  y: number;
  width: number;
}

const CELLS = 24;
export const LINE = 15;

function quantile(sorted: Float32Array, at: number): number {
  return sorted[Math.round((sorted.length - 1) * at)];
}

function anchorOf(rows: number[], xy: Float32Array, bounds: Bounds): Anchor {
  const wide = (bounds.right - bounds.left) / CELLS || 1;
  const high = (bounds.top - bounds.bottom) / CELLS || 1;
  const column = (i: number) => Math.floor((xy[2 * i] - bounds.left) / wide);
  const line = (i: number) => Math.floor((xy[2 * i + 1] - bounds.bottom) / high);
  const counts = new Uint32Array((CELLS + 1) * (CELLS + 1));
  let densest = 0;
  for (const i of rows) {
    const cell = column(i) + line(i) * (CELLS + 1);
    if (++counts[cell] > counts[densest]) densest = cell;
  }
  const [c, l] = [densest % (CELLS + 1), Math.floor(densest / (CELLS + 1))];
  // A class may lie in two islands: its plain median would name the sea between them.
  const near = rows.filter((i) => Math.abs(column(i) - c) <= 1 && Math.abs(line(i) - l) <= 1);
  const xs = Float32Array.from(near, (i) => xy[2 * i]).sort();
  const ys = Float32Array.from(near, (i) => xy[2 * i + 1]).sort();
  const y = quantile(ys, 0.5);
  return { x: quantile(xs, 0.5), y, up: quantile(ys, 0.96) - y, down: y - quantile(ys, 0.04) };
}

/** Anchors by class code; a class is placed by its plain images if it has any. */
export function anchors(
  groups: Uint16Array,
  shapes: Uint8Array,
  xy: Float32Array,
  bounds: Bounds,
): Map<number, Anchor> {
  const members = new Map<number, { plain: number[]; all: number[] }>();
  for (let i = 0; i < groups.length; i++) {
    if (groups[i] === NO_CLASS) continue;
    let group = members.get(groups[i]);
    if (!group) members.set(groups[i], (group = { plain: [], all: [] }));
    group.all.push(i);
    if (!shapes[i]) group.plain.push(i);
  }
  const found = [...members].map(([code, { plain, all }]): [number, Anchor, number] => [
    code,
    anchorOf(plain.length >= 5 ? plain : all, xy, bounds),
    all.length,
  ]);
  return new Map(found.sort((a, b) => b[2] - a[2]).map(([code, anchor]) => [code, anchor]));
}

export function blend(a: Anchor, b: Anchor, at: number): Anchor {
  const mix = (p: number, q: number) => p + (q - p) * at;
  return { x: mix(a.x, b.x), y: mix(a.y, b.y), up: mix(a.up, b.up), down: mix(a.down, b.down) };
}

type Box = [number, number, number, number];

const overlaps = (a: Box, b: Box) => a[0] < b[2] && b[0] < a[2] && a[1] < b[3] && b[1] < a[3];

/** Greedy placement in pixels, larger classes first; a name that finds no place is left out. */
export function placeLabels(
  centers: Map<number, Anchor>,
  names: string[],
  toScreen: (x: number, y: number) => [number, number],
  measure: (text: string) => number,
  size: { width: number; height: number },
): PlacedLabel[] {
  const taken: Box[] = [];
  const placed: PlacedLabel[] = [];
  for (const [group, a] of centers) {
    const text = names[group];
    if (!text) continue;
    const width = measure(text);
    const [cx, cy] = toScreen(a.x, a.y);
    const above = toScreen(a.x, a.y + a.up)[1] - 10;
    const below = toScreen(a.x, a.y - a.down)[1] + 11;
    const aside = width / 2 + 14;
    const spots: [number, number][] = [
      [cx, above], [cx, below], [cx + aside, cy], [cx - aside, cy],
      [cx, above - LINE], [cx, below + LINE], [cx + aside, above], [cx - aside, above], [cx, cy],
    ];
    for (const [x, y] of spots) {
      const box: Box = [x - width / 2 - 3, y - LINE / 2, x + width / 2 + 3, y + LINE / 2];
      const outside = box[0] < 2 || box[2] > size.width - 2 || box[1] < 2 || box[3] > size.height - 2;
      if (outside || taken.some((other) => overlaps(box, other))) continue;
      taken.push(box);
      placed.push({ group, text, x, y, width });
      break;
    }
  }
  return placed;
}
