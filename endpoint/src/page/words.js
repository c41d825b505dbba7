/** Numbers and short texts for people. */

export const countWords = (text) => (text.trim() ? text.trim().split(/\s+/).length : 0);

export const plural = (count, one) =>
  `${count.toLocaleString("en")} ${one}${count === 1 ? "" : "s"}`;

export function duration(milliseconds) {
  if (milliseconds < 10) {
    return `${milliseconds.toFixed(1)} ms`;
  }
  if (milliseconds < 10000) {
    return `${Math.round(milliseconds).toLocaleString("en")} ms`;
  }
  return `${(milliseconds / 1000).toFixed(1)} s`;
}

/** A share in percent, which is 0 only for an empty part. */
export function percent(part, whole) {
  const share = (100 * part) / whole;
  return share < 1 ? "less than 1%" : `${Math.round(share)}%`;
}

export const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));
