/** What Python hands over, and what it gets back. Bulk data come from the two URLs instead. */

export type Side = "teacher" | "student";
export const SIDES: readonly Side[] = ["teacher", "student"];

/** A theme's colors by role, as `dashboard/theme.py` names them. */
export interface Palette {
  teacher: string;
  student: string;
  alarm: string;
  control: string;
  reference: string;
  background: string;
  panel: string;
  hairline: string;
  edge: string;
  text: string;
  secondary: string;
  faint: string;
  classes: string[];
  [ramp: string]: string | string[];
}

export interface Legend {
  kind: "categories" | "ramp";
  title: string;
  names: string[];
  /** For categories: an index into `Palette.classes`, or the name of a role. */
  slots: (number | string)[];
  /** For a ramp: which list of the palette. */
  ramp: string;
  low: string;
  high: string;
  missing: string;
}

export interface Lasso {
  side: Side;
  points: [number, number][];
}

/** A selection that Python asks for; a new wish has a new serial number. */
export interface GivenSelection {
  serial: number;
  bits: string;
  lasso: Lasso | null;
}

export interface MapData {
  key: string;
  digest: string;
  count: number;
  points: string;
  colors: string;
  names: string[];
  titles: Record<Side, string>;
  shapes: [string, string];
  quality: string;
  height: number;
  /** Left, right, bottom and top of what is in view, where the points do not decide it. */
  frame: [number, number, number, number] | null;
  thumbnail: string | null;
  /** Where there is no server: the picture of an image, or null where there is none. */
  pictures?: (index: number) => string | null;
  legend: Legend;
  palettes: { light: Palette; dark: Palette };
  selection: GivenSelection | null;
}

export interface ReportedSelection {
  points: string;
  count: number;
  bits: string | null;
  lasso: Lasso | null;
  clicked: number | null;
  /** Serial number of the last wish that was followed, 0 for none. */
  given: number;
}

export interface Component {
  data: MapData;
  parentElement: ShadowRoot;
  setStateValue(name: "selection", value: ReportedSelection): void;
  setTriggerValue(name: "opened", value: { points: string; index: number }): void;
}

/** "none" in every column of class codes. */
export const NO_CLASS = 65535;
