/** The pair of maps: owns the data, the camera and the selection, and decides what is drawn. */

import { Camera } from "./camera";
import { Card } from "./card";
import { type Columns, fetchColumns } from "./columns";
import { build, fillTexts, type Skeleton } from "./dom";
import { type Bounds, boundsOf, Grid } from "./grid";
import { belongs, groupOf, isolate, type Isolated } from "./isolation";
import { type Anchor, anchors, blend, placeLabels, type PlacedLabel } from "./labels";
import { inside, simplify } from "./lasso";
import { drawLegend } from "./legend";
import { Overlay } from "./overlay";
import { type Area, DIAMOND, FAR, GHOST, PICKED, Renderer } from "./renderer";
import { type Mode, Reporter, Selection } from "./selection";
import { summarize, thousands } from "./summary";
import { codeColors, missingCode, parseColor, readTheme, type Theme } from "./theme";
import { type Component, type MapData, type Side, SIDES } from "./types";

export type Tool = "lasso" | "pan";

const NO_WEBGL =
  "The maps need WebGL 2, which this browser does not offer. Switch on hardware acceleration or " +
  "open this page in a current Firefox, Chrome, Edge or Safari.";
const CONTEXT_LOST = "The graphics driver stopped. The maps come back as soon as it does.";
const NO_POINTS = "The points of this map could not be loaded. Reload the page to fetch them again.";

export class PairMap {
  readonly ui: Skeleton = build();
  readonly card = new Card();
  data!: MapData;
  points: Columns | null = null;
  camera = new Camera("");
  selection = new Selection(0);
  tool: Tool = "lasso";
  morph = 1;
  ringed = -1;
  isolated: Isolated | null = null;
  drawing: { side: Side; line: [number, number][] } | null = null;
  private component!: Component;
  private shown = "";
  private isolatedOn = "";
  private colors: Columns | null = null;
  private renderer: Renderer | null = null;
  private readonly overlay = new Overlay(this.ui.overlay);
  private readonly reporter = new Reporter((r) => this.component.setStateValue("selection", r));
  private theme!: Theme;
  private bounds: Bounds = { left: 0, right: 1, bottom: 0, top: 1 };
  private centers: Record<Side, Map<number, Anchor>> = { teacher: new Map(), student: new Map() };
  private readonly labels: Record<Side, PlacedLabel[]> = { teacher: [], student: [] };
  private readonly grids: Partial<Record<Side, { morph: number; grid: Grid }>> = {};
  private morphed: { morph: number; xy: Float32Array } | null = null;
  private frame = 0;
  private stale = { points: true, words: true };
  private readonly observer = new ResizeObserver(() => this.resize());

  constructor(host: ShadowRoot) {
    host.append(this.ui.root);
    this.ui.stage.append(this.card.root);
    this.observer.observe(this.ui.stage);
    void document.fonts.ready.then(() => this.invalidate(true));
    this.ui.gl.addEventListener("webglcontextlost", (event) => {
      event.preventDefault();
      this.renderer = null;
      this.say(CONTEXT_LOST);
    });
    this.ui.gl.addEventListener("webglcontextrestored", () => this.createRenderer());
  }

  /** Called on every rerun whose data or theme differ. Coordinates are fetched once. */
  async update(component: Component): Promise<void> {
    const before = this.data as MapData | undefined;
    this.component = component;
    this.data = component.data;
    this.theme = readTheme(this.ui.root, this.data.palettes);
    this.paintTheme();
    fillTexts(this.ui, this.data);
    this.ui.root.classList.toggle("busy", before?.points !== this.data.points);
    const wanted = this.data;
    try {
      const [points, colors] = await Promise.all([
        fetchColumns(wanted.points),
        fetchColumns(wanted.colors),
      ]);
      if (this.data !== wanted) return;
      if (this.shown !== wanted.digest) this.takePoints(points);
      this.colors = colors;
      if (this.ui.message.textContent === NO_POINTS) this.say("");
    } catch {
      if (this.data === wanted) this.say(NO_POINTS);
      return;
    }
    this.paintColors();
    if (this.reporter.isNews(wanted.selection)) {
      this.selection.take(wanted.selection);
    }
    this.flagsChanged();
    this.ui.root.classList.remove("busy");
  }

