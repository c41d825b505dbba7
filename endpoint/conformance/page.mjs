// Tests the page in headless Chromium, on a desktop and on a phone, in light and dark: text, files,
// lengths, settings, two summaries, measuring, history, sharing and the keyboard. Takes screenshots
// to look at, and runs axe in every state.
//
//     npm install playwright-core axe-core
//     epitome page --no-browser --port 8081 --model MODEL &
//     node endpoint/conformance/page.mjs http://127.0.0.1:8081/ fixtures/articles/enigma.txt \
//         SCREENSHOTS
//
// `endpoint/check-page` does this.
//
// The picture in the README is the `picture.png` of this article.
//
// It fails if the page sends a request to another host, scrolls sideways, breaks its own
// Content-Security-Policy, or writes an error to the console.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { basename, join } from "node:path";

import axe from "axe-core";
import { chromium } from "playwright-core";

const [url, article, folder] = process.argv.slice(2);
const TEXT = readFileSync(article, "utf8");
const BROWSER = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic"],
};
const SCREENS = [
  { name: "desktop", width: 1280, height: 900, colorScheme: "light" },
  { name: "desktop-dark", width: 1280, height: 900, colorScheme: "dark" },
  { name: "phone", width: 390, height: 844, colorScheme: "light", hasTouch: true },
  { name: "phone-dark", width: 390, height: 844, colorScheme: "dark", hasTouch: true },
];
const PATIENCE = { timeout: 120000 };

class Visit {
  /** Opens the page on a screen, and records its errors. */
  static async begin(browser, { name, width, height, ...rest }) {
    const visit = new Visit();
    visit.name = name;
    visit.context = await browser.newContext({ viewport: { width, height }, ...rest });
    await visit.context.grantPermissions(["clipboard-read", "clipboard-write"]);
    visit.page = await visit.context.newPage();
    visit.problems = [];
    const { page, problems } = visit;
    page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
    page.on("pageerror", (error) => problems.push(String(error)));
    page.on("request", (request) => {
      if (!/^(data|blob):/.test(request.url()) && !request.url().startsWith(url)) {
        problems.push(`asked for ${request.url()}`);
      }
    });
    await page.goto(url);
    return visit;
  }

  says(start) {
    const isSaid = (text) => document.getElementById("status").textContent.startsWith(text);
    return this.page.waitForFunction(isSaid, start, PATIENCE);
  }

  /** Waits until the page shows this state of its model. */
  meets(part) {
    const isShown = (text) => document.getElementById("model").textContent.includes(text);
    return this.page.waitForFunction(isShown, part, PATIENCE);
  }

  /** Checks a state of the page: takes a picture, checks for sideways scrolling, and runs axe. */
  async look(moment) {
    const { page } = this;
    await page.screenshot({ path: join(folder, `${this.name}-${moment}.png`), fullPage: true });
    const surplus = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.equal(surplus, 0, `${this.name} ${moment} scrolls sideways`);
    // The debugger injects axe, so that the page keeps its policy.
    await page.evaluate(axe.source);
    const { violations } = await page.evaluate(() => globalThis.axe.run());
    const found = violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`);
    assert.deepEqual(found, [], `${this.name} ${moment}`);
  }

  summary(column) {
    return this.page.textContent(`#results [data-column=${column}] .summary`);
  }
}

