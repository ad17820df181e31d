// The pages of the site (docs/) in a browser: one of each kind, narrow and wide, light and dark.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const SITE = process.env.SITE;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PAGES = [
  "index.html", "notebooks/05_autoencoder.html", "exercises/05_autoencoder.html", "api/tinyldm.vae.html", "docs/glossary.html",
  "docs/errata.html", "docs/teacher/guide.html", "search.html?q=guidance", "slides/05.html",
];
const SERIOUS = ["serious", "critical"];

let browser, axe;
before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--allow-file-access-from-files"] });
  axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
});
after(() => browser.close());

for (const [width, colorScheme] of [[390, "light"], [1440, "dark"]]) {
  for (const name of PAGES) {
    test(`${name}, ${width} pixels, ${colorScheme}: nothing from outside, no error, readable`, async () => {
      const context = await browser.newContext({ viewport: { width, height: 900 }, colorScheme });
      const page = await context.newPage();
      const told = [];
      page.on("console", (message) => message.type() === "error" && told.push(message.text()));
      page.on("pageerror", (error) => told.push(error.message));
      page.on("request", (request) => /^(file|data|blob|about):/.test(request.url()) || told.push(`asks ${request.url()}`));
      await page.goto(`file://${SITE}/${name}`);
      await page.waitForFunction(() => document.readyState === "complete");
      await page.waitForTimeout(500);
      assert.deepEqual(told, []);
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), "scrolls sideways");
      if (name.startsWith("slides/")) { // reveal.js colours the body itself: white, whatever the text's colour
        const [text, ground] = await page.evaluate(() => [".reveal", "body"].map((part) => getComputedStyle(document.querySelector(part))[part === "body" ? "backgroundColor" : "color"]));
        const light = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, n) => sum + Number(n), 0) > 384;
        assert.notEqual(light(text), light(ground), `${text} on ${ground}`);
      } else {
        await page.evaluate(axe);
        const { violations } = await page.evaluate(() => axe.run({ exclude: [["iframe"]] }, { runOnly: ["wcag2a", "wcag2aa"] }));
        const found = violations.filter(({ impact }) => SERIOUS.includes(impact));
        assert.deepEqual(found.map(({ id, nodes }) => `${id}: ${nodes.length} × ${nodes[0].html.slice(0, 200)}`), []);
      }
      await context.close();
    });
  }
}
