// How long a visitor waits: until the page is ready, and for the first picture; and how much memory it takes.
//
//     SITE=site node web/measure.mjs [ROUNDS]      # SITE: what `tinyldm export-web` wrote; Chromium must be installed
//
// Each round starts a new browser with an empty cache, on a static server of this machine.

import { readFile, readdir } from "node:fs/promises";
import { resolve } from "node:path";
import { chromium } from "playwright-core";
import { serve } from "./test/server.mjs";

const rounds = Number(process.argv[2] ?? 3);
const server = await serve(resolve(process.env.SITE));

/** Memory in MiB of all processes whose command line names this folder: pages shared with others count in part. */
async function memory(folder) {
  let kilobytes = 0;
  for (const process_ of (await readdir("/proc")).filter((name) => /^\d+$/.test(name))) {
    try {
      if (!(await readFile(`/proc/${process_}/cmdline`, "utf8")).includes(folder)) continue;
      kilobytes += Number(/^Pss:\s+(\d+)/m.exec(await readFile(`/proc/${process_}/smaps_rollup`, "utf8"))[1]);
    } catch {} // it has just ended
  }
  return kilobytes / 1024;
}

const seconds = (start) => ((performance.now() - start) / 1000).toFixed(2);
console.log("| round | page ready | first picture, 25 guided steps | four pictures | memory of the browser before → after |\n|---|---|---|---|---|");
for (let round = 1; round <= rounds; round++) {
  const folder = `/tmp/measure-${process.pid}-${round}`;
  const browser = await chromium.launchPersistentContext(folder, {
    executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args: ["--no-sandbox", "--disable-gpu"],
  });
  const page = await browser.newPage();
  const before = await memory(folder);
  const settled = () => page.waitForSelector("#draw .result:not([aria-busy]) a[href='#inside']:visible", { timeout: 240_000 });
  let start = performance.now();
  await page.goto(server.url);
  await page.waitForSelector("html[data-state=ready]", { timeout: 240_000 });
  const ready = seconds(start);
  const times = [];
  for (const n of ["1", "4"]) {
    await page.locator("#draw").getByLabel("Pictures", { exact: true }).selectOption(n);
    start = performance.now();
    await page.getByRole("button", { name: "Draw", exact: true }).click();
    await page.waitForSelector("#draw .result[aria-busy]");
    await settled();
    times.push(seconds(start));
  }
  console.log(`| ${round} | ${ready} s | ${times[0]} s | ${times[1]} s | ${before.toFixed(0)} → ${(await memory(folder)).toFixed(0)} MiB |`);
  await browser.close();
}
await server.close();
