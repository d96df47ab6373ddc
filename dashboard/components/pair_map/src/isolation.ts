/** One class alone: of the labels, or where there are none of the answers on one of the maps. */

import type { Columns } from "./columns";
import { NO_CLASS, type Side } from "./types";

export interface Isolated {
  side: Side;
  group: number;
}

/** The class that a label on `side` stands for. */
export function groupOf(points: Columns, side: Side, row: number): number {
  return points.u2(points.has("label") ? "label" : `${side}_answer`)[row];
}

/** What is isolated once the class `group` was chosen on `side`: chosen again, nothing. */
export function isolate(points: Columns, before: Isolated | null, side: Side, group: number): Isolated | null {
  const same = before?.group === group && (before.side === side || points.has("label"));
  return same || group === NO_CLASS ? null : { side, group };
}

export function belongs(points: Columns, isolated: Isolated | null, row: number): boolean {
  return isolated === null || groupOf(points, isolated.side, row) === isolated.group;
}
