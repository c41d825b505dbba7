/** The text (pasted, dropped, opened or an example), its size and its token counts. */

import { find, make } from "./dom.js";
import { EXAMPLES } from "./examples.js";
import { countTokens, readFile } from "./server.js";
import { countWords, percent, plural } from "./words.js";

/** Pause in typing before tokens are counted. */
const PAUSE = 350;
/** Largest number of characters whose tokens are counted, as on the server. */
const MAX_COUNTED = 3000000;
const NO_TEXT = "That file cannot be opened here: paste its text.";

export class Source {
  /** `changed` is called when the text changes, and `say` with messages for the user. */
  constructor({ changed, say }) {
    this.changed = changed;
    this.say = say;
    this.area = find("text");
    this.fileName = null;
    this.documents = [];
    this.reads = false;
    this.model = () => null;
    this.#listen();
  }

  get text() {
    return this.area.value;
  }

  set(text, fileName = null) {
    this.area.value = text;
    this.fileName = fileName;
    this.#edited();
  }

  /** Whether the server reads files. Otherwise the browser reads plain text. */
  allow(reads, countsFor) {
    this.reads = reads;
    this.model = countsFor;
    find("open").hidden = false;
    this.#count();
  }

  #listen() {
    const [picker, example] = [find("file"), find("example")];
    find("open").addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.#open(picker.files[0]);
      picker.value = "";
    });
    const options = EXAMPLES.map(({ name }) => new Option(name, name));
    example.append(new Option("Examples", ""), ...options);
    example.addEventListener("change", () => {
      const chosen = EXAMPLES.find(({ name }) => name === example.value);
      if (chosen) {
        this.#offer([]);
        this.set(chosen.text);
      }
      example.value = "";
    });
    find("clear").addEventListener("click", () => {
      this.#offer([]);
      this.set("");
      this.area.focus();
    });
    this.area.addEventListener("input", () => this.#edited());
    find("document").addEventListener("change", () => this.#show(find("document").selectedIndex));
    document.addEventListener("dragover", (event) => {
      event.preventDefault();
      document.body.classList.add("dropping");
    });
    for (const end of ["dragleave", "drop"]) {
      document.addEventListener(end, () => document.body.classList.remove("dropping"));
    }
    document.addEventListener("drop", (event) => {
      event.preventDefault();
      const [file] = event.dataTransfer.files;
      const text = event.dataTransfer.getData("text/plain");
      if (file) {
        this.#open(file);
      } else if (text) {
        this.#offer([]);
        this.set(text);
      }
    });
  }

  async #open(file) {
    if (!file) {
      return;
    }
    this.reading?.abort();
    this.reading = new AbortController();
    const { signal } = this.reading;
    this.say(`Reading ${file.name} …`);
    try {
      const documents = this.reads ? await readFile(file, signal) : [await readText(file)];
      this.fileName = file.name;
      this.#offer(documents);
      this.#show(0);
      this.say(`${file.name} is read.`);
    } catch (error) {
      if (error.name !== "AbortError") {
        this.say(`${file.name}: ${error.message}`, true);
      }
    }
  }

  /** Offers the documents of a file, if it has several. */
  #offer(documents) {
    this.documents = documents;
    const label = ({ title }, index) => title ?? `${index + 1} of ${documents.length}`;
    const options = documents.map((one, index) => make("option", {}, label(one, index)));
    find("document").replaceChildren(...options);
    find("row-of-file").hidden = documents.length < 2;
  }

  #show(index) {
    const document = this.documents[index];
    if (document) {
      this.set(textOf(document), this.fileName);
    }
  }

  #edited() {
    this.changed();
    this.#count();
  }

  /** Shows the size of the text: words at once, tokens after a pause. */
  #count() {
    clearTimeout(this.pause);
    this.counting?.abort();
    const { text } = this;
    const words = plural(countWords(text), "word");
    find("size").textContent = words;
    const model = this.model();
    if (!model?.ready || !text.trim() || text.length > MAX_COUNTED) {
      return;
    }
    this.pause = setTimeout(async () => {
      this.counting = new AbortController();
      try {
        const count = await countTokens(model.target, text, this.counting.signal);
        if (count && text === this.text) {
          find("size").textContent = `${words}, ${inWindow(count, model.parts)}`;
        }
      } catch {
        // It was stopped, or the server is gone, which the next summary reports.
      }
    }, PAUSE);
  }
}

/** Describes the token count, compared with the model's window. */
export function inWindow({ tokens, more, window, parts }, readsParts) {
  const all = `${more ? "more than " : ""}${tokens.toLocaleString("en")}`;
  if (tokens <= window && !more) {
    return `${all} of ${plural(window, "token")}`;
  }
  if (readsParts) {
    const estimate = parts ?? Math.ceil(tokens / window);
    return `${all} tokens: read in ${parts ? "" : "about "}${plural(estimate, "part")}`;
  }
  const share = more ? "" : ` (${percent(window, tokens)})`;
  return `${all} tokens: the model reads the first ${window.toLocaleString("en")}${share}`;
}

/** The text of a document, headings on lines of their own. */
export function textOf({ sections }) {
  const parts = sections.map(({ heading, text }) =>
    heading && !text.startsWith(heading) ? `${heading}\n\n${text}` : text);
  return parts.map((part) => part.trim()).filter(Boolean).join("\n\n");
}

async function readText(file) {
  const text = await file.text();
  if (text.includes("\0") || text.includes("\ufffd")) {
    throw new Error(NO_TEXT);
  }
  return { title: null, sections: [{ heading: null, page: null, text }] };
}
