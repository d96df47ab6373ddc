/** The 2-D canvas over the points: class names, the lasso, the rings. */

import type { Camera } from "./camera";
import { type PlacedLabel } from "./labels";
import type { Area } from "./renderer";
import type { Theme } from "./theme";
import type { Lasso } from "./types";

export interface OverlayMap {
  area: Area;
  labels: PlacedLabel[];
  /** Where the ringed sample lies in this map, in the layout's units. */
  ring: [number, number] | null;
  /** The polygon that made the selection. */
  lasso: Lasso["points"] | null;
  /** The line being drawn now, in pixels. */
  drawing: [number, number][] | null;
}

export class Overlay {
  private readonly context: CanvasRenderingContext2D;

  constructor(private readonly canvas: HTMLCanvasElement) {
    this.context = canvas.getContext("2d")!;
  }

  setFont(family: string): void {
    this.family = family;
  }

  private family = "sans-serif";

  measure(text: string): number {
    this.context.font = `500 12px ${this.family}`;
    return this.context.measureText(text).width;
  }

  resize(width: number, height: number, ratio: number): void {
    this.canvas.width = Math.round(width * ratio);
    this.canvas.height = Math.round(height * ratio);
    this.ratio = ratio;
  }

  private ratio = 1;

  draw(maps: OverlayMap[], camera: Camera, theme: Theme, isolated: number | null): void {
    const c = this.context;
    c.setTransform(1, 0, 0, 1, 0, 0);
    c.clearRect(0, 0, this.canvas.width, this.canvas.height);
    for (const map of maps) {
      c.setTransform(this.ratio, 0, 0, this.ratio, map.area.left * this.ratio, map.area.top * this.ratio);
      c.save();
      c.beginPath();
      c.rect(0, 0, map.area.width, map.area.height);
      c.clip();
      if (map.lasso) this.polygon(map.lasso.map(([x, y]) => camera.toScreen(x, y)), theme, true);
      this.labels(map.labels, theme, isolated);
      if (map.drawing) this.polygon(map.drawing, theme, false);
      if (map.ring) this.ring(camera.toScreen(...map.ring), theme);
      c.restore();
    }
  }

  private polygon(points: [number, number][], theme: Theme, closed: boolean): void {
    const c = this.context;
    c.beginPath();
    points.forEach(([x, y], i) => (i ? c.lineTo(x, y) : c.moveTo(x, y)));
    if (closed) c.closePath();
    c.globalAlpha = 0.06;
    c.fillStyle = theme.palette.text;
    c.fill();
    c.globalAlpha = 1;
    c.strokeStyle = theme.palette.text;
    c.lineWidth = 1.2;
    c.setLineDash([4, 3]);
    c.stroke();
    c.setLineDash([]);
  }

  private labels(labels: PlacedLabel[], theme: Theme, isolated: number | null): void {
    const c = this.context;
    c.textAlign = "center";
    c.textBaseline = "middle";
    c.lineJoin = "round";
    c.lineWidth = 3.5;
    c.font = `500 12px ${this.family}`;
    for (const { text, x, y, group } of labels) {
      c.globalAlpha = isolated === null || isolated === group ? 1 : 0.35;
      c.strokeStyle = theme.palette.background;
      c.strokeText(text, x, y);
      c.fillStyle = theme.palette.text;
      c.fillText(text, x, y);
    }
    c.globalAlpha = 1;
  }

  private ring([x, y]: [number, number], theme: Theme): void {
    const c = this.context;
    for (const [width, color] of [[5, theme.palette.background], [1.8, theme.palette.text]] as const) {
      c.beginPath();
      c.arc(x, y, 8.5, 0, 2 * Math.PI);
      c.lineWidth = width;
      c.strokeStyle = color;
      c.stroke();
    }
  }
}
