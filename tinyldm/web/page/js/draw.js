// The first screen: a caption becomes a picture, step by step.

import { Cancelled } from "./client.js";
import { choice, dial, download, field, fill, h, heard, paint, show } from "./dom.js";
import { COUNTS, defaults, fromQuery, LIMITS, studentOf, toPython, toQuery, toRequest } from "./settings.js";
import { wordsAtHand } from "./words.js";

const SAMPLER_NAMES = [
  ["ddim", "DDIM"], ["ddpm", "DDPM, with fresh noise"], ["euler", "Euler"], ["dpm", "DPM-Solver++ 2M"],
];
const WIDE = "(min-width: 56rem)"; // as in style.css: two columns

export function drawScreen(root, app) {
  const form = settingsForm(app, draw);
  const result = resultPanel(app, () => running?.abort());
  const story = storyOf(app);
  let running = null; // an AbortController

  async function draw() {
    running?.abort();
    const mine = (running = new AbortController());
    const settings = form.read();
    const student = studentOf(settings, app.info);
    if (!root.hidden) history.replaceState(null, "", `#draw?${toQuery(settings)}`);
    result.begin(settings, student && !app.times.has(student.file) ? `Fetching the U-Net of ${student.steps} steps, ${megabytes(student.bytes)} …` : "Drawing …");
    story.begin(settings);
    try {
      const previews = settings.n === 1 ? 1 : 4;
      const onStep = (step) => {
        if (running !== mine) return;
        result.step(step);
        story.step(step);
      };
      const content = { request: toRequest(settings), previews, keep: true, unetFile: student?.file };
      const { pictures, seconds } = await app.client.draw(content, { onStep, signal: mine.signal });
      app.last = { settings, pictures };
      if (running === mine) {
        result.end(settings, pictures, timed(app, settings, seconds));
        story.end(pictures);
      }
      app.events.dispatchEvent(new Event("drawn"));
    } catch (error) {
      if (running === mine) result.fail(error instanceof Cancelled ? "Cancelled." : `It could not be drawn: ${error.message}`);
    } finally {
      if (running === mine) {
        running = null;
        result.rest(form.go);
      }
    }
  }

  root.append(
    h("h2", { id: "draw-title" }, "Draw"),
    h("p", { class: "lead" }, explanation(app.info)),
    h("form", { class: "draw", novalidate: true, onsubmit: (event) => { event.preventDefault(); draw(); } },
      form.ask, h("div", { class: "made" }, result.element, story.element), form.settings),
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

/** What a latent diffusion model does, in two sentences. */
function explanation({ latent, image_size: [height, width], image_channels }) {
  const smaller = Math.round((image_channels * height * width) / numbersIn(latent));
  return "A latent diffusion model turns random noise into a picture, a little at each step, guided by your words. " +
    `It works in a “latent”, ${smaller} times smaller than the picture.`;
}

const numbersIn = (shape) => shape.reduce((product, side) => product * side, 1);
const megabytes = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

/** "25 steps in 0.6 s.", and how long the last drawing with another U-Net took. */
function timed(app, settings, seconds) {
  const told = ({ student, steps, n }, time) =>
    `${steps} ${student ? "distilled " : ""}steps in ${time.toFixed(1)} s${n > 1 ? ` for ${n} pictures` : ""}`;
  const file = studentOf(settings, app.info)?.file ?? "";
  app.times.set(file, { settings, seconds });
  const other = [...app.times].find(([key, { settings: { n } }]) => key !== file && n === settings.n)?.[1];
  return `${told(settings, seconds)}${other ? `; before, ${told(other.settings, other.seconds)}` : ""}.`;
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
  const student = studentChoice(info, () => { fix(); tell(); });
  const go = h("button", { type: "submit", class: "primary" }, "Draw");
  const another = h("button", { type: "button", onclick: () => { seed.value = Math.floor(Math.random() * 100000); onDraw(); } }, "Another seed");
  const tokens = tokenLine(app);
  const told = h("span", { class: "told" });
  caption.addEventListener("input", () => tokens.update(caption.value));
  tokens.update(start.caption);

  const read = () => fromQuery(toQuery({
    caption: caption.value, negative: negative.value, seed: seed.value, steps: steps.value,
    guidance: guidance.range.value, sampler: sampler.select.value, n: count.select.value, student: student?.select.value ?? "",
  }), info);
  /** What a student has learnt cannot be chosen. */
  function fix() {
    const taught = Boolean(student?.select.value);
    for (const control of [steps, guidance.range, sampler.select, negative]) control.disabled = taught;
  }
  /** The settings in short, for when they are folded. */
  function tell() {
    const settings = read();
    const name = SAMPLER_NAMES.find(([key]) => key === settings.sampler)[1].split(",")[0];
    told.textContent = settings.student
      ? `seed ${settings.seed}, ${settings.steps} distilled steps`
      : `seed ${settings.seed}, ${settings.steps} steps, guidance ${settings.guidance}, ${name}`;
  }
  function write(settings) {
    caption.value = settings.caption;
    negative.value = settings.negative;
    seed.value = settings.seed;
    steps.value = settings.steps;
    guidance.set(settings.guidance);
    sampler.select.value = settings.sampler;
    count.select.value = settings.n;
    if (student) student.select.value = settings.student;
    tokens.update(settings.caption);
    fix();
    tell();
  }
  const controls = h("details", { class: "panel", open: matchMedia(WIDE).matches, oninput: tell },
    h("summary", {}, "Settings ", told),
    student,
    h("div", { class: "row" }, field("Seed", seed), field("Steps", steps), count),
    guidance, sampler,
    field("Negative caption", negative, "What to steer away from. Guidance reads it instead of the empty caption."));
  tell();
  return {
    ask: h("div", { class: "panel ask" }, field("Caption", caption), tokens.element, h("div", { class: "row buttons" }, go, another)),
    settings: h("div", { class: "settings" }, wordsAtHand(info, caption), controls),
    go, read, write,
  };
}

/** Which U-Net draws, where there is more than one. */
function studentChoice({ students = [] }, onChange) {
  if (!students.length) return null;
  const element = choice("U-Net", [["", "the model’s own, any number of steps"],
    ...students.map(({ steps }) => [String(steps), `${steps} steps (distilled)`])], "", onChange);
  element.append(h("span", { class: "hint" }, students.map((student) => [student.told, `Fetched when first used: ${megabytes(student.bytes)}.`].filter(Boolean).join(" "))));
  return element;
}

/** The caption as the model reads it: one mark for each token; words that it has never seen are named. */
function tokenLine({ info, tokenizer }) {
  const list = h("ol", { class: "tokens", "aria-label": "Tokens of the caption" });
  const warning = h("p", { class: "warning", "aria-live": "polite" });
  const most = info.tokenizer.length - 2;
  const update = (caption) => {
    const pieces = tokenizer.pieces(caption);
    fill(list, pieces.slice(0, most).map(({ piece, token }) =>
      h("li", { title: `token ${token}` }, piece.replace("</w>", ""))));
    const unknown = unknownWords(caption, pieces, info.known);
    fill(warning, [
      unknown.length ? `${info.known ? "Never seen in training" : "Not one token, but several"}: ${unknown.map((word) => `“${word}”`).join(", ")}. ` : "",
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

// ── The result ──────────────────────────────────────────────────────────────────────────────────────

/** The place of the picture, with the progress over it. */
function resultPanel(app, onCancel) {
  const canvases = h("div", { class: "pictures" });
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress" });
  const cancel = h("button", { type: "button", onclick: onCancel }, "Cancel");
  const counter = h("span", { class: "counter", "aria-hidden": "true" }); // the bar says it to screen readers
  const status = h("p", { role: "status" }, "Nothing drawn yet. Press “Draw”.");
  const after = h("div", { class: "row buttons", hidden: true });
  const code = h("pre", { tabindex: 0, "aria-label": "Python" });
  const program = h("details", { hidden: true }, h("summary", {}, "The Python for this picture"), code,
    h("button", { type: "button", onclick: () => copy(code.textContent, status, "The program") }, "Copy"));
  const progress = h("div", { class: "progress" }, bar, counter, cancel);
  const element = h("div", { class: "panel result" }, canvases, progress, status, after, program);
  let shown = []; // canvases, one for each picture

  const paintAll = (pictures) => pictures.forEach((picture, i) => paint(shown[i], picture));
  const tellProgress = (share, told) => {
    bar.value = share;
    bar.setAttribute("aria-valuetext", told);
    counter.textContent = told;
  };

  return {
    element,
    begin(settings, told) {
      const [height, width] = app.info.image_size;
      const blank = { width, height, rgba: new Uint8ClampedArray(4 * width * height) };
      shown = Array.from({ length: settings.n }, (_, i) =>
        show(blank, `Picture ${i + 1} for “${settings.caption}”, seed ${settings.seed}`));
      fill(canvases, shown);
      canvases.dataset.count = settings.n;
      after.hidden = program.hidden = true;
      progress.hidden = false;
      tellProgress(0, `0 of ${settings.steps}`);
      status.textContent = told;
      element.setAttribute("aria-busy", "true");
      // The first picture draws itself: then the page stays at its top.
      if (document.activeElement !== document.body) canvases.scrollIntoView({ block: "nearest" });
    },
    step({ step, steps, pictures }) {
      tellProgress((step + 1) / steps, `step ${step + 1} of ${steps}`);
      if (pictures) paintAll(pictures);
    },
    end(settings, pictures, told) {
      paintAll(pictures);
      status.textContent = told;
      code.textContent = toPython(settings, app.info);
      fill(after, [
        h("button", { type: "button", onclick: () => copy(location.href, status, "The link") }, "Copy link"),
        h("button", { type: "button", onclick: () => save(shown, settings) }, "Download"),
        h("a", { class: "button", href: "#inside" }, "Look inside"),
      ]);
      after.hidden = program.hidden = false;
    },
    fail(message) {
      status.textContent = message;
    },
    /** Nothing is drawn any more. goOn: what takes the focus from “Cancel”, which goes. */
    rest(goOn) {
      element.removeAttribute("aria-busy");
      if (document.activeElement === cancel) goOn.focus();
      progress.hidden = true;
    },
  };
}

/** What happened, from noise to picture, in three steps with the numbers of this drawing. */
function storyOf(app) {
  const { latent, image_size: [height, width], image_channels } = app.info;
  const blank = { width: 1, height: 1, rgba: new Uint8ClampedArray(4) };
  const [noise, picture] = [show(blank, "", "thumb"), show(blank, "", "thumb")];
  const strip = h("ol", { class: "strip", "aria-label": "The latent and the estimate of the picture at each step" });
  const [start, often] = [h("span", {}), h("strong", {})];
  const part = (canvas, ...words) => h("li", {}, canvas ?? h("span", { class: "thumb", "aria-hidden": "true" }, "↻"), h("div", {}, ...words));
  const element = h("section", { class: "panel story", "aria-labelledby": "story-title" },
    h("h3", { id: "story-title" }, "From noise to picture"),
    h("ol", { class: "parts" },
      part(noise, h("strong", {}, "Noise. "), start),
      part(null, often, "The U-Net reads the latent and your words, and says which part of the latent is noise. Some of that is taken away."),
      part(picture, h("strong", {}, "Decode. "), `The decoder turns the finished latent, ${numbersIn(latent)} numbers, into ${width}×${height} pixels, ${(image_channels * height * width).toLocaleString("en")} numbers.`)),
    h("p", { class: "hint" }, "Each step: above, the latent that the U-Net reads; below, the picture it expects at that moment (the estimate ẑ0, decoded). Press a step to look inside."),
    strip);
  return {
    element,
    begin({ seed, steps }) {
      fill(strip);
      start.textContent = `The seed ${seed} gives ${numbersIn(latent)} random numbers: a latent of ${latent.join("×")}, here as ${latent[0]} tiles of ${latent[1]}×${latent[2]}.`;
      often.textContent = `Take noise away, ${steps} times. `;
    },
    step({ step, noise: share, pictures, latent: asked }) {
      if (!pictures) return;
      if (step === 0) paint(noise, asked);
      paint(picture, pictures[0]);
      const look = () => { location.hash = `inside?step=${step}`; };
      const percent = `${Math.round(100 * share)} % noise`;
      strip.append(h("li", {}, h("button", { type: "button", onclick: look },
        show(asked, "", "thumb"), show(pictures[0], "", "thumb"),
        h("span", {}, heard("Step "), step + 1), h("small", {}, percent), heard(": look inside"))));
      strip.scrollLeft = strip.scrollWidth;
    },
    end(pictures) {
      paint(picture, pictures[0]);
      strip.scrollLeft = 0;
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
