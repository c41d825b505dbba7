/** The main module, which connects the parts of the page. */

import { button, find, make } from "./dom.js";
import * as history from "./history.js";
import { measure } from "./measure.js";
import { Result, compare, listen } from "./results.js";
import { Gone, describe, notReady, summarize } from "./server.js";
import { Settings } from "./settings.js";
import { Source } from "./source.js";
import { countWords, duration, plural, sleep } from "./words.js";

/** Time between two requests to a server that is not ready, or gone. */
const RETRY = 1000;
const START_AGAIN = "Start it again where you started it, and this page goes on.";
/** Width below which the summary is under the text. */
const NARROW = "(max-width: 62rem)";

const COLUMNS = ["a", "b"];
const settings = Object.fromEntries(COLUMNS.map((column) =>
  [column, new Settings(document.querySelector(`fieldset[data-column="${column}"]`), markStale)]));
const results = Object.fromEntries(COLUMNS.map((column) => [column, new Result(column)]));
const source = new Source({ changed: markStale, say });
/** The description of the server. */
let server = { backend: "local", models: [] };
/** Set while requests are running. Aborting it also cancels them on the server. */
let running = null;

function say(message, isError = false) {
  find("status").textContent = message;
  find("status").classList.toggle("error", isError);
}

function trouble(...parts) {
  find("trouble").replaceChildren(...parts);
  find("trouble").hidden = parts.length === 0;
}

const isComparing = () => find("compare").checked;
const columns = () => (isComparing() ? COLUMNS : ["a"]);
/** The model name of requests, if they have one. */
const target = (model) => (server.named ? model?.name : null);

/** Marks the summaries of other texts or settings than the current ones. */
function markStale() {
  COLUMNS.forEach((column) => results[column].compareWith(question(column)));
}

/** Waits for the server's model, and shows its description. */
async function meetServer() {
  for (;;) {
    try {
      server = await describe();
      if (server.models.some(({ ready }) => ready)) {
        return introduce();
      }
      showNoModel(await notReady());
    } catch (error) {
      trouble(error instanceof Gone ? `${error.message} ${START_AGAIN}` : error.message);
    }
    await sleep(RETRY);
  }
}

function introduce() {
  const [model] = server.models;
  const several = server.models.length > 1;
  if (server.backend === "deployed") {
    find("model").textContent = several
      ? `${plural(server.models.length, "endpoint")} in AWS` : `Endpoint ${model.name} in AWS`;
  } else if (several) {
    find("model").textContent = plural(server.models.length, "model");
  } else {
    const limit = model.max_source_tokens.toLocaleString("en");
    find("model").textContent =
      `${model.source}: ${model.architecture}, ${model.precision}, reads ${limit} tokens`;
  }
  trouble(...(server.problem ? [server.problem] : []));
  settings.a.offer(server.models, 0);
  settings.b.offer(server.models, several ? 1 : 0);
  source.allow(server.documents, () => {
    const { model: chosen } = settings.a;
    return chosen && { ready: chosen.ready, target: target(chosen), parts: readsParts() };
  });
}

/** Whether the server reads long documents in parts. */
const readsParts = () => server.long?.includes("parts") ?? false;

function showNoModel(reason) {
  find("model").textContent = "";
  if (server.backend === "deployed") {
    trouble(server.problem ?? "No endpoint of the account is in service. ",
      make("span", {}, " Deploy a model with "), make("code", {}, "epitome deploy"), ".");
  } else if (reason?.includes("being loaded")) {
    find("model").textContent = "The model is being loaded …";
    trouble();
  } else if (reason) {
    trouble(`There is no model to work with: ${reason}. `,
      "The page goes on by itself as soon as the model’s files are right.");
  } else {
    trouble("No model is loaded.");
  }
}

/** Runs one task at a time, and updates the buttons. */
async function work(task) {
  if (running || !find("form").reportValidity()) {
    return;
  }
  running = new AbortController();
  const buttons = [find("summarize"), find("measure")];
  buttons.forEach((one) => { one.disabled = true; });
  find("stop").hidden = false;
  try {
    await task(running.signal);
  } catch (error) {
    const stopped = error.name === "AbortError";
    say(stopped ? "Stopped." : error.message, !stopped);
    if (error instanceof Gone) {
      trouble(`${error.message} ${START_AGAIN}`);
      waitForServer();
    }
  } finally {
    COLUMNS.forEach((column) => results[column].stop());
    running = null;
    buttons.forEach((one) => { one.disabled = false; });
    find("stop").hidden = true;
  }
}

