/** Pointer, wheel and keyboard: what a user does becomes calls on the map. */

import { step } from "./grid";
import type { PairMap, Tool } from "./map";
import type { Mode } from "./selection";
import { type Side, SIDES } from "./types";

const CLICK = 4;
const EXACT = 3;
const REACH = 9;
const MORPH_MILLISECONDS = 600;

const ARROWS: Record<string, [number, number]> = {
  ArrowLeft: [-1, 0],
  ArrowRight: [1, 0],
  ArrowUp: [0, 1],
  ArrowDown: [0, -1],
};

function modeOf(event: MouseEvent | KeyboardEvent): Mode {
  return event.altKey ? "remove" : event.shiftKey ? "add" : "replace";
}

export class Interaction {
  private drag: { side: Side; line: [number, number][]; panning: boolean } | null = null;
  private animation = 0;

  constructor(private readonly map: PairMap) {
    const { ui } = map;
    for (const side of SIDES) this.listen(side, ui.panels[side].surface);
    ui.buttons.lasso.addEventListener("click", () => this.choose("lasso"));
    ui.buttons.pan.addEventListener("click", () => this.choose("pan"));
    ui.buttons.fit.addEventListener("click", () => this.fit());
    ui.morph.addEventListener("input", () => this.morphTo(Number(ui.morph.value), true));
    ui.ends.teacher.addEventListener("click", () => this.morphTo(0, false));
    ui.ends.student.addEventListener("click", () => this.morphTo(1, false));
    ui.root.addEventListener("keyup", () => ui.root.classList.add("keyboard"));
    this.choose("lasso");
  }

  private listen(side: Side, surface: HTMLElement): void {
    surface.addEventListener("pointerdown", (event) => this.down(side, event));
    surface.addEventListener("pointermove", (event) => this.move(side, event));
    surface.addEventListener("pointerup", (event) => this.up(side, event));
    surface.addEventListener("pointercancel", () => this.stop());
    surface.addEventListener("pointerleave", () => this.ring(-1));
    surface.addEventListener("dblclick", (event) => {
      const row = this.map.nearest(side, event.offsetX, event.offsetY, REACH);
      if (row >= 0) this.map.open(row);
    });
    surface.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    surface.addEventListener("keydown", (event) => this.key(side, event));
    surface.addEventListener("blur", () => this.ring(-1));
  }

  private choose(tool: Tool): void {
    this.map.tool = tool;
    for (const name of ["lasso", "pan"] as const) {
      this.map.ui.buttons[name].setAttribute("aria-pressed", String(name === tool));
    }
    this.map.ui.stage.dataset.tool = tool;
  }

  private fit(): void {
    this.map.camera.fit();
    this.moved();
  }

  private moved(): void {
    this.map.ui.root.dataset.zoom = this.map.camera.zoom.toFixed(3);
    this.map.card.hide();
    this.map.invalidate(true);
  }

  private down(side: Side, event: PointerEvent): void {
    if (event.button > 1) return;
    event.preventDefault();
    const surface = this.map.ui.panels[side].surface;
    surface.focus({ preventScroll: true });
    this.map.ui.root.classList.remove("keyboard");
    surface.setPointerCapture(event.pointerId);
    const panning = this.map.tool === "pan" || event.button === 1;
    this.drag = { side, line: [[event.offsetX, event.offsetY]], panning };
    this.ring(-1);
  }

  private move(side: Side, event: PointerEvent): void {
    const at: [number, number] = [event.offsetX, event.offsetY];
    if (!this.drag) {
      this.hover(side, at);
      return;
    }
    const last = this.drag.line[this.drag.line.length - 1];
    if (this.drag.panning) {
      this.map.camera.pan(at[0] - last[0], at[1] - last[1]);
      this.moved();
    }
    this.drag.line.push(at);
    if (!this.drag.panning && this.isDrag()) {
      this.map.drawing = { side, line: this.drag.line };
      this.map.invalidate(false);
    }
  }

  private isDrag(): boolean {
    const [first, ...rest] = this.drag!.line;
    return rest.some(([x, y]) => Math.hypot(x - first[0], y - first[1]) > CLICK);
  }

  private up(side: Side, event: PointerEvent): void {
    if (!this.drag) return;
    const { line, panning } = this.drag;
    const dragged = this.isDrag();
    this.stop();
    if (!dragged) this.click(side, event);
    else if (!panning) {
      performance.mark("pair-map:pointer-up", { startTime: event.timeStamp });
      this.map.selectLasso(side, line, modeOf(event));
    }
  }

  private stop(): void {
    this.drag = this.map.drawing = null;
    this.map.invalidate(false);
  }

