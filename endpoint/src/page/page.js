"use strict";

const PENALTIES = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3, 1.4, 1.5];
/** Each setting is measured so often, and the median is shown. */
const REPEATS = 3;
const BEAMS = [1, 2, 4, 8];
const RETRY = 1000;

const find = (id) => document.getElementById(id);
const form = find("form");
const text = find("text");
const statusLine = find("status");
const compare = find("compare");
/** Set while requests are under way; aborting it cancels them, on the server too. */
let running = null;

const sleep = (time) => new Promise((resolve) => setTimeout(resolve, time));

function say(message, isError = false) {
  statusLine.textContent = message;
  statusLine.classList.toggle("error", isError);
}

/** The key of a server that asks for one, as long as the page is open. */
let key = null;

/** Fetches, with the key where the server asks for one. */
async function ask(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    const response = await fetch(path, { ...options, headers });
    if (response.status !== 401) {
      return response;
    }
    key = window.prompt("This server asks for a key.");
    if (!key) {
      return response;
    }
  }
}

async function describeModel() {
  for (;;) {
    try {
      const info = await (await ask("info")).json();
      const model = info.models[0];
      if (model?.ready) {
        const limit = model.max_source_tokens.toLocaleString();
        find("model").textContent = `${model.source}: ${model.architecture}, ${model.precision}, reads ${limit} tokens`;
        offerBeams(model.generation_defaults.num_beams ?? 1);
        setPenalty("a", model.generation_defaults.length_penalty ?? 1);
        return;
      }
      const ping = await (await ask("ping")).json();
      find("model").textContent = ping.message ?? "No model is loaded.";
    } catch {
      find("model").textContent = "The server does not answer.";
    }
    await sleep(RETRY);
  }
}

function offerBeams(preferred) {
  const counts = [...new Set([...BEAMS, preferred])].sort((a, b) => a - b);
  for (const column of ["a", "b"]) {
    const select = find(`beams-${column}`);
    select.replaceChildren(...counts.map((count) => {
      const label = count === 1 ? "1, greedy search" : String(count);
      return new Option(label, count, false, count === preferred);
    }));
  }
}

/** One request; the time is what the user waits, the rest is what the server says. */
async function summarize(inputs, parameters, signal) {
  const start = performance.now();
  const response = await ask("invocations", {
    method: "POST",
    headers: { "Content-Type": "application/json", Accept: "application/json" },
    body: JSON.stringify({ inputs, parameters }),
    signal,
  });
  const body = await response.json();
  const milliseconds = performance.now() - start;
  if (!response.ok) {
    throw new Error(body.message ?? `The server answered ${response.status}.`);
  }
  const answer = Array.isArray(body) ? body[0] : body;
  return {
    summary: answer.summary_text ?? answer.generated_text,
    milliseconds,
    tokens: Number(serverTiming(response, "tokens")?.desc ?? 0),
    encode: Number(serverTiming(response, "encode")?.dur ?? 0),
    decode: Number(serverTiming(response, "decode")?.dur ?? 0),
    truncated: response.headers.has("X-Epitome-Truncated"),
  };
}

function serverTiming(response, name) {
  const entries = (response.headers.get("Server-Timing") ?? "").split(",");
  for (const entry of entries) {
    const [key, ...parameters] = entry.trim().split(";");
    if (key === name) {
      return Object.fromEntries(parameters.map((parameter) => {
        const [field, value] = parameter.split("=");
        return [field, value?.replaceAll('"', "")];
      }));
    }
  }
  return null;
}

function settings(column) {
  return {
    length_penalty: Number(find(`penalty-${column}`).value),
    num_beams: Number(find(`beams-${column}`).value),
  };
}

const words = (string) => (string.trim() ? string.trim().split(/\s+/).length : 0);
const plural = (count, one) => `${count.toLocaleString()} ${one}${count === 1 ? "" : "s"}`;
const inMilliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value).toLocaleString()} ms`;

function show(column, result, parameters) {
  const article = document.querySelector(`#results [data-column="${column}"]`);
  article.querySelector(".summary").textContent = result.summary || "(an empty summary)";
  const facts = [
    ["Time", inMilliseconds(result.milliseconds)],
    ["Encoder", inMilliseconds(result.encode)],
    ["Decoder", inMilliseconds(result.decode)],
    ["Length", `${plural(result.tokens, "token")}, ${plural(words(result.summary), "word")}`],
    ["Settings", `length ${parameters.length_penalty.toFixed(1)}, ${plural(parameters.num_beams, "beam")}`],
  ];
  article.querySelector(".note").hidden = !result.truncated;
  article.querySelector("dl").replaceChildren(...facts.flatMap(([name, value]) => {
    const [term, detail] = [document.createElement("dt"), document.createElement("dd")];
    term.textContent = name;
    detail.textContent = value;
    return [term, detail];
  }));
  article.hidden = false;
}

/** Runs one piece of work at a time, with the buttons to match. */
async function work(task) {
  if (running || !form.reportValidity()) {
    return;
  }
  running = new AbortController();
  const buttons = [find("summarize"), find("measure")];
  buttons.forEach((button) => { button.disabled = true; });
  find("stop").hidden = false;
  try {
    await task(text.value, running.signal);
  } catch (error) {
    const stopped = error.name === "AbortError";
    say(stopped ? "Stopped." : error.message, !stopped);
  } finally {
    running = null;
    buttons.forEach((button) => { button.disabled = false; });
    find("stop").hidden = true;
  }
}

