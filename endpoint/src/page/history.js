/** Earlier summaries, stored in the browser. */

const KEY = "epitome.history";
const MAX_ENTRIES = 30;
/** Stored characters of a text. The browser gives a page about five million in all. */
const MAX_TEXT = 200000;

export function entries() {
  try {
    const read = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(read) ? read : [];
  } catch {
    return [];
  }
}

/** Keeps an entry: {time, text, file, results: [{column, model, parameters, summary, facts}]}. */
export function keep(entry) {
  const kept = { ...entry, text: entry.text.slice(0, MAX_TEXT), cut: entry.text.length > MAX_TEXT };
  const made = ({ text, results }) => JSON.stringify([text, results.map(({ summary }) => summary)]);
  const earlier = entries().filter((other) => made(other) !== made(kept));
  let all = [kept, ...earlier].slice(0, MAX_ENTRIES);
  while (all.length) {
    try {
      localStorage.setItem(KEY, JSON.stringify(all));
      return;
    } catch (error) {
      // The storage is full, or the browser stores nothing for this page.
      if (error.name !== "QuotaExceededError") {
        return;
      }
      all = all.slice(0, -1);
    }
  }
}

export function forget() {
  try {
    localStorage.removeItem(KEY);
  } catch {
    // Nothing was stored.
  }
}