  private takePoints(points: Columns): void {
    this.points = points;
    this.shown = this.data.digest;
    this.reporter.forget();
    this.selection = new Selection(this.data.count);
    this.camera = new Camera(this.data.key);
    const { frame } = this.data;
    this.bounds = frame
      ? { left: frame[0], right: frame[1], bottom: frame[2], top: frame[3] }
      : boundsOf(points.f4("teacher"), points.f4("student"));
    this.camera.frame(this.bounds);
    this.ringed = -1;
    // The next rows of one film: a class that stands alone stays so.
    if (this.isolatedOn !== this.data.key) this.isolated = null;
    this.isolatedOn = this.data.key;
    this.grids.teacher = this.grids.student = undefined;
    this.morphed = null;
    // Classes are named where their clean images lie, which are the ones beneath where there are any.
    const shapes = points.has("backdrop") ? points.u1("backdrop").map((under) => 1 - under) : points.u1("shape");
    for (const side of SIDES) {
      const groups = points.u2(points.has("label") ? "label" : `${side}_answer`);
      this.centers[side] = anchors(groups, shapes, points.f4(side), this.bounds);
    }
    this.createRenderer();
  }

  private createRenderer(): void {
    const gl = this.ui.gl.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    if (!gl || !this.points) {
      if (!gl) this.say(NO_WEBGL);
      return;
    }
    this.renderer?.release();
    this.renderer = new Renderer(gl, this.points.f4("teacher"), this.points.f4("student"));
    this.say("");
    if (this.colors) this.paintColors();
    this.resize();
    this.flagsChanged();
  }

  private say(message: string): void {
    this.ui.message.textContent = message;
    this.ui.message.hidden = !message;
  }

  private paintTheme(): void {
    const { palette, font, name } = this.theme;
    this.ui.root.dataset.theme = name;
    for (const role of Object.keys(palette)) {
      if (typeof palette[role] === "string") this.ui.root.style.setProperty(`--${role}`, palette[role]);
    }
    this.overlay.setFont(font);
  }

  private paintColors(): void {
    if (!this.renderer || !this.colors) return;
    const { palette } = this.theme;
    this.renderer.ink = parseColor(palette.text);
    this.renderer.paper = parseColor(palette.background);
    this.renderer.ghost = [...parseColor(palette.reference).slice(0, 3), 0.22] as typeof this.renderer.ghost;
    this.renderer.setColors(codeColors(this.data.legend, palette));
    this.renderer.setCodes(Uint16Array.from(this.colors.codes("code")));
  }

  /** The class that a label on `side` stands for. */
  groupOf(side: Side, row: number): number {
    return groupOf(this.points!, side, row);
  }

  /** Whether a point can be pointed at: not beneath, nor filtered out, nor of another class than isolated. */
  usable = (row: number): boolean => {
    if (this.points?.has("backdrop") && this.points.u1("backdrop")[row]) return false;
    if (this.colors?.has("highlight") && !this.colors.u1("highlight")[row]) return false;
    return belongs(this.points!, this.isolated, row);
  };

  private get filtered(): boolean {
    return this.isolated !== null || Boolean(this.colors?.has("highlight"));
  }

  private get allUsable(): boolean {
    return !this.filtered && !this.points?.has("backdrop");
  }

  private flagsChanged(): void {
    if (!this.points || !this.renderer) return;
    const shapes = this.points.u1("shape");
    const { mask } = this.selection;
    const flags = new Uint8Array(mask.length);
    const plain = this.allUsable;
    const far = this.points.has("far") ? this.points.u1("far") : null;
    for (let i = 0; i < flags.length; i++) {
      flags[i] = (shapes[i] ? DIAMOND : 0) | (mask[i] ? PICKED : 0) | (plain || this.usable(i) ? 0 : GHOST);
      if (far) flags[i] |= far[i] * FAR;
    }
    this.renderer.setFlags(flags);
    this.stale.words = true;
    this.invalidate(true);
  }

