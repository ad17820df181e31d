// The page in Chromium, as a visitor uses it.

import assert from "node:assert/strict";
import { readFile } from "node:fs/promises";
import { after, afterEach, before, test } from "node:test";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";
import { serve } from "./server.mjs";

const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";
const PATIENCE = 240_000; // milliseconds; for a machine with many others at work
const INFO = JSON.parse(await readFile(`${process.env.SITE}/model/model.json`, "utf8"));
const SNAPSHOTS = INFO.snapshots.length;
const [STUDENT] = INFO.students;
const AXE = await readFile(fileURLToPath(import.meta.resolve("axe-core/axe.min.js")), "utf8");

let server, browser, context, page;
const troubles = []; // console errors, exceptions, requests to another host

before(async () => {
  server = await serve(process.env.SITE);
  browser = await chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", "--disable-gpu"] });
  context = await browser.newContext({ viewport: { width: 1280, height: 900 }, acceptDownloads: true });
  page = await opened("");
}, { timeout: PATIENCE });
after(async () => {
  await browser?.close();
  await server?.close();
});
afterEach(() => assert.deepEqual(troubles.splice(0), []));

/** A new tab at this part of the address, with the model ready. */
async function opened(hash) {
  const tab = await context.newPage();
  tab.setDefaultTimeout(PATIENCE);
  tab.on("console", (message) => message.type() === "error" && troubles.push(`console: ${message.text()}`));
  tab.on("pageerror", (error) => troubles.push(`exception: ${error.message}`));
  tab.on("request", (request) => {
    if (!request.url().startsWith(server.url) && !/^(data|blob):/.test(request.url())) troubles.push(`outside: ${request.url()}`);
  });
  await tab.goto(server.url + hash);
  await tab.waitForSelector("html[data-state=ready]");
  return tab;
}

const settled = (tab = page) => tab.waitForSelector("#draw .result:not([aria-busy]) a[href='#inside']:visible");
const pixels = (selector, tab = page) =>
  tab.$eval(selector, (canvas) => Array.from(canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data));
const status = (screen) => page.locator(`#${screen} [role=status]`).first();

async function draw({ caption = "a red circle", seed = 5, steps = 4, n = 1 } = {}) {
  await page.goto(`${server.url}#draw`);
  await page.getByLabel("Caption", { exact: true }).fill(caption);
  await page.locator("#draw").getByLabel("Seed", { exact: true }).fill(String(seed));
  await page.locator("#draw").getByLabel("Steps", { exact: true }).fill(String(steps));
  await page.locator("#draw").getByLabel("Pictures", { exact: true }).selectOption(String(n));
  await page.getByRole("button", { name: "Draw", exact: true }).click();
}

