// Every slide of every deck at 1280 × 720: nothing sticks out, and no figure is squeezed to a stripe.

import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { after, before, test } from "node:test";

import { chromium } from "playwright-core";

const SITE = process.env.SITE;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

let browser, page;
before(async () => {
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--allow-file-access-from-files"] });
  page = await browser.newPage({ viewport: { width: 1280, height: 720 } });
  page.setDefaultTimeout(120_000); // a busy machine
});
after(() => browser.close());

/** Runs in the page: what is wrong with its slides, one line each. */
async function look() {
  await MathJax.startup.promise;
  const found = [];
  for (const [index, slide] of Reveal.getSlides().entries()) {
    Reveal.slide(index, 0);
    for (const part of slide.querySelectorAll(".fragment")) part.classList.add("visible");
    const told = (what) => found.push(`slide ${index + 1}, "${slide.querySelector("h1, h2, p")?.textContent}": ${what}`);
    const frame = document.querySelector(".slides").getBoundingClientRect(), scale = Reveal.getScale();
    for (const part of slide.querySelectorAll(":not(aside, aside *, mjx-assistive-mml, mjx-assistive-mml *, svg *)")) {
      const box = part.getBoundingClientRect();
      if (!box.width || !box.height) continue;
      const out = Math.max(box.bottom - frame.bottom, box.right - frame.right, frame.left - box.left, frame.top - box.top);
      if (out > 1) told(`<${part.localName}> sticks out by ${Math.round(out / scale)} pixels`);
      if (part.clientWidth && part.scrollWidth > part.clientWidth + 1 && getComputedStyle(part).overflowX !== "visible") told(`<${part.localName}> is cut`);
    }
    for (const figure of slide.querySelectorAll("img.figure")) {
      const box = figure.getBoundingClientRect(), drawn = Math.min(box.height, box.width * figure.naturalHeight / figure.naturalWidth) / scale;
      const possible = Math.min(380, figure.naturalHeight * 1200 / figure.naturalWidth);
      if (drawn < possible * 0.6) told(`the figure is ${Math.round(drawn)} pixels high, of ${Math.round(possible)}`);
    }
  }
  return found;
}

for (const file of readdirSync(`${SITE}/slides`).filter((name) => name.endsWith(".html"))) {
  test(`slides/${file}: all is on the slide`, async () => {
    await page.goto(`file://${SITE}/slides/${file}`);
    await page.waitForFunction(() => window.MathJax?.startup?.promise && window.Reveal?.isReady());
    assert.deepEqual(await page.evaluate(look), []);
  });
}
