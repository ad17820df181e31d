// Opens the model and shows one of the three screens, which the address names: #draw?caption=…, #inside, #experiments.

import { Client } from "./client.js";
import { drawScreen } from "./draw.js";
import { experimentsScreen } from "./experiments.js";
import { insideScreen } from "./inside.js";
import { courseLinks, findCourse } from "./lessons.js";
import { defaults, toRequest } from "./settings.js";
import { Tokenizer } from "./tokenizer.js";

const SCREENS = { draw: drawScreen, inside: insideScreen, experiments: experimentsScreen };
const TITLES = { draw: "Draw", inside: "Look inside", experiments: "Experiments" };

/** Instructions of WebAssembly on four numbers at once: a function of a single one of them. */
const WITH_SIMD = new Uint8Array([
  0, 97, 115, 109, 1, 0, 0, 0, 1, 5, 1, 96, 0, 1, 123, 3, 2, 1, 0, 10, 10, 1, 8, 0, 65, 0, 253, 15, 253, 98, 11,
]);

/** What this browser lacks of what the page needs. */
function missing() {
  const lacks = [];
  if (typeof WebAssembly !== "object") lacks.push("WebAssembly");
  else if (!WebAssembly.validate(WITH_SIMD)) lacks.push("WebAssembly SIMD");
  if (typeof Worker !== "function") lacks.push("workers");
  if (typeof BigInt64Array !== "function") lacks.push("64-bit whole numbers");
  if (location.protocol === "file:") lacks.push("a web server (run “python -m http.server” in this folder)");
  return lacks;
}

function report(message) {
  const problem = document.getElementById("problem");
  problem.hidden = false;
  problem.textContent = message;
}

async function fetchJson(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error(`${path} cannot be read: ${response.status}`);
  return response.json();
}

/** Start the worker, and show how much of the model has arrived. */
async function openModel(info, list) {
  const opened = ["unet", "text_encoder", "decoder"].map((part) => `model/${part}.onnx`);
  const total = opened.reduce((sum, path) => sum + (list.files[path] ?? 0), 0);
  let arrived = 0;
  const bar = document.getElementById("loading");
  const client = new Client((path, bytes) => {
    arrived += bytes;
    bar.value = Math.min(arrived / total, 1);
  });
  await client.ask("open");
  return client;
}

/** Keep all files for use without a network. */
async function keepForOffline(list) {
  const told = document.getElementById("offline");
  if (!("serviceWorker" in navigator)) {
    told.textContent = "This browser, or this address, cannot keep the page for use without a network.";
    return;
  }
  try {
    await navigator.serviceWorker.register(`sw.js?version=${list.version}`);
    await navigator.serviceWorker.ready;
    told.textContent = "Kept on this device: the page also works without a network.";
    document.documentElement.dataset.offline = "ready";
  } catch {
    told.textContent = "The page could not be kept for use without a network.";
  }
}

/** Show the screen that the address names. */
function navigate(screens) {
  const [name, query] = location.hash.slice(1).split(/\?(.*)/s);
  const current = name in SCREENS ? name : "draw";
  for (const [key, screen] of Object.entries(screens)) {
    document.getElementById(key).hidden = key !== current;
    const link = document.querySelector(`header a[href^="#${key}"]`);
    if (key === current) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
    if (key === current) screen.shown?.(query ?? "");
  }
  document.title = `${TITLES[current]} – tinyldm, live`;
}

async function start() {
  const lacks = missing();
  if (lacks.length) return report(`This page cannot run here. What is missing: ${lacks.join(", ")}.`);
  try {
    const [list, info] = await Promise.all([fetchJson("files.json"), fetchJson("model/model.json")]);
    const [client, course] = await Promise.all([openModel(info, list), findCourse(info.course)]);
    const app = newApp(info, client, course);
    showCourse(course);
    const screens = Object.fromEntries(
      Object.entries(SCREENS).map(([name, screen]) => [name, screen(document.getElementById(name), app)]));
    document.getElementById("start").hidden = true;
    document.getElementById("about").textContent = about(info);
    addEventListener("hashchange", () => navigate(screens));
    document.querySelector(".skip").addEventListener("click", (event) => {
      event.preventDefault(); // the part of the address behind "#" names the screen
      document.getElementById("main").focus();
    });
    navigate(screens);
    document.documentElement.dataset.state = "ready";
    await keepForOffline(list);
  } catch (error) {
    report(`The model could not be opened: ${error.message}`);
  }
}

function showCourse(course) {
  if (!course) return;
  const links = document.getElementById("course");
  links.replaceChildren(...courseLinks(course));
  links.hidden = false;
}

/** What the screens share. `last`: the last drawing, which can be looked into; "drawn" is told when it changes.
 *
 * course: the address of the course's site, or null. times: file of a U-Net -> how long its last drawing took.
 */
function newApp(info, client, course) {
  const tokenizer = new Tokenizer(info.tokenizer);
  const app = { info, client, course, tokenizer, events: new EventTarget(), last: null, times: new Map() };
  app.drawExample = async () => {
    const settings = defaults(info);
    const { pictures } = await client.draw({ request: toRequest(settings), previews: 0, keep: true });
    app.last = { settings, pictures };
    app.events.dispatchEvent(new Event("drawn"));
  };
  return app;
}

function about(info) {
  const count = Object.values(info.parameters).reduce((sum, parameters) => sum + parameters, 0);
  return `Model “${info.name}”: ${(count / 1e6).toFixed(1)} million parameters, computed in this page by ONNX Runtime. ` +
    "What you type and draw does not leave your device.";
}

start();
