/** Which samples are selected, and telling Python. */

import { fromBase64, packBits, toBase64, unpackBits } from "./bits";
import type { GivenSelection, Lasso, ReportedSelection } from "./types";

export type Mode = "replace" | "add" | "remove";

export class Selection {
  readonly mask: Uint8Array;
  count = 0;
  lasso: Lasso | null = null;
  clicked: number | null = null;

  constructor(size: number) {
    this.mask = new Uint8Array(size);
  }

  /** Combine with the samples marked in `found`; only a fresh lasso is described by its polygon. */
  apply(found: Uint8Array, mode: Mode, lasso: Lasso | null, clicked: number | null = null): void {
    let count = 0;
    for (let i = 0; i < this.mask.length; i++) {
      const next =
        mode === "add" ? this.mask[i] | found[i] : mode === "remove" ? this.mask[i] & ~found[i] : found[i];
      this.mask[i] = next;
      count += next;
    }
    this.count = count;
    this.lasso = mode === "replace" && count ? lasso : null;
    this.clicked = mode === "replace" ? clicked : null;
  }

  clear(): void {
    this.mask.fill(0);
    this.count = 0;
    this.lasso = this.clicked = null;
  }

  /** Take over what Python asks for. */
  take(given: GivenSelection): void {
    this.count = unpackBits(fromBase64(given.bits), this.mask);
    this.lasso = given.lasso;
    this.clicked = null;
  }
}

const DELAY = 150;

/** Tells Python about selections, once the user has paused. */
export class Reporter {
  private timer = 0;
  private given = 0;

  constructor(private readonly send: (report: ReportedSelection) => void) {}

  /** Whether `wish` was not followed yet; asking marks it as followed. */
  isNews(wish: GivenSelection | null): wish is GivenSelection {
    if (!wish || wish.serial === this.given) return false;
    this.given = wish.serial;
    window.clearTimeout(this.timer);
    return true;
  }

  report(points: string, selection: Selection): void {
    window.clearTimeout(this.timer);
    this.timer = window.setTimeout(() => {
      this.send({
        points,
        count: selection.count,
        bits: selection.count ? toBase64(packBits(selection.mask)) : null,
        lasso: selection.lasso,
        clicked: selection.clicked,
        given: this.given,
      });
    }, DELAY);
  }

  /** Other points: no wish about them was followed, nothing is left to say about the old ones. */
  forget(): void {
    this.given = 0;
    this.stop();
  }

  stop(): void {
    window.clearTimeout(this.timer);
  }
}
