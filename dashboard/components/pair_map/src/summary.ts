/** The words about a selection: "497 selected, 96 % answered “80”". */

import { NO_CLASS } from "./types";

const THIN = "\u202f";

export function thousands(value: number): string {
  return String(value).replace(/\B(?=(\d{3})+$)/g, THIN);
}

/** What the selected samples are answered with; one answer is named from half of them on. */
export function summarize(mask: Uint8Array, count: number, answers: Uint16Array, names: string[]): string {
  if (!count) return "";
  const tally = new Map<number, number>();
  for (let i = 0; i < mask.length; i++) {
    if (mask[i] && answers[i] !== NO_CLASS) tally.set(answers[i], (tally.get(answers[i]) ?? 0) + 1);
  }
  const selected = `${thousands(count)} selected`;
  const ranked = [...tally].sort((a, b) => b[1] - a[1]);
  if (!ranked.length) return selected;
  const [top, votes] = ranked[0];
  if (votes * 2 < count) return `${selected}, spread over ${ranked.length} answers`;
  // Never round up to "100 %" while one of them differs.
  const share = votes === count ? 100 : Math.min(99, Math.round((100 * votes) / count));
  return `${selected}, ${share}${THIN}% answered “${names[top] ?? top}”`;
}
