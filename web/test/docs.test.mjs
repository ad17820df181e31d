// The pages of the site (docs/) in a browser: one of each kind, on a phone, a tablet, a desk and on paper, light and dark.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { createRequire } from "node:module";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const require = createRequire(import.meta.url);
const SITE = process.env.SITE;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PAGES = [
  "index.html", "notebooks/05_autoencoder.html", "exercises/05_autoencoder.html", "api/tinyldm.unet.html", "docs/glossary.html",
  "docs/errata.html", "docs/teacher/guide.html", "search.html?q=guidance", "slides/05.html",
];
const WIDTHS = [390, 768, 1440];
const SERIOUS = ["serious", "critical"];

let browser, axe;
before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--allow-file-access-from-files"] });
  axe = await readFile(require.resolve("axe-core/axe.min.js"), "utf8");
});
after(() => browser.close());

/** Open a page; what it tells the console and asks from outside is collected in `told`. */
async function open(name, colorScheme) {
  const context = await browser.newContext({ viewport: { width: WIDTHS[0], height: 900 }, colorScheme });
  const page = await context.newPage();
  page.setDefaultTimeout(120_000); // a busy machine
  const told = [];
  page.on("console", (message) => message.type() === "error" && told.push(message.text()));
  page.on("pageerror", (error) => told.push(error.message));
  page.on("request", (request) => /^(file|data|blob|about):/.test(request.url()) || told.push(`asks ${request.url()}`));
  await page.goto(`file://${SITE}/${name}`);
  await page.waitForFunction(() => document.readyState === "complete");
  await page.evaluate(() => window.MathJax?.startup?.promise.then(() => true));
  return { page, told };
}

/** Runs in the page: code that is wider than its place. Drawings and outputs may be: they scroll, and can be reached by key. */
function cut() {
  const wide = [...document.querySelectorAll(".bd-content pre")].filter((pre) => pre.scrollWidth > pre.clientWidth + 1);
  return wide.filter((pre) => !pre.matches(".as-drawn[tabindex='0']")).map((pre) => pre.textContent.slice(0, 100));
}

for (const name of PAGES) {
  test(`${name}: nothing from outside, no error, nothing cut at any width, readable in both colours`, async () => {
    const { page, told } = await open(name, "dark");
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForTimeout(400); // the sidebar moves
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= innerWidth), `scrolls sideways at ${width}`);
      assert.deepEqual(await page.evaluate(cut), [], `at ${width}`);
    }
    if (name.startsWith("slides/")) { // reveal.js colours the body itself: white, whatever the text's colour
      const [text, ground] = await page.evaluate(() => [".reveal", "body"].map((part) => getComputedStyle(document.querySelector(part))[part === "body" ? "backgroundColor" : "color"]));
      const light = (colour) => colour.match(/\d+/g).slice(0, 3).reduce((sum, n) => sum + Number(n), 0) > 384;
      assert.notEqual(light(text), light(ground), `${text} on ${ground}`);
    } else {
      await page.evaluate(axe);
      await page.setViewportSize({ width: WIDTHS[0], height: 900 });
      for (const theme of ["dark", "light"]) {
        await page.evaluate((wanted) => { document.documentElement.dataset.theme = wanted; }, theme);
        await page.waitForTimeout(400); // colours change slowly
        const { violations } = await page.evaluate(() => axe.run({ exclude: [["iframe"]] }, { runOnly: ["wcag2a", "wcag2aa"] }));
        const found = violations.filter(({ impact }) => SERIOUS.includes(impact));
        assert.deepEqual(found.map(({ id, nodes }) => `${id}: ${nodes.length} × ${nodes[0].html.slice(0, 200)}`), [], theme);
      }
    }
    assert.deepEqual(told, []);
    await page.context().close();
  });
}

test("the search finds pages without a server", async () => {
  const { page } = await open("search.html?q=guidance", "light");
  await page.waitForFunction(() => document.querySelectorAll("#search-results li").length > 5);
  await page.context().close();
});

test("on paper a lesson has one title, all answers open, light colours, and nothing is cut", async () => {
  const { page } = await open("notebooks/05_autoencoder.html", "dark");
  await page.setViewportSize({ width: 673, height: 900 }); // A4 without its margins
  await page.evaluate(() => dispatchEvent(new Event("beforeprint")));
  await page.emulateMedia({ media: "print" });
  const seen = await page.evaluate(() => ({
    titles: [...document.querySelectorAll("h1")].filter((title) => title.checkVisibility()).length,
    folded: document.querySelectorAll("details:not(.live):not([open])").length,
    theme: document.documentElement.dataset.theme,
    navigation: [...document.querySelectorAll(".bd-sidebar-primary, .bd-sidebar-secondary, #jb-print-docs-body, .page-bar")].filter((part) => part.checkVisibility()).length,
    width: document.documentElement.scrollWidth,
  }));
  assert.deepEqual(seen, { titles: 1, folded: 0, theme: "light", navigation: 0, width: 673 });
  await page.context().close();
});
