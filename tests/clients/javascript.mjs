// Runs the JavaScript clients against two servers: one with defaults, one with the task
// summarization.
//
//     node javascript.mjs URL SUMMARIZATION_URL
import assert from "node:assert/strict";
import {
  InvokeEndpointCommand,
  InvokeEndpointWithResponseStreamCommand,
  SageMakerRuntimeClient,
} from "@aws-sdk/client-sagemaker-runtime";
import { InferenceClient } from "@huggingface/inference";
import OpenAI from "openai";

const [url, summarizationUrl] = process.argv.slice(2);
const TEXT = "The river rose after a week of rain and the town opened its gates.";
const parameters = { num_beams: 1, max_new_tokens: 12 };
const runtime = new SageMakerRuntimeClient({
  endpoint: url,
  region: "us-east-1",
  credentials: { accessKeyId: "local", secretAccessKey: "local" },
});
const request = { EndpointName: "any", ContentType: "application/json" };

const body = JSON.stringify({ inputs: TEXT, parameters });
const answer = await runtime.send(new InvokeEndpointCommand({ ...request, Body: body }));
const whole = JSON.parse(Buffer.from(answer.Body).toString())[0].generated_text;
assert(whole.length > 0);
const streamed = await runtime.send(
  new InvokeEndpointWithResponseStreamCommand({
    ...request,
    Body: JSON.stringify({ inputs: TEXT, parameters, stream: true }),
  }),
);
let text = "";
for await (const part of streamed.Body) {
  text += Buffer.from(part.PayloadPart.Bytes).toString();
}
const events = text.trim().split("\n\n").map((event) => JSON.parse(event.slice(5)));
assert.equal(events.map((event) => event.token.text).join(""), whole);
assert.equal(events.at(-1).generated_text, whole);
await assert.rejects(
  runtime.send(new InvokeEndpointCommand({ ...request, Body: "{}" })),
  (error) => error.name === "ModelError" && error.OriginalStatusCode === 400,
);
console.log("@aws-sdk/client-sagemaker-runtime: as expected");

const plain = new InferenceClient("").endpoint(url);
const generated = await plain.textGeneration({ inputs: TEXT, parameters: { max_new_tokens: 12 } });
let joined = "";
for await (const event of plain.textGenerationStream({
  inputs: TEXT,
  parameters: { max_new_tokens: 12 },
})) {
  joined += event.choices[0]?.text ?? "";
}
assert.equal(joined, generated.generated_text);
const summarized = await new InferenceClient("").endpoint(summarizationUrl).summarization({
  inputs: TEXT,
  parameters: { generate_parameters: parameters, truncation: "longest_first" },
});
assert.equal(summarized.summary_text, whole);
const chat = await plain.chatCompletion({ messages: [{ role: "user", content: TEXT }] });
assert(chat.choices[0].message.content.length > 0);
console.log("@huggingface/inference: as expected");

const openai = new OpenAI({ baseURL: `${url}/v1`, apiKey: "local", maxRetries: 0 });
const messages = [{ role: "user", content: TEXT }];
const completion = await openai.chat.completions.create({ model: "any", messages, ...parameters });
assert.equal(completion.choices[0].message.content, whole);
let chunks = "";
for await (const chunk of await openai.chat.completions.create({
  model: "any",
  messages,
  stream: true,
  ...parameters,
})) {
  chunks += chunk.choices[0]?.delta.content ?? "";
}
assert.equal(chunks, whole);
await assert.rejects(
  openai.chat.completions.create({ model: "any", messages, logprobs: true }),
  (error) => error.status === 400 && error.type === "invalid_request_error",
);
console.log("openai: as expected");