test("a caption becomes a picture, with an estimate for each step", async () => {
  await draw({ steps: 6 });
  await settled();
  assert.equal(await page.locator("#draw .strip li").count(), 6);
  const picture = await pixels("#draw .pictures canvas");
  assert.equal(picture.length, 4 * 64 * 64);
  assert.ok(new Set(picture).size > 20);
  assert.match(await page.locator("#draw pre").textContent(), /generate\([\s\S]*"a red circle"[\s\S]*steps=6[\s\S]*manual_seed\(5\)/);
});

test("words that the model has never seen are named, and words can be inserted", async () => {
  await page.getByLabel("Caption", { exact: true }).fill("a red zebra");
  await page.getByText("Never seen in training: “zebra”").waitFor();
  await page.getByLabel("Caption", { exact: true }).fill("a red");
  await page.getByRole("button", { name: "star", exact: true }).click();
  assert.equal(await page.getByLabel("Caption", { exact: true }).inputValue(), "a red star");
});

test("the address restores the picture, to the last bit", async () => {
  await draw({ seed: 8, steps: 3, n: 4 });
  await settled();
  const [before, hash] = [await pixels("#draw .pictures canvas:nth-child(3)"), new URL(page.url()).hash];
  const other = await opened(hash);
  await settled(other);
  assert.equal(await other.locator("#draw .pictures canvas").count(), 4);
  assert.deepEqual(await pixels("#draw .pictures canvas:nth-child(3)", other), before);
  await other.close();
});

test("an address with nonsense draws with what is left", async () => {
  const other = await opened("#draw?caption=a+star&steps=2&seed=nonsense&sampler=constructor&n=7&guidance=1e9");
  await settled(other);
  assert.equal(await other.locator("#draw .pictures canvas").count(), 1);
  await other.close();
});

test("drawing can be cancelled", async () => {
  await draw({ steps: 100 });
  await page.waitForSelector("#draw .strip li");
  await page.locator("#draw").getByRole("button", { name: "Cancel" }).click();
  await page.getByText("Cancelled.").waitFor();
  assert.ok((await page.locator("#draw .strip li").count()) < 100);
  await draw({ steps: 2 });
  await settled();
  assert.equal(await page.locator("#draw .strip li").count(), 2);
});

test("the picture can be downloaded", async () => {
  const waiting = page.waitForEvent("download");
  await page.getByRole("button", { name: "Download" }).click();
  assert.match((await waiting).suggestedFilename(), /^tinyldm-seed-5\.png$/);
});

test("a student draws in its few steps, and the address remembers it", { skip: !STUDENT }, async () => {
  await draw({ seed: 8, steps: 7 });
  await settled();
  const own = await pixels("#draw .pictures canvas");
  await page.locator("#draw").getByLabel("U-Net").selectOption("4");
  assert.equal(await page.locator("#draw").getByLabel("Steps", { exact: true }).isDisabled(), true);
  await page.getByText(STUDENT.told).waitFor();
  await page.getByRole("button", { name: "Draw", exact: true }).click();
  await page.getByText(/^4 distilled steps in [\d.]+ s; before, 7 steps in [\d.]+ s\.$/).waitFor();
  assert.equal(await page.locator("#draw .strip li").count(), 4);
  assert.match(await page.locator("#draw pre").textContent(), /four_step_unet\(\)[\s\S]*steps=4, guidance_scale=1/);
  const drawn = await pixels("#draw .pictures canvas");
  assert.notDeepEqual(drawn, own);
  const other = await opened(new URL(page.url()).hash);
  await settled(other);
  assert.deepEqual(await pixels("#draw .pictures canvas", other), drawn);
  await other.close();
  await page.locator("#draw").getByLabel("U-Net").selectOption("");
});

test("lessons are links where the course is, and words where it is not", async () => {
  assert.equal(await page.locator("#course").isVisible(), false);
  for (const found of [true, false]) {
    const site = await browser.newContext({ serviceWorkers: "block" });
    const tab = await site.newPage();
    await tab.route("**/model/model.json", (route) => route.fulfill({ json: { ...INFO, course: "../" } }));
    await tab.route("**/course/notebooks/*", (route) => route.fulfill({ status: found ? 200 : 404 }));
    await tab.goto(`${server.url}#experiments?guidance`);
    await tab.locator("#experiments .lesson").waitFor({ timeout: PATIENCE });
    const links = await tab.locator("#course a, .lesson a").evaluateAll((all) => all.map(({ href }) => new URL(href).pathname));
    const expected = ["index.html", "notebooks/00_a_picture_from_a_sentence.html", "api/index.html", "notebooks/12_samplers_and_guidance.html"];
    assert.deepEqual(links, found ? expected.map((path) => `/course/${path}`) : []);
    await site.close();
  }
});

test("a block shows what it made, at each step", async () => {
  await draw({ steps: 5 });
  await settled();
  await page.goto(`${server.url}#inside?step=1`);
  await page.waitForSelector(".map .stage");
  const blocks = await page.locator(".unet .stage").count();
  assert.ok(blocks > 10);
  await page.locator("[data-block='down.0.resblocks.0']").click();
  await page.getByText("Shape 64×8×8").waitFor();
  assert.equal(await page.locator(".detail .channels canvas").count(), 64);
  assert.equal(await page.getByText("+ skip from").count(), await page.locator(".unet .up strong", { hasText: "ResBlock" }).count());
  assert.match(await page.locator(".detail pre").textContent(), /def forward\(self, x: Tensor, t_emb/);
  const early = await pixels("[data-block='z0'] canvas");
  await page.getByLabel("Step", { exact: true }).press("End");
  await page.locator("#inside output").getByText("5 of 5").waitFor();
  await page.waitForSelector("#inside .map-and-detail:not([aria-busy])");
  assert.notDeepEqual(await pixels("[data-block='z0'] canvas"), early);
});

test("the last estimate of the screen “Look inside” is the picture", async () => {
  assert.deepEqual(await pixels("[data-block='decoder'] canvas"), await pixels("#draw .pictures canvas"));
});

test("a word's map lies over the picture, by block and head", async () => {
  const map = () => pixels(".word-maps canvas.picture");
  assert.equal(await page.locator("[data-token][aria-pressed=true]").textContent(), "circle"); // a thing, at first
  await page.getByRole("button", { name: "red" }).and(page.locator("[data-token]")).click();
  const before = await map();
  await page.getByRole("button", { name: "circle" }).and(page.locator("[data-token]")).click();
  await page.getByText(/gives “circle” between/).waitFor();
  const circle = await map();
  assert.notDeepEqual(circle, before);
  await page.getByLabel("Head").selectOption("1");
  const head = await map();
  assert.notDeepEqual(head, circle);
  await page.getByLabel("Block", { exact: true }).selectOption({ index: 1 });
  assert.notDeepEqual(await map(), head);
});

async function stroke(x0, y0, x1, y1) {
  const easel = page.locator("#experiments .easel");
  await easel.scrollIntoViewIfNeeded();
  const { x, y, width, height } = await easel.boundingBox();
  await page.mouse.move(x + width * x0, y + height * y0);
  await page.mouse.down();
  await page.mouse.move(x + width * x1, y + height * y1, { steps: 4 });
  await page.mouse.up();
}

async function run(experiment, prepare) {
  await page.goto(`${server.url}#experiments?${experiment}`);
  await page.waitForSelector("#experiments .experiment form");
  await prepare?.();
  await page.locator("#experiments").getByRole("button", { name: "Run" }).click();
  await page.waitForSelector("#experiments .explanation:visible");
  return page.locator("#experiments .results canvas").count();
}

test("a drawing becomes a picture", async () => {
  assert.equal(await run("img2img", () => stroke(0.3, 0.3, 0.6, 0.5)), 2);
  const [drawn, made] = [await pixels("#experiments figure:nth-child(1) canvas"), await pixels("#experiments figure:nth-child(2) canvas")];
  assert.ok(new Set(drawn).size > 1);
  assert.notDeepEqual(made, drawn);
});

test("the keyboard draws, too", async () => {
  const easel = page.locator("#experiments .easel");
  await page.locator("#experiments").getByRole("button", { name: "Clear" }).click();
  const before = await pixels("#experiments .easel");
  await easel.focus();
  for (const key of ["ArrowLeft", "ArrowUp", "Space"]) await easel.press(key);
  await page.locator("#experiments .primary").focus(); // the brush's outline goes
  assert.notDeepEqual(await pixels("#experiments .easel"), before);
});

test("inpainting changes what is marked and nothing else", async () => {
  await page.goto(`${server.url}#experiments?inpaint`);
  await page.getByText("Paint over a part").waitFor();
  await page.locator("#experiments").getByRole("button", { name: "Run" }).click();
  await page.getByText("The mask marks nothing").waitFor();
  assert.equal(await run("inpaint", () => stroke(0.7, 0.2, 0.7, 0.8)), 2);
  const [before, after] = [await pixels("#experiments figure:nth-child(1) canvas"), await pixels("#experiments figure:nth-child(2) canvas")];
  const changed = before.flatMap((value, i) => (value !== after[i] ? [Math.floor(i / 4) % 64] : []));
  assert.ok(changed.length > 100);
  assert.ok(Math.min(...changed) > 32, `column ${Math.min(...changed)} changed`);
});

test("guidance, the clinic and a snapshot draw different pictures", async () => {
  for (const [experiment, count] of [["guidance", 6], ["clinic", 4], ["training", SNAPSHOTS + 1]]) {
    assert.equal(await run(experiment), count, experiment);
    const pictures = [];
    for (let i = 1; i <= count; i++) pictures.push(String(await pixels(`#experiments figure:nth-child(${i}) canvas`)));
    assert.equal(new Set(pictures).size, count, experiment);
  }
});

test("no serious finding of axe, in light and dark, on a phone and a desk", async () => {
  const experiments = await page.locator("#experiments nav a").evaluateAll((links) => links.map((link) => link.hash));
  assert.equal(experiments.length, SNAPSHOTS ? 8 : 7);
  for (const hash of ["#draw", "#inside", ...experiments]) {
    await page.goto(server.url + hash);
    await page.waitForTimeout(300);
    for (const [colorScheme, width] of [["light", 1280], ["dark", 390]]) {
      await page.emulateMedia({ colorScheme });
      await page.setViewportSize({ width, height: 844 });
      await page.waitForTimeout(400); // the colours of buttons fade for 150 ms
      await page.evaluate(AXE);
      const { violations } = await page.evaluate(() => axe.run());
      const serious = violations.filter(({ impact }) => ["serious", "critical"].includes(impact));
      assert.deepEqual(serious.map(({ id, nodes }) => [id, nodes[0].html]), [], `${hash} ${colorScheme} ${width}`);
    }
  }
  await page.emulateMedia({ colorScheme: null });
});

test("nothing is wider than a phone", async () => {
  for (const hash of ["#draw", "#inside", "#experiments?inpaint", "#experiments?blend"]) {
    await page.goto(server.url + hash);
    for (const width of [320, 390]) {
      await page.setViewportSize({ width, height: 800 });
      assert.ok((await page.evaluate(() => document.documentElement.scrollWidth)) <= width, `${hash} at ${width}`);
    }
  }
});

test("a first visit on a phone begins at the top, with all of the picture in sight", async () => {
  const narrow = await browser.newContext({ viewport: { width: 390, height: 844 } });
  const tab = await narrow.newPage();
  await tab.goto(server.url);
  await tab.waitForSelector("#draw .result:not([aria-busy]) a[href='#inside']:visible", { timeout: PATIENCE });
  assert.equal(await tab.evaluate(() => scrollY), 0);
  const [button, picture] = [await tab.getByRole("button", { name: "Draw", exact: true }).boundingBox(), await tab.locator("#draw .pictures").boundingBox()];
  assert.ok(picture.y > button.y && picture.y + picture.height < 844, JSON.stringify(picture));
  assert.equal(await tab.getByLabel("Seed", { exact: true }).isVisible(), false); // folded, and told in short
  await tab.getByText("seed 0, 25 steps, guidance 3, DDIM").waitFor();
  await narrow.close();
});

test("the keyboard reaches the content first, and reduced motion has no transitions", async () => {
  await page.emulateMedia({ reducedMotion: "reduce" });
  assert.equal(await page.$eval("button", (button) => getComputedStyle(button).transitionDuration), "0s");
  await page.goto(`${server.url}#inside`);
  assert.equal(await page.evaluate(() => document.querySelector("a[href], button, input, select").className), "skip");
  await page.locator(".skip").press("Enter");
  await page.waitForFunction(() => document.activeElement.id === "main");
  assert.equal(new URL(page.url()).hash, "#inside"); // it is still the same screen
});

test("it works without a network after the first visit", async () => {
  await page.waitForSelector("html[data-offline=ready]");
  await server.close();
  const other = await opened("#draw?caption=a+blue+square&steps=2&seed=1");
  await settled(other);
  assert.ok(new Set(await pixels("#draw .pictures canvas", other)).size > 20);
  await other.close();
  troubles.splice(0, troubles.length, ...troubles.filter((trouble) => !/ERR_CONNECTION_REFUSED/.test(trouble))); // of files.json
});

test("a browser that lacks something is told what", async () => {
  const poor = await context.newPage();
  await poor.addInitScript(() => { delete window.Worker; });
  await poor.goto(server.url);
  await poor.getByText("What is missing: workers").waitFor();
  await poor.close();
});
