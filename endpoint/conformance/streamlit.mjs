// Runs examples/streamlit_app.py in headless Chromium, over boto3, against local mode. Takes a
// screenshot to look at.
//
//     npm install playwright-core
//     epitome serve --model MODEL &
//     AWS_ENDPOINT_URL_SAGEMAKER_RUNTIME=http://127.0.0.1:8080 AWS_REGION=us-east-1 \
//         AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local \
//         streamlit run examples/streamlit_app.py --server.headless true &
//     node endpoint/conformance/streamlit.mjs http://127.0.0.1:8501/ \
//         fixtures/articles/gpsbabel.txt SCREENSHOT.png

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";

import { chromium } from "playwright-core";

const [url, article, screenshot] = process.argv.slice(2);
const browser = await chromium.launch({
  executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium",
  args: ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"],
});
try {
  const page = await browser.newPage({ viewport: { width: 1000, height: 900 } });
  await page.goto(url);
  await page.fill("textarea", readFileSync(article, "utf8"));
  await page.keyboard.press("Control+Enter");
  await page.getByRole("button", { name: "Summarize" }).click();
  const isAnswered = () => /\d\.\d\d s$/m.test(document.body.innerText);
  await page.waitForFunction(isAnswered, null, { timeout: 60000 });
  const text = await page.innerText("body");
  await page.screenshot({ path: screenshot, fullPage: true });
  assert.doesNotMatch(text, /Traceback|Error/);
  console.log(text.slice(text.lastIndexOf("Summarize")));
} finally {
  await browser.close();
}