  private click(side: Side, event: MouseEvent): void {
    const [x, y] = [event.offsetX, event.offsetY];
    const { group, row } = this.under(side, x, y);
    if (group !== null) this.map.isolate(side, group);
    else if (row >= 0) this.pick(row, modeOf(event));
    else if (modeOf(event) === "replace") this.map.clear();
  }

  /** What the pointer means: a point right below it, else a class name, else a point nearby. */
  private under(side: Side, x: number, y: number): { group: number | null; row: number } {
    const exact = this.map.nearest(side, x, y, EXACT);
    const group = exact < 0 ? this.map.labelAt(side, x, y) : null;
    return { group, row: exact >= 0 || group !== null ? exact : this.map.nearest(side, x, y, REACH) };
  }

  private pick(row: number, mode: Mode): void {
    const found = new Uint8Array(this.map.data.count);
    found[row] = 1;
    this.map.select(found, mode, row);
  }

  private hover(side: Side, [x, y]: [number, number]): void {
    const { group, row } = this.under(side, x, y);
    this.map.ui.panels[side].surface.classList.toggle("pointing", group !== null || row >= 0);
    this.ring(row, side, [x, y]);
  }

  /** Ring a sample in both maps and open its card beside it in the map that is pointed at. */
  private ring(row: number, side: Side = "teacher", at: [number, number] = [0, 0]): void {
    const { map } = this;
    if (row !== map.ringed) {
      map.ringed = row;
      map.invalidate(false);
    }
    if (row < 0) map.card.hide();
    else {
      const stage = map.ui.stage.getBoundingClientRect();
      const box = map.ui.panels[side].surface.getBoundingClientRect();
      map.card.show(row, box.left - stage.left + at[0], box.top - stage.top + at[1], map.points!, map.data);
    }
  }

  private wheel(event: WheelEvent): void {
    event.preventDefault();
    const lines = event.deltaMode === WheelEvent.DOM_DELTA_LINE ? 16 : 1;
    const factor = Math.exp(-Math.max(-120, Math.min(120, event.deltaY * lines)) * 0.0022);
    this.map.camera.zoomAt(event.offsetX, event.offsetY, factor);
    this.moved();
  }

  private key(side: Side, event: KeyboardEvent): void {
    if (event.ctrlKey || event.metaKey) return;
    const { map } = this;
    const arrow = ARROWS[event.key];
    const center = [map.camera.width / 2, map.camera.height / 2] as const;
    if (arrow) this.walk(side, arrow);
    else if (event.key === "Enter" && map.ringed >= 0) {
      this.pick(map.ringed, modeOf(event));
      if (modeOf(event) === "replace") map.open(map.ringed);
    } else if (event.key === "Escape") {
      map.clear();
      this.ring(-1);
    } else if (event.key === "l" || event.key === "L") this.choose(map.tool === "lasso" ? "pan" : "lasso");
    else if ((event.key === "i" || event.key === "I") && map.ringed >= 0) {
      map.isolate(side, map.groupOf(side, map.ringed));
    } else if (event.key === "+" || event.key === "=") this.zoom(center, 1.25);
    else if (event.key === "-") this.zoom(center, 0.8);
    else if (event.key === "0") this.fit();
    else return;
    event.preventDefault();
    event.stopPropagation();
  }

  private zoom([x, y]: readonly [number, number], factor: number): void {
    this.map.camera.zoomAt(x, y, factor);
    this.moved();
  }

  private walk(side: Side, [dx, dy]: [number, number]): void {
    const { map } = this;
    if (!map.points) return;
    const { width, height } = map.camera;
    const xy = map.layout(side);
    const row =
      map.ringed < 0
        ? map.nearest(side, width / 2, height / 2, Math.hypot(width, height))
        : step(xy, map.ringed, dx, dy, map.usable);
    if (row < 0) return;
    let at = map.camera.toScreen(xy[2 * row], xy[2 * row + 1]);
    if (at[0] < 0 || at[1] < 0 || at[0] > width || at[1] > height) {
      map.camera.centerOn(xy[2 * row], xy[2 * row + 1]);
      at = map.camera.toScreen(xy[2 * row], xy[2 * row + 1]);
      this.moved();
    }
    this.ring(row, side, at);
    map.announce(row);
  }

  private morphTo(target: number, now: boolean): void {
    cancelAnimationFrame(this.animation);
    const still = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    if (now || still) {
      this.map.setMorph(target);
      return;
    }
    const from = this.map.morph;
    const start = performance.now();
    const tick = (time: number) => {
      const t = Math.min(1, Math.max(0, (time - start) / MORPH_MILLISECONDS));
      this.map.setMorph(from + (target - from) * (t * t * (3 - 2 * t)));
      if (t < 1) this.animation = requestAnimationFrame(tick);
    };
    this.animation = requestAnimationFrame(tick);
  }

  dispose(): void {
    cancelAnimationFrame(this.animation);
  }
}
