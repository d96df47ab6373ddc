/** The hover card: one sample's image, both answers, and how far they are apart. */

import type { Columns } from "./columns";
import { element } from "./dom";
import { type MapData, NO_CLASS } from "./types";

const WIDTH = 238;
const GAP = 18;
const DELAY = 80;

export class Card {
  readonly root = element("div", "card", { "aria-hidden": "true", "data-testid": "hover-card" });
  private timer = 0;
  private row = -1;

  /** Show `row` near (x, y) after the delay; a card that is open follows at once. */
  show(row: number, x: number, y: number, points: Columns, data: MapData): void {
    if (row === this.row) return;
    window.clearTimeout(this.timer);
    this.row = row;
    const open = this.root.classList.contains("open");
    this.timer = window.setTimeout(() => {
      this.fill(row, points, data);
      this.place(x, y);
      this.root.classList.add("open");
    }, open ? 0 : DELAY);
  }

  hide(): void {
    window.clearTimeout(this.timer);
    this.row = -1;
    this.root.classList.remove("open");
  }

  private fill(row: number, points: Columns, data: MapData): void {
    const lines = element("div", "lines");
    const name = (code: number) => (code === NO_CLASS ? "none" : (data.names[code] ?? String(code)));
    const id = points.text("id", row);
    const first = element("div", "line first", {}, element("span", "id", {}, id.slice(id.lastIndexOf("/") + 1)));
    if (points.has("label") && points.u2("label")[row] !== NO_CLASS) {
      first.append(element("span", "", {}, `label ${name(points.u2("label")[row])}`));
    }
    lines.append(first);
    for (const side of ["teacher", "student"] as const) {
      const probability = points.f4(`${side}_probability`)[row].toFixed(2);
      const answer = name(points.u2(`${side}_answer`)[row]);
      const mark = element("span", `mark ${side}`);
      lines.append(
        element("div", "line", {}, mark, element("span", `answer ${side}`, {}, answer), ` ${probability}`),
      );
    }
    lines.append(element("div", "line kl", {}, `KL ${points.f4("kl")[row].toFixed(2)}`));
    this.root.replaceChildren(...this.image(row, points, data), lines);
  }

  private image(row: number, points: Columns, data: MapData): HTMLElement[] {
    const index = points.has("thumbnail") ? points.u4("thumbnail")[row] : row;
    const source = data.pictures?.(index) ?? data.thumbnail?.replace("{index}", String(index));
    if (!source) return [];
    const image = element("img", "thumbnail", { src: source, alt: "", width: "68", height: "68" });
    image.addEventListener("error", () => image.remove());
    return [image];
  }

  /** Beside the point, flipped where the edge is near, so never under the pointer. */
  private place(x: number, y: number): void {
    const stage = this.root.parentElement as HTMLElement;
    const high = this.root.offsetHeight || 88;
    const left = x + GAP + WIDTH > stage.clientWidth ? x - GAP - WIDTH : x + GAP;
    const top = y + GAP + high > stage.clientHeight ? y - GAP - high : y + GAP;
    this.root.style.transform = `translate(${Math.max(0, Math.round(left))}px, ${Math.round(top)}px)`;
  }
}