async function summarizeColumns(inputs, signal) {
  say("Summarizing …");
  const columns = compare.checked ? ["a", "b"] : ["a"];
  // One after the other: side by side they would share the processor, and their times would say nothing.
  const times = [];
  for (const column of columns) {
    const parameters = settings(column);
    const result = await summarize(inputs, parameters, signal);
    show(column, result, parameters);
    times.push(inMilliseconds(result.milliseconds));
  }
  say(`Done in ${times.join(" and ")}.`);
}

async function measurePenalties(inputs, signal) {
  const beams = Number(find("beams-a").value);
  const points = [];
  find("chart").hidden = false;
  find("chart-hint").textContent =
    `${plural(beams, "beam")}; median of ${REPEATS} runs each.` +
    (beams === 1 ? " Greedy search ignores length_penalty: choose more beams to see it work." : "");
  draw(points);
  await summarize(inputs, { num_beams: beams }, signal);
  for (const penalty of PENALTIES) {
    say(`Measuring length ${penalty.toFixed(1)} …`);
    const runs = [];
    for (let run = 0; run < REPEATS; run += 1) {
      runs.push(await summarize(inputs, { length_penalty: penalty, num_beams: beams }, signal));
    }
    runs.sort((a, b) => a.milliseconds - b.milliseconds);
    points.push({ penalty, ...runs[Math.floor(REPEATS / 2)] });
    draw(points);
  }
  const [first, last] = [points[0], points.at(-1)];
  say(`Measured: from ${first.tokens} tokens in ${inMilliseconds(first.milliseconds)} at 0.5 ` +
    `to ${last.tokens} tokens in ${inMilliseconds(last.milliseconds)} at 1.5.`);
}

function draw(points) {
  plot(find("latency"), points.map(({ penalty, milliseconds }) => [penalty, milliseconds]), "ms");
  plot(find("length"), points.map(({ penalty, tokens }) => [penalty, tokens]), "tokens");
  find("figures").replaceChildren(...points.map((point) => {
    const row = document.createElement("tr");
    const cells = [point.penalty.toFixed(1), point.milliseconds.toFixed(1), point.tokens, point.summary];
    row.append(...cells.map((value) => {
      const cell = document.createElement("td");
      cell.textContent = value;
      return cell;
    }));
    return row;
  }));
}

function element(name, attributes, content) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", name);
  Object.entries(attributes).forEach(([key, value]) => node.setAttribute(key, value));
  if (content !== undefined) {
    node.textContent = content;
  }
  return node;
}

/** A line over 0.5 to 1.5, from zero up: a cut axis would make small differences look large. */
function plot(svg, points, unit) {
  const [left, right, top, bottom] = [48, 468, 12, 186];
  const highest = roundUp(1.05 * Math.max(1, ...points.map(([, value]) => value)));
  const x = (penalty) => left + (penalty - 0.5) * (right - left);
  const y = (value) => bottom - (value / highest) * (bottom - top);
  const nodes = [];
  for (const share of [0, 0.25, 0.5, 0.75, 1]) {
    const value = highest * share;
    nodes.push(element("line", { class: share ? "grid" : "axis", x1: left, x2: right, y1: y(value), y2: y(value) }));
    nodes.push(element("text", { x: left - 8, y: y(value) + 4, "text-anchor": "end" }, Number(value.toPrecision(3))));
  }
  for (const penalty of [0.5, 0.7, 0.9, 1.1, 1.3, 1.5]) {
    nodes.push(element("text", { x: x(penalty), y: bottom + 20, "text-anchor": "middle" }, penalty.toFixed(1)));
  }
  nodes.push(element("polyline", { points: points.map(([penalty, value]) => `${x(penalty)},${y(value)}`).join(" ") }));
  for (const [penalty, value] of points) {
    const dot = element("circle", { cx: x(penalty), cy: y(value), r: 4.5 });
    dot.append(element("title", {}, `${penalty.toFixed(1)}: ${Number(value.toFixed(1))} ${unit}`));
    nodes.push(dot);
  }
  svg.replaceChildren(...nodes);
  const told = points.map(([penalty, value]) => `${penalty.toFixed(1)}: ${Math.round(value)}`).join(", ");
  svg.setAttribute("aria-label", `${unit} over length_penalty. ${told || "Nothing measured yet."}`);
}

function roundUp(value) {
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((step) => step * power).find((step) => step >= value);
}

function showPenalty(column) {
  find(`penalty-${column}-value`).textContent = Number(find(`penalty-${column}`).value).toFixed(1);
}

/** The slider keeps a value within its ends. */
function setPenalty(column, penalty) {
  find(`penalty-${column}`).value = penalty;
  showPenalty(column);
}

function showCompare() {
  document.body.classList.toggle("comparing", compare.checked);
  document.querySelector('#settings [data-column="b"]').hidden = !compare.checked;
  if (!compare.checked) {
    document.querySelector('#results [data-column="b"]').hidden = true;
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  work(summarizeColumns);
});
find("measure").addEventListener("click", () => work(measurePenalties));
find("stop").addEventListener("click", () => running?.abort());
compare.addEventListener("change", showCompare);
text.addEventListener("input", () => { find("text-size").textContent = plural(words(text.value), "word"); });
text.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) {
    form.requestSubmit();
  }
});
for (const column of ["a", "b"]) {
  find(`penalty-${column}`).addEventListener("input", () => showPenalty(column));
  showPenalty(column);
}
offerBeams(4);
showCompare();
describeModel();
