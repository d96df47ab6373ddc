/** Colors: which of the two palettes the page shows, and color codes as texture entries. */

import type { Rgba } from "./renderer";
import type { Legend, MapData, Palette } from "./types";

export interface Theme {
  name: "light" | "dark";
  palette: Palette;
  font: string;
}

export function parseColor(text: string): Rgba {
  const hex = /^#([0-9a-f]{6})$/i.exec(text.trim());
  if (hex) {
    const value = parseInt(hex[1], 16);
    return [((value >> 16) & 255) / 255, ((value >> 8) & 255) / 255, (value & 255) / 255, 1];
  }
  const parts = (text.match(/[\d.]+/g) ?? ["1", "1", "1"]).map(Number);
  return [(parts[0] ?? 255) / 255, (parts[1] ?? 255) / 255, (parts[2] ?? 255) / 255, 1];
}

/** Streamlit hands its theme over as CSS variables; the background tells light from dark. */
export function readTheme(host: Element, palettes: MapData["palettes"]): Theme {
  const style = getComputedStyle(host);
  const background = style.getPropertyValue("--st-background-color") || "#ffffff";
  const [r, g, b] = parseColor(background);
  const name = 0.2126 * r + 0.7152 * g + 0.0722 * b < 0.5 ? "dark" : "light";
  const font = style.getPropertyValue("--st-font").trim() || "sans-serif";
  return { name, palette: palettes[name], font };
}

export function slotColor(slot: number | string, palette: Palette): string {
  if (typeof slot === "string") return String(palette[slot] ?? palette.reference);
  return palette.classes[slot] ?? palette.reference;
}

function between(stops: Rgba[], at: number): Rgba {
  const x = at * (stops.length - 1);
  const i = Math.min(stops.length - 2, Math.floor(x));
  return stops[i].map((part, k) => part + (stops[i + 1][k] - part) * (x - i)) as Rgba;
}

export const RAMP_STEPS = 255;

/** The code that stands for "not measured": the one after all others. */
export function missingCode(legend: Legend): number {
  return legend.kind === "ramp" ? RAMP_STEPS : legend.slots.length;
}

/** The color of every code; the last entry is "not measured". */
export function codeColors(legend: Legend, palette: Palette): Rgba[] {
  const missing = parseColor(palette.edge);
  if (legend.kind === "categories") {
    return [...legend.slots.map((slot) => parseColor(slotColor(slot, palette))), missing];
  }
  const stops = (palette[legend.ramp] as string[]).map(parseColor);
  const ramp = Array.from({ length: RAMP_STEPS }, (_, i) => between(stops, i / (RAMP_STEPS - 1)));
  return [...ramp, missing];
}
