// Tests of the page's modules without a browser.
//
//     node --experimental-default-type=module --test endpoint/conformance/page_modules.test.mjs

import assert from "node:assert/strict";
import { test } from "node:test";

import { difference } from "../src/page/difference.js";
import { readEvents } from "../src/page/events.js";
import { inWords, timesDiffer } from "../src/page/measure.js";
import { parametersOfLength } from "../src/page/settings.js";
import { asCommand, asCurl } from "../src/page/share.js";
import { inWindow, textOf } from "../src/page/source.js";

test("a difference leads from one text to the other", () => {
  const parts = difference("the old bridge is closed", "the bridge is not closed");
  assert.deepEqual(parts, [
    { kind: "same", text: "the " }, { kind: "removed", text: "old " },
    { kind: "same", text: "bridge is " }, { kind: "added", text: "not " },
    { kind: "same", text: "closed" },
  ]);
  for (const [a, b] of [["", "x y"], ["x y", ""], ["a b a b", "b a b a c"], ["same", "same"]]) {
    const side = (left) => difference(a, b).filter(({ kind }) => kind !== left)
      .map(({ text }) => text).join("").split(/\s+/).filter(Boolean).join(" ");
    assert.equal(side("removed"), b);
    assert.equal(side("added"), a);
  }
});

test("events are read across borders of pieces", async () => {
  const text = 'data: {"a":"ü"}\n\nevent: error\ndata: {"b":2}\n\ndata: {"c":3}';
  const bytes = new TextEncoder().encode(text);
  for (const size of [1, 3, 1000]) {
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += size) {
          controller.enqueue(bytes.slice(at, at + size));
        }
        controller.close();
      },
    });
    const read = [];
    for await (const event of readEvents(body)) {
      read.push(event);
    }
    assert.deepEqual(read, [
      { event: "message", data: { a: "ü" } }, { event: "error", data: { b: 2 } },
      { event: "message", data: { c: 3 } },
    ]);
  }
});

test("noise is not an effect", () => {
  // Eleven values in three rounds; the second round is a slow one.
  const points = (time, summary = (index) => String(index > 5)) =>
    Array.from({ length: 11 }, (_, index) => ({
      summary: summary(index),
      times: [0, 1, 2].map((round) => time(index, round) + 100 * (round % 2)),
    }));
  const noise = points((index, round) => 10 + ((7 * index + 5 * round * (index + 3)) % 11));
  assert.equal(timesDiffer(noise), false);
  assert.match(inWords(noise, 4), /no more than they vary/);
  const clear = points((index, round) => 10 + index + ((index * round) % 2));
  assert.equal(timesDiffer(clear), true);
  assert.match(inWords(clear, 4), /2 different summaries.*more than they vary/);
  const same = points((index) => index, () => "a");
  assert.match(inWords(same, 4), /^length_penalty changed nothing here/);
  assert.match(inWords(same, 1), /choose more beams/);
});

test("a length starts from the model's own settings", () => {
  assert.deepEqual(parametersOfLength("medium", { length_penalty: 2 }), {});
  const beams = { length_penalty: 0.8, num_beams: 8 };
  assert.deepEqual(parametersOfLength("short", beams), { length_penalty: 0.3 });
  assert.deepEqual(parametersOfLength("long", beams), { length_penalty: 1.3 });
  assert.deepEqual(parametersOfLength("long", {}), { length_penalty: 1.5, num_beams: 4 });
});

test("tokens against what the model reads", () => {
  const count = (tokens, more = false) => ({ tokens, more, window: 256 });
  assert.equal(inWindow(count(240), false), "240 of 256 tokens");
  const cut = "31,900 tokens: the model reads the first 256 (less than 1%)";
  assert.equal(inWindow(count(31900), false), cut);
  assert.equal(inWindow(count(31900), true), "31,900 tokens: read in about 125 parts");
  assert.match(inWindow(count(262144, true), true), /^more than 262,144/);
});

test("a shell reads what is shared as it was asked", () => {
  const asked = {
    origin: "http://127.0.0.1:1", backend: "local", model: { folder: "/it's", name: "model" },
    text: "it's $HOME", parameters: { length_penalty: 0.3, num_beams: 4, seed: 1 },
  };
  assert.equal(asCommand(asked), "epitome summarize --model '/it'\\''s' --length-penalty 0.3 " +
    "--num-beams 4 --parameters '{\"seed\":1}' 'article.txt'");
  assert.ok(asCurl(asked).includes("it'\\''s $HOME"));
  const there = { ...asked, backend: "deployed", model: { name: "news" } };
  assert.match(asCommand(there), /^epitome invoke --endpoint 'news' /);
  assert.match(asCurl(there), /X-Amzn-SageMaker-Target-Model: news/);
});

test("headings stand on lines of their own", () => {
  const sections = [{ heading: "One", text: "a" }, { heading: null, text: "b" },
    { heading: "Two", text: "" }];
  assert.equal(textOf({ sections }), "One\n\na\n\nb\n\nTwo");
});
