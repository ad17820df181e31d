// The first screen: a caption becomes a picture, step by step.

import { Cancelled } from "./client.js";
import { choice, dial, download, field, fill, h, paint, show } from "./dom.js";
import { COUNTS, defaults, fromQuery, LIMITS, toPython, toQuery, toRequest } from "./settings.js";

const KINDS = { size: "sizes", colour: "colours", shape: "shapes", relation: "places", background: "backgrounds" };
const SAMPLER_NAMES = [
  ["ddim", "DDIM"], ["ddpm", "DDPM, with fresh noise"], ["euler", "Euler"], ["dpm", "DPM-Solver++ 2M"],
];

export function drawScreen(root, app) {
  const form = settingsForm(app, draw);
  const result = resultPanel(app);
  let running = null; // an AbortController

  async function draw() {
    running?.abort();
    const mine = (running = new AbortController());
    const settings = form.read();
    if (!root.hidden) history.replaceState(null, "", `#draw?${toQuery(settings)}`);
    result.begin(settings);
    form.busy(true);
    try {
      const previews = settings.n === 1 ? 1 : 4;
      const onStep = (step) => running === mine && result.step(step);
      const content = { request: toRequest(settings), previews, keep: true };
      const { pictures, seconds } = await app.client.draw(content, { onStep, signal: mine.signal });
      app.last = { settings, pictures };
      if (running === mine) result.end(settings, pictures, seconds);
      app.events.dispatchEvent(new Event("drawn"));
    } catch (error) {
      if (running === mine) result.fail(error instanceof Cancelled ? "Cancelled." : `It could not be drawn: ${error.message}`);
    } finally {
      if (running === mine) {
        running = null;
        form.busy(false);
      }
    }
  }

  form.oncancel = () => running?.abort();
  root.append(
    h("h2", { id: "draw-title" }, "Draw"),
    h("p", { class: "lead" }, explanation(app.info)),
    h("div", { class: "two-columns" }, form.element, result.element),
  );
  let restored = null; // the last part of an address that was drawn
  return {
    /** Draw what the address asks for; on a first visit, the example. */
    shown(query) {
      const known = query === restored || (app.last && query === toQuery(app.last.settings));
      if (query ? known : running || app.last) return;
      restored = query;
      form.write(fromQuery(query, app.info));
      draw();
    },
  };
}

/** What a latent diffusion model does, in three sentences. */
function explanation(info) {
  const [channels, h_, w] = info.latent;
  const [height, width] = info.image_size;
  return `A latent diffusion model starts from noise: ${channels * h_ * w} random numbers, a latent of ${channels}×${h_}×${w}. ` +
    "At each step a U-Net reads your caption, guesses what noise is in the latent, and a part of it is taken away. " +
    `What is left in the end is not yet a picture; a decoder turns it into ${width}×${height} pixels.`;
}

// ── The form ────────────────────────────────────────────────────────────────────────────────────────

