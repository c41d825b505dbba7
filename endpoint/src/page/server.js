/** Requests to the server. Every failure is an Error with a message for people. */

import { readEvents } from "./events.js";

const TARGET = "X-Amzn-SageMaker-Target-Model";

/** The API key, stored as long as the page is open. */
let key = null;

/** The server cannot be reached. */
export class Gone extends Error {
  constructor() {
    super("The server does not answer any more.");
  }
}

/** Fetches, with the API key if the server requires one. */
async function ask(path, options = {}) {
  for (;;) {
    const headers = { ...options.headers, ...(key && { Authorization: `Bearer ${key}` }) };
    let response;
    try {
      response = await fetch(path, { ...options, headers });
    } catch (error) {
      throw error.name === "AbortError" ? error : new Gone();
    }
    if (response.status !== 401) {
      return response;
    }
    key = window.prompt("This server asks for a key.");
    if (!key) {
      return response;
    }
  }
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  const failure = new Error(body.message ?? `The server answered with status ${response.status}.`);
  failure.status = response.status;
  return failure;
}

/** The models or endpoints, and the abilities of the server. */
export async function describe() {
  const response = await ask("info");
  if (!response.ok) {
    throw await refusal(response);
  }
  return response.json();
}

/** The server's reason why it is not ready; null if it is. */
export async function notReady() {
  const response = await ask("ping");
  return response.ok ? null : (await response.json()).message;
}

const named = (model) => (model ? { [TARGET]: model } : {});

/** Token counts of a text: {tokens, more, window}, or null if the tokenizer is unknown. */
export async function countTokens(model, text, signal) {
  const headers = { "Content-Type": "text/plain", ...named(model) };
  const response = await ask("tokens", { method: "POST", headers, body: text, signal });
  return response.ok ? response.json() : null;
}

/** The documents in a file: [{title, sections: [{heading, page, text}]}]. */
export async function readFile(file, signal) {
  const headers = {
    "Content-Type": "application/octet-stream",
    "X-Epitome-File-Name": encodeURIComponent(file.name),
  };
  const response = await ask("documents", { method: "POST", headers, body: file, signal });
  if (!response.ok) {
    throw await refusal(response);
  }
  return (await response.json()).documents;
}

/** The request that `summarize` sends, for showing it. */
export function request(text, parameters) {
  return { inputs: text, parameters };
}

/**
 * Requests a summary. `piece` receives the text of a stream. The time is the user's waiting time.
 */
export async function summarize({ model, text, parameters, stream, signal }, piece = () => {}) {
  const start = performance.now();
  const response = await ask("invocations", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      Accept: stream ? "text/event-stream" : "application/json",
      ...named(model),
    },
    body: JSON.stringify({ ...request(text, parameters), ...(stream && { stream: true }) }),
    signal,
  });
  if (!response.ok) {
    throw await refusal(response);
  }
  const isEvents = response.headers.get("Content-Type")?.startsWith("text/event-stream");
  let answer;
  try {
    answer = isEvents ? await events(response, piece) : plain(response, await response.json());
  } catch (error) {
    throw error instanceof TypeError ? new Gone() : error;
  }
  return { ...answer, milliseconds: performance.now() - start };
}

function plain(response, body) {
  const answer = Array.isArray(body) ? body[0] : body;
  const summary = answer?.summary_text ?? answer?.generated_text;
  if (typeof summary !== "string") {
    throw new Error("The endpoint answered, but with no summary.");
  }
  const tokens = /tokens;desc="(\d+)"/.exec(response.headers.get("Server-Timing") ?? "");
  return {
    summary,
    tokens: tokens ? Number(tokens[1]) : null,
    truncated: response.headers.has("X-Epitome-Truncated"),
    read: readHeader(response.headers.get("X-Epitome-Read")),
  };
}

/** The read part of a long text: {words, words_read, parts}. */
function readHeader(header) {
  const pairs = (header ?? "").split(",").map((pair) => pair.trim().split("="));
  const read = Object.fromEntries(pairs.map(([name, value]) => [name, Number(value)]));
  return header ? read : undefined;
}

async function events(response, piece) {
  let text = "";
  for await (const { event, data } of readEvents(response.body)) {
    if (event === "error" || data.error) {
      throw new Error(data.message ?? data.error);
    }
    const summary = data.summary_text ?? data.generated_text;
    if (typeof summary === "string") {
      const { generated_tokens: tokens = null, truncated = false, read } = data.details ?? {};
      return { summary, tokens, truncated, read };
    }
    text += data.token?.text ?? "";
    piece(text);
  }
  throw new Error("The answer broke off before its end.");
}