/** Removes the message once the server is back. */
async function waitForServer() {
  for (;;) {
    await sleep(RETRY);
    try {
      if (await notReady() === null) {
        trouble();
        return say("The server is back.");
      }
    } catch {
      // The server is not back yet.
    }
  }
}

/** The request of a column. */
function question(column) {
  const { model, parameters } = settings[column];
  if (readsParts()) {
    parameters.long = "parts";
    if (settings[column].length !== "medium") {
      parameters.length = settings[column].length;
    }
  }
  return {
    backend: server.backend, model, parameters, several: server.models.length > 1,
    file: source.fileName, text: source.text,
  };
}

async function summarizeColumns(signal) {
  say("Summarizing …");
  find("chart").hidden = true;
  find("difference").hidden = true;
  columns().forEach((column) => results[column].start(settings[column].model?.name));
  showResults();
  const times = [];
  // One after the other, because they would share the processor.
  for (const column of columns()) {
    const asked = question(column);
    const call = {
      model: target(asked.model), text: asked.text, parameters: asked.parameters, signal,
      // Other endpoints stream only greedy search, and some containers cannot stream.
      stream: server.backend === "local" || settings[column].beams === 1,
    };
    const result = await summarizeEither(call, (text) => results[column].progress(text));
    results[column].show(result, asked);
    times.push(duration(result.milliseconds));
  }
  compare(results.a, results.b);
  showResults();
  say(`Done in ${times.join(" and ")}.`);
  remember();
}

/** Requests a stream, or the whole summary if the container cannot stream. */
async function summarizeEither(call, piece) {
  try {
    return await summarize(call, piece);
  } catch (error) {
    if (server.backend === "local" || !call.stream || error.status === undefined) {
      throw error;
    }
    return summarize({ ...call, stream: false }, piece);
  }
}

function showResults() {
  if (window.matchMedia(NARROW).matches) {
    const calm = window.matchMedia("(prefers-reduced-motion: reduce)").matches;
    find("results").scrollIntoView({ behavior: calm ? "auto" : "smooth", block: "start" });
  }
}

async function measurePenalties(signal) {
  const { model, beams } = settings.a;
  const { length_penalty: _, ...parameters } = question("a").parameters;
  showResults();
  await measure({ model: target(model), text: source.text, parameters, beams, signal }, say);
  say("Measured.");
}

function remember() {
  history.keep({
    time: Date.now(),
    text: source.text,
    file: source.fileName,
    results: columns().map((column) => {
      const { result, asked } = results[column].shown;
      const { summary, milliseconds, tokens, truncated, read } = result;
      return {
        column, summary, milliseconds, tokens, truncated, read,
        parameters: asked.parameters, settings: settings[column].save(),
      };
    }),
  });
  showHistory();
}

function showHistory() {
  const entries = history.entries();
  find("history").hidden = entries.length === 0;
  find("entries").replaceChildren(...entries.map((entry) => {
    const [first] = entry.results;
    const when = new Date(entry.time).toLocaleString();
    const what = `${entry.file ?? plural(countWords(entry.text), "word")}, ${when}`;
    return make("li", {}, button(first.summary.slice(0, 120) || what, () => recall(entry)),
      make("span", { class: "quiet" }, ` ${what}`));
  }));
}

/** Shows an entry of the history. */
function recall(entry) {
  source.set(entry.text, entry.file);
  find("compare").checked = entry.results.length > 1;
  showColumns();
  for (const { column, settings: saved, parameters, ...result } of entry.results) {
    settings[column].restore(saved);
    const asked = { ...question(column), parameters };
    results[column].show(result, asked);
  }
  markStale();
  compare(results.a, results.b);
  say(`From ${new Date(entry.time).toLocaleString()}.` +
    (entry.cut ? " Of its text only the beginning was kept." : ""));
  showResults();
}

function showColumns() {
  document.body.classList.toggle("comparing", isComparing());
  document.querySelector('fieldset[data-column="b"]').hidden = !isComparing();
  if (!isComparing()) {
    results.b.hide();
    find("difference").hidden = true;
  }
}

find("form").addEventListener("submit", (event) => {
  event.preventDefault();
  work(summarizeColumns);
});
find("measure").addEventListener("click", () => work(measurePenalties));
find("stop").addEventListener("click", () => running?.abort());
find("compare").addEventListener("change", showColumns);
find("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    find("form").requestSubmit();
  }
});
find("forget").addEventListener("click", () => {
  history.forget();
  showHistory();
});
listen(say);
showColumns();
showHistory();
meetServer();