function settingsForm(app, onDraw) {
  const { info } = app;
  const start = defaults(info);
  const caption = h("input", { type: "text", value: start.caption, autocomplete: "off", spellcheck: "false", maxlength: 1000 });
  const negative = h("input", { type: "text", value: "", autocomplete: "off", spellcheck: "false", maxlength: 1000 });
  const number = (name) => h("input", { type: "number", min: LIMITS[name][0], max: LIMITS[name][1], step: 1, value: start[name], required: true });
  const [seed, steps] = [number("seed"), number("steps")];
  const guidance = dial("Guidance", { min: 0, max: 15, step: 0.5, value: start.guidance });
  const sampler = choice("Sampler", SAMPLER_NAMES, start.sampler);
  const count = choice("Pictures", COUNTS.map((n) => [n, String(n)]), start.n);
  const go = h("button", { type: "submit", class: "primary" }, "Draw");
  const cancel = h("button", { type: "button", disabled: true, onclick: () => form.oncancel() }, "Cancel");
  const another = h("button", { type: "button", onclick: () => { seed.value = Math.floor(Math.random() * 100000); onDraw(); } }, "Another seed");
  const tokens = tokenLine(app);
  caption.addEventListener("input", () => tokens.update(caption.value));
  tokens.update(start.caption);
  const element = h("form", { class: "panel", onsubmit: (event) => { event.preventDefault(); onDraw(); } },
    field("Caption", caption), tokens.element, h("div", { class: "row buttons" }, go, another, cancel),
    wordButtons(info, caption),
    h("div", { class: "row" }, field("Seed", seed), field("Steps", steps), count),
    guidance, sampler,
    field("Negative caption", negative, "What to steer away from. Guidance reads it instead of the empty caption."),
  );
  const form = {
    element,
    read: () => fromQuery(toQuery({
      caption: caption.value, negative: negative.value, seed: seed.value, steps: steps.value,
      guidance: guidance.range.value, sampler: sampler.select.value, n: count.select.value,
    }), info),
    write(settings) {
      caption.value = settings.caption;
      negative.value = settings.negative;
      seed.value = settings.seed;
      steps.value = settings.steps;
      guidance.set(settings.guidance);
      sampler.select.value = settings.sampler;
      count.select.value = settings.n;
      tokens.update(settings.caption);
    },
    busy(yes) {
      if (!yes && document.activeElement === cancel) go.focus(); // a disabled button would lose the focus
      cancel.disabled = !yes;
    },
    oncancel() {},
  };
  return form;
}

/** The caption as the model reads it: one mark for each token; words that it has never seen are named. */
function tokenLine({ info, tokenizer }) {
  const list = h("ol", { class: "tokens", "aria-label": "Tokens of the caption" });
  const warning = h("p", { class: "warning", "aria-live": "polite" });
  const update = (caption) => {
    const pieces = tokenizer.pieces(caption);
    fill(list, pieces.slice(0, info.tokenizer.length - 2).map(({ piece, token }) =>
      h("li", { title: `token ${token}` }, piece.replace("</w>", ""))));
    const unknown = unknownWords(caption, pieces, info.known);
    const most = info.tokenizer.length - 2;
    fill(warning, [
      unknown.length ? `Never seen in training: ${unknown.map((word) => `“${word}”`).join(", ")}. ` : "",
      pieces.length > most ? `Only the first ${most} tokens are read; ${pieces.length - most} are cut off.` : "",
    ].filter(Boolean));
  };
  return { element: h("div", { class: "reading" }, list, warning), update };
}

/** Words outside the model's world; where that is not known, words that are no token of their own. */
export function unknownWords(caption, pieces, known) {
  if (known) {
    const words = caption.toLowerCase().normalize("NFC").match(/[\p{L}\p{M}\p{N}]+/gu) ?? [];
    return [...new Set(words)].filter((word) => !known.includes(word));
  }
  const counts = new Map();
  for (const { word } of pieces) counts.set(word, (counts.get(word) ?? 0) + 1);
  return [...counts].filter(([word, count]) => count > 1 && /\p{L}/u.test(word)).map(([word]) => word);
}

/** The words of the model's world, to click into the caption. */
function wordButtons(info, caption) {
  if (!info.words) return null;
  const insert = (word) => {
    const at = caption.selectionStart ?? caption.value.length;
    const [before, after] = [caption.value.slice(0, at).trimEnd(), caption.value.slice(caption.selectionEnd ?? at).trimStart()];
    caption.value = [before, word, after].filter(Boolean).join(" ");
    const end = [before, word].filter(Boolean).join(" ").length;
    caption.setSelectionRange(end, end);
    caption.dispatchEvent(new Event("input"));
  };
  const groups = Object.entries(info.words).map(([kind, words]) =>
    h("div", { role: "group", "aria-label": KINDS[kind], class: "words" },
      words.map((word) => h("button", { type: "button", class: "word", onclick: () => insert(word) }, word))));
  const examples = info.examples.map((example) =>
    h("button", { type: "button", class: "word", onclick: () => { caption.value = example; caption.dispatchEvent(new Event("input")); } }, example));
  return h("details", { open: true }, h("summary", {}, "The words of this model’s world"),
    h("p", { class: "hint" }, "It was trained on scenes with one or two things, in these words and a few synonyms, and knows nothing else."),
    groups, h("div", { role: "group", "aria-label": "Examples", class: "words" }, examples));
}

