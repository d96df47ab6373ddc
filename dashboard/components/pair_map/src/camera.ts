/** One camera for both maps: they share a frame, so they share pan and zoom. */

import type { Bounds } from "./grid";

const MARGIN = 26;
const [LEAST, MOST] = [0.5, 400];

export interface View {
  x: number;
  y: number;
  zoom: number;
}

const saved = new Map<string, View>();

export class Camera {
  width = 1;
  height = 1;
  private bounds: Bounds = { left: 0, right: 1, bottom: 0, top: 1 };
  private view: View;

  /** `name` outlives the component, so that a page change keeps the zoom. */
  constructor(private readonly name: string) {
    this.view = saved.get(name) ?? { x: 0.5, y: 0.5, zoom: 1 };
  }

  /** Set the frame; the view is relative to it and stays. */
  frame(bounds: Bounds): void {
    this.bounds = bounds;
  }

  get zoom(): number {
    return this.view.zoom;
  }

  /** Pixels per unit of the layout. */
  get scale(): number {
    const { left, right, bottom, top } = this.bounds;
    const wide = Math.max(1, this.width - 2 * MARGIN) / (right - left || 1);
    const high = Math.max(1, this.height - 2 * MARGIN) / (top - bottom || 1);
    return Math.min(wide, high) * this.view.zoom;
  }

  get centerX(): number {
    return this.bounds.left + this.view.x * (this.bounds.right - this.bounds.left || 1);
  }

  get centerY(): number {
    return this.bounds.bottom + this.view.y * (this.bounds.top - this.bounds.bottom || 1);
  }

  toScreen(x: number, y: number): [number, number] {
    const s = this.scale;
    return [this.width / 2 + (x - this.centerX) * s, this.height / 2 - (y - this.centerY) * s];
  }

  toData(px: number, py: number): [number, number] {
    const s = this.scale;
    return [this.centerX + (px - this.width / 2) / s, this.centerY - (py - this.height / 2) / s];
  }

  private place(x: number, y: number, zoom: number): void {
    const { left, right, bottom, top } = this.bounds;
    const share = (value: number, low: number, high: number) =>
      Math.min(1.2, Math.max(-0.2, (value - low) / (high - low || 1)));
    this.view = { x: share(x, left, right), y: share(y, bottom, top), zoom };
    saved.set(this.name, this.view);
  }

  pan(dx: number, dy: number): void {
    const s = this.scale;
    this.place(this.centerX - dx / s, this.centerY + dy / s, this.view.zoom);
  }

  /** Zoom by `factor` while what is under the pixel (px, py) stays there. */
  zoomAt(px: number, py: number, factor: number): void {
    const [x, y] = this.toData(px, py);
    const zoom = Math.min(MOST, Math.max(LEAST, this.view.zoom * factor));
    const ratio = this.view.zoom / zoom;
    this.place(x + (this.centerX - x) * ratio, y + (this.centerY - y) * ratio, zoom);
  }

  centerOn(x: number, y: number): void {
    this.place(x, y, this.view.zoom);
  }

  fit(): void {
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    saved.set(this.name, this.view);
  }
}