async function drive(browser, screen) {
  const visit = await Visit.begin(browser, screen);
  const { page } = visit;
  const text = (selector) => page.textContent(selector);
  await visit.meets("reads");
  await visit.look("start");

  // A text, its size in words and tokens, and the keyboard's way to a summary.
  await page.fill("#text", TEXT);
  const isCounted = () => /words, .*tokens/.test(document.getElementById("size").textContent);
  await page.waitForFunction(isCounted, null, PATIENCE);
  await page.focus("#text");
  await page.keyboard.press("Control+Enter");
  await visit.says("Done in");
  const medium = await visit.summary("a");
  assert.ok(medium.length > 10);
  assert.match(await text("#results [data-column=a] dl"), /the model’s own settings/);
  const isInView = () => {
    const { top, bottom } = document.querySelector("#results article").getBoundingClientRect();
    return top >= 0 && bottom <= innerHeight;
  };
  await page.waitForFunction(isInView, null, PATIENCE);
  await visit.look("summary");

  // Outdated summaries are marked.
  await page.fill("#text", `${TEXT} And more.`);
  assert.ok(await page.isVisible("#results [data-column=a] .stale-note"));
  await page.fill("#text", TEXT);
  assert.equal(await page.isVisible("#results [data-column=a] .stale-note"), false);

  // A text that is read in many parts.
  await page.fill("#text", `${TEXT}\n\n`.repeat(12));
  const isInParts = () => /parts/.test(document.getElementById("size").textContent);
  await page.waitForFunction(isInParts, null, PATIENCE);
  await page.click("#summarize");
  await visit.says("Done in");
  assert.match(await text("#results [data-column=a] dl"), /words in \d+ parts/);
  await visit.look("parts");
  await page.fill("#text", TEXT);

  // Two summaries, their settings, and their difference.
  await page.check("#compare");
  await page.check("#short-a");
  await page.check("#long-b");
  await page.click("fieldset[data-column=b] details summary");
  await page.fill("#num_beams-b", "2");
  await page.fill("#max_length-b", "6");
  await page.click("#summarize");
  await visit.says("Done in");
  assert.match(await text("#results [data-column=b] dl"), /num_beams 2/);
  assert.ok(await text("#difference-text"));
  await visit.look("compare");
  await page.click("fieldset[data-column=b] details button");
  await page.click("fieldset[data-column=b] details summary");
  if (screen.name === "desktop") {
    await page.click("#summarize");
    await visit.says("Done in");
    await page.evaluate(() => scrollTo(0, 0));
    await page.screenshot({ path: join(folder, "picture.png") });
  }
  assert.equal(await page.isVisible("fieldset[data-column=b] details button"), false);

  // Equal summaries: the page says so, and draws no effect.
  await page.check("#medium-a");
  await page.check("#medium-b");
  await page.click("#summarize");
  await visit.says("Done in");
  assert.match(await text("#difference-hint"), /the same/);
  await page.uncheck("#compare");

  // Copying, sharing and downloading.
  const card = page.locator("#results [data-column=a]");
  await card.getByRole("button", { name: "Copy" }).click();
  await visit.says("The summary is copied");
  assert.equal(await page.evaluate(() => navigator.clipboard.readText()), await visit.summary("a"));
  const [download] = await Promise.all([
    page.waitForEvent("download"), card.getByRole("button", { name: "Download" }).click()]);
  assert.equal(readFileSync(await download.path(), "utf8").trim(), await visit.summary("a"));
  await card.getByRole("button", { name: "As command" }).click();
  assert.match(await text("#share-text"), /^epitome summarize --model /);
  await page.keyboard.press("Escape");
  await card.getByRole("button", { name: "As curl" }).click();
  assert.match(await text("#share-text"), /^curl http/);
  await visit.look("curl");
  await page.click("#share-close");

  // A file, and an example.
  await page.setInputFiles("#file", article);
  await visit.says(`${basename(article)} is read`);
  assert.equal((await page.inputValue("#text")).trim().slice(0, 40), TEXT.trim().slice(0, 40));
  await page.selectOption("#example", { index: 1 });
  assert.match(await page.inputValue("#text"), /night train/);

  // length_penalty, measured.
  await page.fill("#text", TEXT);
  await page.click("#measure");
  await visit.says("Measured.");
  assert.equal(await page.locator("#figures tr").count(), 11);
  const words = await text("#chart-words");
  assert.match(words, /changed nothing here|different summaries/);
  const drawn = await page.locator("#latency-figure").isVisible();
  const differ = /by more than they vary/.test(words);
  assert.equal(drawn, differ, "times are drawn only where they differ");
  await visit.look("measured");

  // Earlier summaries come back after the page is loaded again.
  await page.reload();
  await visit.meets("reads");
  await page.locator("#entries button").last().click();
  assert.equal(await visit.summary("a"), medium);
  assert.equal(await page.inputValue("#text"), TEXT);
  await visit.look("recalled");
  if (screen.name === "desktop") {
    await page.emulateMedia({ media: "print" });
    await page.screenshot({ path: join(folder, "print.png"), fullPage: true });
    assert.equal(await page.isVisible("#form"), false);
    await page.emulateMedia({ media: "screen" });
  }
  await page.click("#forget");
  assert.equal(await page.isVisible("#history"), false);
  assert.deepEqual(visit.problems, []);

  // The page reports an unreachable server, and continues when it is back.
  await page.route("**/invocations", (route) => route.abort("connectionrefused"));
  await page.route("**/ping", (route) => route.abort("connectionrefused"));
  await page.click("#summarize");
  await visit.says("The server does not answer any more");
  await visit.look("gone");
  await page.unrouteAll();
  await visit.says("The server is back");
  assert.equal(await page.isVisible("#trouble"), false);
  console.log(`${screen.name}: ${words}`);
  await visit.context.close();
}

