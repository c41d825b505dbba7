/** The request of a summary as a call of curl, and as a command. */

import { request } from "./server.js";

/** A word of a POSIX shell. */
const quote = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** Parameters that `epitome summarize` has flags for. */
const FLAGS = ["num_beams", "length_penalty", "max_length", "min_length"];

export function asCurl({ origin, backend, model, text, parameters }) {
  const target = backend === "deployed" && model.name
    ? ` \\\n    -H ${quote(`X-Amzn-SageMaker-Target-Model: ${model.name}`)}` : "";
  const body = JSON.stringify(request(text, parameters));
  return `curl ${origin}/invocations -H 'Content-Type: application/json'${target} \\\n` +
    `    --data-binary ${quote(body)}`;
}

export function asCommand({ backend, model, file, parameters }) {
  const flags = [];
  const rest = {};
  for (const [name, value] of Object.entries(parameters)) {
    if (FLAGS.includes(name)) {
      flags.push(`--${name.replaceAll("_", "-")} ${value}`);
    } else if (name === "long" || name === "length") {
      flags.push(`--${name} ${value}`);
    } else {
      rest[name] = value;
    }
  }
  if (Object.keys(rest).length) {
    flags.push(`--parameters ${quote(JSON.stringify(rest))}`);
  }
  const command = backend === "deployed"
    ? `epitome invoke --endpoint ${quote(model.name)}`
    : `epitome summarize --model ${quote(model.folder ?? model.source)}`;
  return [command, ...flags, quote(file ?? "article.txt")].join(" ");
}