// ── The result ──────────────────────────────────────────────────────────────────────────────────────

function resultPanel(app) {
  const canvases = h("div", { class: "pictures" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const status = h("p", { role: "status" }, "Nothing drawn yet. Press “Draw”.");
  const strip = h("ol", { class: "strip", "aria-label": "The estimate of the picture at each step" });
  const after = h("div", { class: "row buttons", hidden: true });
  const code = h("pre", { tabindex: 0, "aria-label": "Python" });
  const program = h("details", { hidden: true }, h("summary", {}, "The Python for this picture"), code,
    h("button", { type: "button", onclick: () => copy(code.textContent, status, "The program") }, "Copy"));
  let shown = []; // canvases, one for each picture

  const paintAll = (pictures) => pictures.forEach((picture, i) => paint(shown[i], picture));

  return {
    element: h("div", { class: "panel result" }, canvases, bar, status, after, program,
      h("h3", {}, "From noise to picture"),
      h("p", { class: "hint" }, "At each step the model already has an estimate ẑ0 of the finished latent. Here it is, decoded."), strip),
    begin(settings) {
      const [height, width] = app.info.image_size;
      const blank = { width, height, rgba: new Uint8ClampedArray(4 * width * height) };
      shown = Array.from({ length: settings.n }, (_, i) =>
        show(blank, `Picture ${i + 1} for “${settings.caption}”, seed ${settings.seed}`));
      fill(canvases, shown);
      canvases.dataset.count = settings.n;
      fill(strip);
      after.hidden = program.hidden = true;
      bar.value = 0;
      status.textContent = "Drawing …";
      canvases.parentElement.setAttribute("aria-busy", "true");
      // On a phone the picture is below the form. The first one draws itself: then the page stays at its top.
      if (document.activeElement !== document.body) canvases.parentElement.scrollIntoView({ block: "nearest" });
    },
    step({ step, steps, pictures }) {
      bar.value = (step + 1) / steps;
      if (!pictures) return;
      paintAll(pictures);
      const look = () => { location.hash = `inside?step=${step}`; };
      strip.append(h("li", {}, h("button", { type: "button", onclick: look, "aria-label": `Step ${step + 1}: look inside` },
        show(pictures[0], "", "thumb"), h("span", {}, step + 1))));
      strip.scrollLeft = strip.scrollWidth;
    },
    end(settings, pictures, seconds) {
      paintAll(pictures);
      strip.scrollLeft = 0;
      canvases.parentElement.removeAttribute("aria-busy");
      status.textContent = `${settings.steps} steps in ${seconds.toFixed(1)} s.`;
      code.textContent = toPython(settings, app.info.name);
      fill(after, [
        h("button", { type: "button", onclick: () => copy(location.href, status, "The link") }, "Copy link"),
        h("button", { type: "button", onclick: () => save(shown, settings) }, "Download"),
        h("a", { class: "button", href: "#inside" }, "Look inside"),
      ]);
      after.hidden = program.hidden = false;
    },
    fail(message) {
      canvases.parentElement.removeAttribute("aria-busy");
      status.textContent = message;
    },
  };
}

async function copy(text, status, what) {
  try {
    await navigator.clipboard.writeText(text);
    status.textContent = `${what} is copied.`;
  } catch {
    status.textContent = `The browser did not allow copying. ${what}: ${text}`;
  }
}

/** Save the pictures side by side as one PNG, pixel by pixel. */
function save(canvases, { seed }) {
  const [{ width, height }] = canvases;
  const page = h("canvas", { width: width * canvases.length, height });
  canvases.forEach((canvas, i) => page.getContext("2d").drawImage(canvas, i * width, 0));
  page.toBlob((blob) => {
    const url = URL.createObjectURL(blob);
    download(url, `tinyldm-seed-${seed}.png`);
    setTimeout(() => URL.revokeObjectURL(url), 10_000);
  });
}