/** The page reports a missing model until there is one. */
async function noModel(browser) {
  const visit = await Visit.begin(browser, { ...SCREENS[0], name: "no-model" });
  const { page } = visit;
  const reason = "'/models' holds neither a bundle nor a checkpoint";
  await page.route("**/info", (route) => route.fulfill({ json: { backend: "local", models: [
    { name: "model", ready: false }] } }));
  await page.route("**/ping", (route) => route.fulfill({ status: 503, json: { message: reason } }));
  await page.reload();
  await page.waitForFunction(() => !document.getElementById("trouble").hidden);
  assert.match(await page.textContent("#trouble"), /There is no model to work with/);
  await visit.look("words");
  await page.unrouteAll();
  await visit.meets("reads");
  assert.equal(await page.isVisible("#trouble"), false);
  await visit.context.close();
}

/** Endpoints of an account: their list, a comparison of two, and an error of a container. */
async function endpoints(browser) {
  const visit = await Visit.begin(browser, { ...SCREENS[0], name: "endpoints" });
  const { page } = visit;
  const models = ["retrained", "before"].map((name) => ({ name, ready: true }));
  const asked = [];
  const info = { backend: "deployed", named: true, models };
  await page.route("**/info", (route) => route.fulfill({ json: info }));
  await page.route("**/tokens", (route) => route.fulfill({ json: null }));
  await page.route("**/invocations", (route) => {
    const name = route.request().headers()["x-amzn-sagemaker-target-model"];
    asked.push(name);
    return name === "before" && asked.length > 2
      ? route.fulfill({ status: 502, json: { message: "no endpoint is named before" } })
      : route.fulfill({ json: [{ generated_text: `A summary of ${name} with words.` }] });
  });
  await page.reload();
  await visit.meets("2 endpoints");
  await page.fill("#text", TEXT);
  await page.check("#compare");
  await page.click("#summarize");
  await visit.says("Done in");
  assert.deepEqual(asked, ["retrained", "before"]);
  const difference = await page.textContent("#difference-text");
  assert.equal(difference, "A summary of retrained before with words.");
  await visit.look("compare");
  await page.click("#summarize");
  await visit.says("no endpoint is named before");
  await visit.context.close();
}

const browser = await chromium.launch(BROWSER);
try {
  for (const screen of SCREENS) {
    await drive(browser, screen);
  }
  await noModel(browser);
  await endpoints(browser);
} finally {
  await browser.close();
}
