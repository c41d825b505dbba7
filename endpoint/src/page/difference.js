/** The difference between two texts, by words. */

/** Words of a text, each with the blanks after it. */
const split = (text) => text.match(/\S+\s*/g) ?? [];

/**
 * The changes from one text to another, from a longest common subsequence of words:
 * [{kind: "same" | "removed" | "added", text}].
 */
export function difference(before, after) {
  const [a, b] = [split(before), split(after)];
  const [as, bs] = [a.map((word) => word.trim()), b.map((word) => word.trim())];
  // lengths[i][j]: length of the common subsequence of a from i and b from j.
  const lengths = Array.from({ length: a.length + 1 }, () => new Uint32Array(b.length + 1));
  for (let i = a.length - 1; i >= 0; i -= 1) {
    for (let j = b.length - 1; j >= 0; j -= 1) {
      lengths[i][j] = as[i] === bs[j]
        ? lengths[i + 1][j + 1] + 1
        : Math.max(lengths[i + 1][j], lengths[i][j + 1]);
    }
  }
  const parts = [];
  const add = (kind, text) => {
    const last = parts.at(-1);
    if (last?.kind === kind) {
      last.text += text;
    } else {
      parts.push({ kind, text });
    }
  };
  let [i, j] = [0, 0];
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && as[i] === bs[j]) {
      add("same", b[j]);
      i += 1;
      j += 1;
    } else if (j === b.length || (i < a.length && lengths[i + 1][j] >= lengths[i][j + 1])) {
      add("removed", a[i]);
      i += 1;
    } else {
      add("added", b[j]);
      j += 1;
    }
  }
  return parts;
}
