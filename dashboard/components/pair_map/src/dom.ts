/** The elements of the component: toolbar, two panels, canvases, legend, card, live region. */

import type { MapData, Side } from "./types";
import { SIDES } from "./types";

type Attributes = Record<string, string>;

export function element<K extends keyof HTMLElementTagNameMap>(
  tag: K,
  className: string,
  attributes: Attributes = {},
  ...children: (Node | string)[]
): HTMLElementTagNameMap[K] {
  const node = document.createElement(tag);
  node.className = className;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

const ICONS = {
  lasso: "M8 2.6c3.3 0 5.8 1.6 5.8 3.8S11.3 10.2 8 10.2 2.2 8.6 2.2 6.4 4.7 2.6 8 2.6M4.8 9.6c-.9.5-1.3 1.2-1 1.8.3.7 1.3.6 1.9.2M5.6 10.2c.5 1.3.2 2.6-1 3.5",
  pan: "M8 1.8v12.4M1.8 8h12.4M6 3.8l2-2 2 2M6 12.2l2 2 2-2M3.8 6l-2 2 2 2M12.2 6l2 2-2 2",
  fit: "M2.5 6V2.5H6M10 2.5h3.5V6M13.5 10v3.5H10M6 13.5H2.5V10",
} as const;

function iconButton(name: keyof typeof ICONS, label: string): HTMLButtonElement {
  const namespace = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(namespace, "svg");
  svg.setAttribute("viewBox", "0 0 16 16");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS(namespace, "path");
  path.setAttribute("d", ICONS[name]);
  svg.append(path);
  return element("button", "icon", { type: "button", "aria-label": label, title: label }, svg);
}

export interface Panel {
  root: HTMLElement;
  title: HTMLElement;
  status: HTMLElement;
  surface: HTMLElement;
}

export interface Skeleton {
  root: HTMLElement;
  stage: HTMLElement;
  gl: HTMLCanvasElement;
  overlay: HTMLCanvasElement;
  panels: Record<Side, Panel>;
  buttons: Record<"lasso" | "pan" | "fit", HTMLButtonElement>;
  morph: HTMLInputElement;
  ends: Record<Side, HTMLButtonElement>;
  legend: HTMLElement;
  quality: HTMLElement;
  message: HTMLElement;
  live: HTMLElement;
}

function panel(side: Side): Panel {
  const title = element("h3", "title");
  const status = element("span", "status", { "data-testid": `${side}-status` });
  const mark = element("span", `mark ${side}`, { "aria-hidden": "true" });
  const surface = element("div", "surface", {
    tabindex: "0",
    role: "application",
    "data-testid": `${side}-map`,
  });
  const head = element("div", "head", {}, mark, title, status);
  return { root: element("section", "panel", {}, head, surface), title, status, surface };
}

export function build(): Skeleton {
  const panels = { teacher: panel("teacher"), student: panel("student") };
  const buttons = {
    lasso: iconButton("lasso", "Lasso: drag around points to select them (L)"),
    pan: iconButton("pan", "Pan: drag to move both maps"),
    fit: iconButton("fit", "Fit both maps (0)"),
  };
  const morph = element("input", "slider", {
    type: "range", min: "0", max: "1", step: "0.01", value: "1",
    "aria-label": "Layout of the right map, from that of the left map to its own",
  });
  const ends = {
    teacher: element("button", "end teacher", { type: "button" }, "teacher"),
    student: element("button", "end student", { type: "button" }, "student"),
  };
  const morphing = element(
    "div", "morph", { role: "group", "aria-label": "Morph" },
    element("span", "faint", {}, "Morph"), ends.teacher, morph, ends.student,
  );
  const tools = element("div", "tools", { role: "group", "aria-label": "Map tools" });
  tools.append(buttons.lasso, buttons.pan, buttons.fit);
  const gl = element("canvas", "gl", { "aria-hidden": "true" });
  const overlay = element("canvas", "overlay", { "aria-hidden": "true" });
  const message = element("div", "message", { role: "alert", hidden: "" });
  const stage = element("div", "stage", {}, panels.teacher.root, panels.student.root, gl, overlay, message);
  const legend = element("div", "legend");
  const quality = element("div", "quality");
  const live = element("div", "live", { "aria-live": "polite", role: "status" });
  const root = element(
    "div", "pair-map", { "data-testid": "pair-map" },
    element("div", "toolbar", {}, morphing, tools), stage,
    element("div", "foot", {}, legend, quality), live,
  );
  return { root, stage, gl, overlay, panels, buttons, morph, ends, legend, quality, message, live };
}

const HELP =
  "Arrow keys move between points, Enter selects and opens one, Shift adds, Alt removes, " +
  "I isolates its class, L switches lasso and pan, plus and minus zoom, 0 fits, Escape clears.";

/** Texts that come with the data. Everything is set as text, never as markup. */
export function fillTexts(ui: Skeleton, data: MapData): void {
  for (const side of SIDES) {
    ui.panels[side].title.textContent = data.titles[side];
    // Two students have only their names; against the teacher the parts are shorter.
    ui.ends[side].textContent = data.titles.teacher === "Teacher" ? side : data.titles[side];
    ui.panels[side].surface.setAttribute(
      "aria-label", `${data.titles[side]} map, ${data.count} points. ${HELP}`,
    );
  }
  ui.quality.textContent = data.quality;
  ui.stage.style.height = `${data.height}px`;
}
