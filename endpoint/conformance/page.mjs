// The page in headless Chromium: type, slide, summarize, compare, measure; with screenshots to look at, and axe's
// opinion on how it does with a screen reader and a keyboard.
//
//     npm install playwright-core axe-core
//     epitome serve --model MODEL &
//     node endpoint/conformance/page.mjs http://127.0.0.1:8080/ fixtures/articles/gpsbabel.txt SCREENSHOTS
//
// It fails where the page asks another host for anything, scrolls sideways, or writes an error to the console.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";

import axe from "axe-core";
import { chromium } from "playwright-core";

const [url, article, folder] = process.argv.slice(2);
const BROWSER = {
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync", "--disable-quic"],
};
const SCREENS = [
  { name: "phone", width: 390, height: 844, colorScheme: "light" },
  { name: "desktop", width: 1280, height: 900, colorScheme: "dark" },
  { name: "desktop-light", width: 1280, height: 900, colorScheme: "light" },
];

async function drive(browser, { name, width, height, colorScheme }) {
  const context = await browser.newContext({ viewport: { width, height }, colorScheme, bypassCSP: true });
  const page = await context.newPage();
  const problems = [];
  page.on("console", (message) => message.type() === "error" && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(String(error)));
  page.on("request", (request) => {
    if (!request.url().startsWith(url) && !request.url().startsWith("data:")) {
      problems.push(`asked for ${request.url()}`);
    }
  });
  const status = (start) => page.waitForFunction(
    (text) => document.getElementById("status").textContent.startsWith(text), start, { timeout: 120000 });
  const shoot = (moment) => page.screenshot({ path: join(folder, `${name}-${moment}.png`), fullPage: true });

  await page.goto(url);
  await page.waitForFunction(() => document.getElementById("model").textContent.includes("reads"));
  await shoot("start");
  await page.fill("#text", readFileSync(article, "utf8"));
  await page.focus("#penalty-a");
  await page.keyboard.press("Home");
  await page.keyboard.press("ArrowRight");
  assert.equal(await page.textContent("#penalty-a-value"), "0.6");
  await page.selectOption("#beams-a", "4");
  await page.check("#compare");
  await page.focus("#text");
  await page.keyboard.press("Control+Enter");
  await status("Done in");
  for (const column of ["a", "b"]) {
    assert.ok(await page.textContent(`#results [data-column=${column}] .summary`));
  }
  await shoot("compare");
  await page.click("#measure");
  await page.waitForFunction(() => document.querySelectorAll("#latency circle").length >= 4);
  await shoot("measuring");
  await status("Measured");
  assert.equal(await page.locator("#figures tr").count(), 11);
  await shoot("chart");
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth - innerWidth), 0);
  assert.deepEqual(problems, []);
  await page.evaluate(axe.source);
  const { violations } = await page.evaluate(() => globalThis.axe.run());
  assert.deepEqual(violations.map(({ id, nodes }) => `${id}: ${nodes.map(({ html }) => html)}`), []);
  console.log(`${name}: ${await page.textContent("#status")}`);
  await context.close();
}

const browser = await chromium.launch(BROWSER);
try {
  for (const screen of SCREENS) {
    await drive(browser, screen);
  }
} finally {
  await browser.close();
}