  /** Layout shown on a side: the student's side may be on its way from the teacher's layout. */
  layout(side: Side): Float32Array {
    const points = this.points!;
    if (side === "teacher" || this.morph === 0) return points.f4("teacher");
    if (this.morph === 1) return points.f4("student");
    if (this.morphed?.morph !== this.morph) {
      const [from, to] = [points.f4("teacher"), points.f4("student")];
      this.morphed = { morph: this.morph, xy: from.map((value, i) => value + (to[i] - value) * this.morph) };
    }
    return this.morphed.xy;
  }

  nearest(side: Side, x: number, y: number, radius: number): number {
    if (!this.points) return -1;
    const morph = side === "teacher" ? 0 : this.morph;
    let entry = this.grids[side];
    if (entry?.morph !== morph) {
      entry = { morph, grid: new Grid(this.layout(side), this.bounds) };
      this.grids[side] = entry;
    }
    return entry.grid.nearest(...this.camera.toData(x, y), radius / this.camera.scale, this.usable);
  }

  labelAt(side: Side, x: number, y: number): number | null {
    const hit = this.labels[side].find((l) => Math.abs(l.x - x) < l.width / 2 + 2 && Math.abs(l.y - y) < 8);
    return hit ? hit.group : null;
  }

  select(found: Uint8Array, mode: Mode, clicked: number | null = null, lasso: Selection["lasso"] = null): void {
    this.selection.apply(found, mode, lasso, clicked);
    this.selectionChanged();
  }

  /** Select what lies in a line drawn on `side`, given in pixels. */
  selectLasso(side: Side, line: [number, number][], mode: Mode): void {
    if (!this.points) return;
    performance.mark("pair-map:lasso-start");
    const tolerance = 0.8 / this.camera.scale;
    const polygon = simplify(line.map(([x, y]) => this.camera.toData(x, y)), tolerance);
    const found = new Uint8Array(this.data.count);
    inside(polygon, this.layout(side), found);
    if (!this.allUsable) {
      for (let i = 0; i < found.length; i++) if (found[i] && !this.usable(i)) found[i] = 0;
    }
    const halfway = side === "student" && this.morph > 0 && this.morph < 1;
    const named = side === "student" && this.morph === 0 ? "teacher" : side;
    this.select(found, mode, null, halfway || this.filtered ? null : { side: named, points: polygon });
  }

  clear(): void {
    this.selection.clear();
    this.isolated = null;
    this.selectionChanged();
  }

  isolate(side: Side, group: number): void {
    this.isolated = isolate(this.points!, this.isolated, side, group);
    this.flagsChanged();
  }

  open(row: number): void {
    this.component.setTriggerValue("opened", { points: this.data.digest, index: row });
  }

  private selectionChanged(): void {
    this.flagsChanged();
    this.paint();
    performance.mark("pair-map:highlighted");
    this.reporter.report(this.data.digest, this.selection);
  }

  setMorph(value: number): void {
    this.morph = Math.min(1, Math.max(0, value));
    this.ui.morph.value = String(this.morph);
    this.invalidate(true);
  }

  private area(side: Side): Area {
    const stage = this.ui.stage.getBoundingClientRect();
    const box = this.ui.panels[side].surface.getBoundingClientRect();
    return { left: box.left - stage.left, top: box.top - stage.top, width: box.width, height: box.height };
  }

  private resize(): void {
    const { clientWidth: width, clientHeight: height } = this.ui.stage;
    if (!width || !height) return;
    const ratio = Math.min(3, window.devicePixelRatio || 1);
    const area = this.area("teacher");
    this.camera.width = area.width;
    this.camera.height = area.height;
    this.renderer?.resize(width, height, ratio);
    this.overlay.resize(width, height, ratio);
    this.stale.points = true;
    this.paint();
  }

