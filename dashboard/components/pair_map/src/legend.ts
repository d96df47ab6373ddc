/** The line below the maps: what the shapes and the colors mean. */

import type { Columns } from "./columns";
import { element } from "./dom";
import { thousands } from "./summary";
import { slotColor, type Theme } from "./theme";
import type { MapData } from "./types";

/** More categories than this are named on the map itself. */
const MOST_SWATCHES = 6;

function item(symbol: string, text: string, color = ""): HTMLElement {
  const mark = element("span", `symbol ${symbol}`, { "aria-hidden": "true" });
  if (color) mark.style.setProperty("--color", color);
  return element("span", "item", {}, mark, text);
}

function ramp(data: MapData, theme: Theme): HTMLElement {
  const bar = element("span", "bar", { "aria-hidden": "true" });
  bar.style.background = `linear-gradient(to right, ${(theme.palette[data.legend.ramp] as string[]).join(",")})`;
  const { title, low, high } = data.legend;
  return element("span", "item", {}, `${title} ${low}`, bar, high);
}

function total(values: Uint8Array): number {
  return values.reduce((sum, value) => sum + value, 0);
}

export function drawLegend(
  host: HTMLElement,
  data: MapData,
  theme: Theme,
  points: Columns,
  counts: { missing: number; selected: number },
): void {
  const { legend } = data;
  const shapes = points.u1("shape");
  const diamonds = total(shapes);
  const beneath = points.has("backdrop") ? total(points.u1("backdrop")) : 0;
  const items: HTMLElement[] = [];
  if (legend.kind === "ramp") items.push(ramp(data, theme));
  else if (legend.names.length <= MOST_SWATCHES) {
    legend.names.forEach((name, i) => items.push(item("swatch", name, slotColor(legend.slots[i], theme.palette))));
  }
  if (counts.missing) {
    items.push(item("swatch", `${legend.missing}, ${thousands(counts.missing)}`, theme.palette.edge));
  }
  if (diamonds) {
    if (diamonds < shapes.length - beneath && legend.kind === "categories") {
      items.push(item("circle", `${data.shapes[0]}, ${thousands(shapes.length - diamonds)}`));
    }
    const many = legend.kind === "categories" ? `, ${thousands(diamonds)}` : "";
    items.push(item("diamond", data.shapes[1] + many));
  }
  if (points.has("far")) {
    const [first, second] = [1, 2].map((bit) => total(points.u1("far").map((far) => (far & bit ? 1 : 0))));
    const many = `${thousands(first)} and ${thousands(second)}`;
    if (first + second) items.push(item(`hollow${diamonds ? " turned" : ""}`, `far from every clean image, ${many}`));
  }
  if (beneath) items.push(item("circle ghost", `clean, ${thousands(beneath)}`));
  if (counts.selected) items.push(item(diamonds ? "diamond full" : "circle full", "selected"));
  host.replaceChildren(...items);
}
