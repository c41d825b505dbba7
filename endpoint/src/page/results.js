/** The summaries, their facts, and buttons to copy, download and share them. */

import { button, find, make } from "./dom.js";
import { difference } from "./difference.js";
import { asCommand, asCurl } from "./share.js";
import { countWords, duration, plural } from "./words.js";

const STALE = "The text or the settings have changed since.";
const TRUNCATED = "The text is longer than the model reads: its end was left out.";

/** One summary and its place on the page. */
export class Result {
  constructor(column) {
    this.article = document.querySelector(`#results [data-column="${column}"]`);
    const letter = column.toUpperCase();
    this.heading = make("span", { class: "quiet" });
    this.text = make("p", { class: "summary", tabindex: "0", "aria-label": `Summary ${letter}` });
    this.stale = make("p", { class: "note stale-note", hidden: true }, STALE);
    this.note = make("p", { class: "note", hidden: true });
    this.facts = make("dl");
    this.actions = make("p", { class: "actions small", hidden: true },
      button("Copy", () => copy(this.text.textContent, "The summary is copied.")),
      button("Download", () => this.#download()),
      button("As curl", () => this.#share("As a call of curl", asCurl)),
      button("As command", () => this.#share("As a command", asCommand)));
    this.article.append(
      make("h2", {}, "Summary ", make("span", { class: "letter" }, letter), " ", this.heading),
      this.text, this.stale, this.note, this.facts, this.actions);
    this.shown = null;
  }

  /** Prepares for a new summary. */
  start(model) {
    this.shown = null;
    this.article.hidden = false;
    this.article.classList.add("busy");
    this.heading.textContent = model ?? "";
    this.text.textContent = "…";
    this.facts.replaceChildren();
    this.note.hidden = true;
    this.actions.hidden = true;
    this.markStale(false);
  }

  /** Shows the text so far. */
  progress(text) {
    this.text.textContent = text;
  }

  /** Shows a finished summary: its text, its facts, and its request. */
  show(result, asked) {
    this.shown = { result, asked };
    this.article.hidden = false;
    this.article.classList.remove("busy");
    this.heading.textContent = asked.several ? asked.model.name : "";
    this.text.textContent = result.summary || "(an empty summary)";
    this.note.textContent = result.truncated ? TRUNCATED : "";
    this.note.hidden = !this.note.textContent;
    const facts = [
      ["Time", duration(result.milliseconds)],
      ["Length", lengthOf(result)],
      ["Asked for", parametersInWords(asked.parameters)],
    ];
    if (result.read) {
      facts.push(["Read", readInWords(result.read)]);
    }
    this.facts.replaceChildren(...facts.flatMap(([name, value]) =>
      [make("dt", {}, name), make("dd", {}, value)]));
    this.actions.hidden = false;
    this.markStale(false);
  }

  hide() {
    this.shown = null;
    this.article.hidden = true;
    this.article.classList.remove("busy");
  }

  /** Removes an unfinished summary. */
  stop() {
    if (!this.shown) {
      this.hide();
    }
  }

  /** Marks a summary of another text or of other settings than the current ones. */
  compareWith(asked) {
    const made = ({ text, parameters, model }) => JSON.stringify([text, parameters, model?.name]);
    this.markStale(this.shown !== null && made(this.shown.asked) !== made(asked));
  }

  markStale(marked) {
    this.article.classList.toggle("stale", marked);
    this.stale.hidden = !marked;
  }

  #download() {
    const { result, asked } = this.shown;
    const link = make("a", {
      href: URL.createObjectURL(new Blob([`${result.summary}\n`], { type: "text/plain" })),
      download: `${(asked.file ?? "summary").replace(/\.[^.]*$/, "")}.summary.txt`,
    });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  #share(title, write) {
    find("share-title").textContent = title;
    find("share-text").textContent = write({ ...this.shown.asked, origin: location.origin });
    find("share").showModal();
  }
}

function lengthOf({ tokens, summary }) {
  const words = plural(countWords(summary), "word");
  return tokens === null ? words : `${plural(tokens, "token")}, ${words}`;
}

function readInWords({ words, words_read: read, parts }) {
  const all = `${read.toLocaleString("en")} of ${plural(words, "word")}`;
  return parts > 1 ? `${all} in ${plural(parts, "part")}` : all;
}

function parametersInWords(parameters) {
  // The parameters for long texts are shown separately.
  const set = Object.entries(parameters).filter(([name]) => name !== "long")
    .map(([name, value]) => `${name} ${value}`);
  return set.join(", ") || "the model’s own settings";
}

let announce = () => {};

/** Sets up the dialog; `say` shows a message to the user. */
export function listen(say) {
  announce = say;
  find("share-close").addEventListener("click", () => find("share").close());
  find("share-copy").addEventListener("click", async () => {
    await copy(find("share-text").textContent, "Copied.");
    find("share").close();
  });
}

async function copy(text, done) {
  try {
    await navigator.clipboard.writeText(text);
    announce(done);
  } catch {
    announce("The browser lets this page copy nothing: mark the text and copy it.", true);
  }
}

/** Shows the changes from A to B, or says that there are none. */
export function compare(a, b) {
  const section = find("difference");
  section.hidden = !(a.shown && b.shown);
  if (section.hidden) {
    return;
  }
  const [before, after] = [a.shown.result.summary, b.shown.result.summary];
  if (before === after) {
    find("difference-text").replaceChildren();
    find("difference-hint").textContent = sameInWords(a.shown.asked, b.shown.asked);
    return;
  }
  const elements = { removed: "del", added: "ins" };
  find("difference-text").replaceChildren(...difference(before, after).map(({ kind, text }) =>
    (elements[kind] ? make(elements[kind], {}, text) : text)));
  find("difference-hint").textContent = "Struck out: only in A. Underlined: only in B.";
}

function sameInWords(a, b) {
  if (a.model?.name !== b.model?.name) {
    return "Both models give the same summary.";
  }
  const names = new Set([...Object.keys(a.parameters), ...Object.keys(b.parameters)]);
  const changed = [...names].filter((name) => a.parameters[name] !== b.parameters[name]);
  return changed.length
    ? `${changed.join(" and ")} changed nothing here: both summaries are the same.`
    : "Both were asked for the same, and are the same.";
}