  /** Ask for a frame; `points` when more than the overlay has to be drawn again. */
  invalidate(points: boolean): void {
    this.stale.points ||= points;
    if (!this.frame) this.frame = requestAnimationFrame(() => this.paint());
  }

  /** Draw now. */
  paint(): void {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    if (!this.renderer || !this.points) return;
    const areas = { teacher: this.area("teacher"), student: this.area("student") };
    if (this.stale.points) {
      this.renderer.draw([[areas.teacher, 0], [areas.student, this.morph]], this.camera);
      if (this.ui.root.dataset.measure) this.renderer.finish(areas.student);
      this.placeLabels(areas.teacher);
    }
    this.stale.points = false;
    this.paintOverlay(areas);
    if (this.stale.words) requestAnimationFrame(() => this.paintWords());
  }

  private placeLabels(area: Area): void {
    for (const side of SIDES) {
      const at = side === "teacher" ? 0 : this.morph;
      const shown = new Map<number, Anchor>();
      for (const [group, anchor] of this.centers[side]) {
        shown.set(group, blend(this.centers.teacher.get(group) ?? anchor, anchor, at));
      }
      this.labels[side] = placeLabels(
        side === "teacher" ? this.centers.teacher : shown,
        this.data.names,
        (x, y) => this.camera.toScreen(x, y),
        (text) => this.overlay.measure(text),
        area,
      );
    }
  }

  private paintOverlay(areas: Record<Side, Area>): void {
    const { lasso } = this.selection;
    const maps = SIDES.map((side) => {
      const xy = this.layout(side);
      const fits = side === "teacher" || this.morph === 1;
      return {
        area: areas[side],
        labels: this.labels[side],
        ring: this.ringed < 0 ? null : ([xy[2 * this.ringed], xy[2 * this.ringed + 1]] as [number, number]),
        lasso: lasso?.side === side && fits ? lasso.points : null,
        drawing: this.drawing?.side === side ? this.drawing.line : null,
      };
    });
    this.overlay.draw(maps, this.camera, this.theme, this.isolated?.group ?? null);
  }

  private paintWords(): void {
    if (!this.stale.words || !this.points || !this.colors) return;
    this.stale.words = false;
    const { mask, count } = this.selection;
    const { names, titles } = this.data;
    const words = SIDES.map((side) => summarize(mask, count, this.points!.u2(`${side}_answer`), names));
    SIDES.forEach((side, i) => (this.ui.panels[side].status.textContent = words[i]));
    const isolated = this.isolated === null ? "" : `Only ${names[this.isolated.group]}. `;
    this.ui.live.textContent =
      isolated + (count ? `${words[0]} by ${titles.teacher}; ${words[1]} by ${titles.student}` : "Nothing selected");
    this.ui.root.dataset.selected = String(count);
    this.ui.root.dataset.zoom = this.camera.zoom.toFixed(3);
    const none = missingCode(this.data.legend);
    let missing = 0;
    for (const code of this.colors.codes("code")) missing += code === none ? 1 : 0;
    drawLegend(this.ui.legend, this.data, this.theme, this.points, { missing, selected: count });
    this.ui.root.dataset.ready = this.data.colors;
  }

  announce(row: number): void {
    const points = this.points!;
    const answer = (side: Side) => this.data.names[points.u2(`${side}_answer`)[row]] ?? "none";
    const answers = SIDES.map((side) => `${this.ui.ends[side].textContent} ${answer(side)}`).join(", ");
    this.ui.live.textContent =
      `${points.text("id", row)}: ${answers}, ` +
      `KL ${points.f4("kl")[row].toFixed(2)}. ${thousands(this.selection.count)} selected`;
  }

  dispose(): void {
    this.observer.disconnect();
    cancelAnimationFrame(this.frame);
    this.reporter.stop();
    this.card.hide();
    this.renderer?.dispose();
    this.ui.root.remove();
  }
}
