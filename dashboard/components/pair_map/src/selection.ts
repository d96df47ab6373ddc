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
  private pending: (() => void) | null = null;

  constructor(private readonly send: (report: ReportedSelection) => void) {}

  /** Whether `wish` was not followed yet; asking marks it as followed. */
  isNews(wish: GivenSelection | null): wish is GivenSelection {
    if (!wish || wish.serial === this.given) return false;
    this.given = wish.serial;
    this.stop();
    return true;
  }

  report(points: string, selection: Selection): void {
    this.stop();
    this.pending = () => {
      this.stop();
      this.send({
        points,
        count: selection.count,
        bits: selection.count ? toBase64(packBits(selection.mask)) : null,
        lasso: selection.lasso,
        clicked: selection.clicked,
        given: this.given,
      });
    };
    this.timer = window.setTimeout(this.pending, DELAY);
  }

  /** Other points: what is left to say about the old ones is said, no wish about these was followed. */
  forget(): void {
    this.pending?.();
    this.given = 0;
  }

  stop(): void {
    window.clearTimeout(this.timer);
    this.pending = null;
  }
}
