// Print a page to a PDF, once its formulas are set: node print.mjs FILE.html FILE.pdf

import { pathToFileURL } from "node:url";

import { chromium } from "playwright-core";

const [from, to] = process.argv.slice(2);
const args = ["--no-sandbox", "--allow-file-access-from-files"];
const browser = await chromium.launch({ executablePath: process.env.CHROMIUM ?? "/usr/bin/chromium", args });
const page = await browser.newPage();
page.setDefaultTimeout(0);
await page.goto(pathToFileURL(from).href);
await page.waitForFunction(() => window.MathJax?.startup?.promise);
await page.evaluate(() => window.MathJax.startup.promise.then(() => true));
await page.pdf({ path: to, preferCSSPageSize: true, printBackground: true, outline: true, tagged: true, timeout: 0 });
await browser.close();
