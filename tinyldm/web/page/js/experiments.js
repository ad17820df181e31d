// The third screen: one experiment at a time. Predict what will happen, run it, and read what did.

import { Cancelled } from "./client.js";
import { dial, field, figure, fill, h } from "./dom.js";
import { Easel } from "./easel.js";
import { lessonLine } from "./lessons.js";
import { defaults } from "./settings.js";

/** @typedef {{title: string, predict: string, explain: string, lesson: string, setUp: (app) => {controls: Node[],
 *   count: number, run: (draw, add) => Promise<void>}}} Experiment
 * count: of the pictures that run shows; draw: see drawer(); add(picture, caption) shows one */

const text = (value) => h("input", { type: "text", value, autocomplete: "off", spellcheck: "false", maxlength: 1000 });
const seedField = () => h("input", { type: "number", min: 0, max: 2 ** 32 - 1, step: 1, value: 0 });

/** A caption and a seed: what most experiments start from. */
function captionAndSeed(app, caption) {
  const [captionInput, seed] = [text(caption), seedField()];
  return {
    controls: [field("Caption", captionInput), field("Seed", seed)],
    request: () => ({ ...base(app), captions: [captionInput.value], seed: Number(seed.value) || 0 }),
  };
}

const base = (app) => {
  const { steps, guidance, sampler, negative } = defaults(app.info);
  return { steps, guidance, sampler, negative };
};

const EXPERIMENTS = {
  guidance: {
    title: "Guidance",
    lesson: "guidance",
    predict: "One noise, one caption, guidance from 0 to 15. From which on does the picture show the caption, and what goes wrong at 15?",
    explain: "At 0 the caption is not read and at 1 it is read as in training; above, its effect is exaggerated, until the latent leaves the range that the decoder knows and colours and edges suffer.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      return { controls, count: 6, async run(draw, add) {
        for (const guidance of [0, 1, 3, 6, 10, 15]) add(...(await draw({ request: { ...request(), guidance } })), `guidance ${guidance}`);
      } };
    },
  },
  captions: {
    title: "Same noise, two captions",
    lesson: "context",
    predict: "The same noise under two captions that differ in one word. What will the two pictures share?",
    explain: "The noise decides where things are and how large, because the first steps can read little else; the caption decides what they are.",
    setUp(app) {
      const [one, other] = app.info.pair;
      const [first, second, seed] = [text(one), text(other), seedField()];
      return { controls: [field("First caption", first), field("Second caption", second), field("Seed", seed)], count: 2, async run(draw, add) {
        for (const { value } of [first, second]) add(...(await draw({ request: { ...base(app), captions: [value], seed: Number(seed.value) } })), value || "(empty)");
      } };
    },
  },
  blend: {
    title: "Blend two pictures",
    lesson: "context",
    predict: "Eight pictures from one caption and noise to another. Will those in the middle be two faint pictures over each other, or something else?",
    explain: "Each mixture is drawn as a picture of its own, because noise is blended on a sphere (slerp), so that it stays as strong as real noise, and the contexts of the captions on a line.",
    setUp(app) {
      const examples = app.info.examples;
      const [first, second, seed] = [text(examples[0]), text(examples[1] ?? ""), seedField()];
      return { controls: [field("From", first), field("To", second), field("Seed", seed)], count: 8, async run(draw, add) {
        const request = { ...base(app), captions: [first.value, second.value], seed: Number(seed.value) };
        const pictures = await draw({ request, way: "interpolate", frames: 8 });
        pictures.forEach((picture, i) => add(picture, `${Math.round((100 * i) / 7)} %`));
      } };
    },
  },
  img2img: {
    title: "Picture → picture",
    lesson: "encoder",
    predict: "Your drawing is noised before the model takes over: a little at strength 0.3, completely at 1. From which strength on will it no longer be recognised?",
    explain: "Strength is the share of the steps that is run: a low one keeps your layout and repairs the texture, a high one keeps only what survives that much noise.",
    setUp(app) {
      const caption = text(app.info.examples[1] ?? app.info.examples[0]);
      const seed = seedField();
      const strength = dial("Strength", { min: 0.1, max: 1, step: 0.05, value: 0.6 });
      const easel = new Easel(app.info.image_size, { label: "Your drawing" });
      easel.sketch();
      return { controls: [easel.element, field("Caption", caption), strength, field("Seed", seed)], count: 2, async run(draw, add) {
        const image = easel.picture();
        add(image, "yours");
        const request = { ...base(app), captions: [caption.value], seed: Number(seed.value) };
        add(...(await draw({ request, way: "img2img", image, strength: Number(strength.range.value) })), `strength ${strength.range.value}`);
      } };
    },
  },
  inpaint: {
    title: "Inpainting",
    lesson: "inpaint",
    predict: "Paint over a part of the picture. The model repaints that part and must keep the rest, pixel by pixel. Will the new part fit what is around it?",
    explain: "After each step the known part of the latent is put back, with the noise of that step, so that the U-Net always sees the surroundings; it was never trained for this.",
    setUp(app) {
      const caption = text(app.info.examples[1] ?? app.info.examples[0]);
      const seed = seedField();
      const easel = new Easel(app.info.image_size, { masks: true, label: "The picture; paint over what is to be replaced" });
      const useLast = () => {
        easel.load(app.last.pictures[0]);
        caption.value = app.last.settings.caption;
      };
      app.events.addEventListener("drawn", useLast);
      if (app.last) useLast();
      else app.drawExample().catch(() => {}); // then the paper stays white, and takes a picture of the reader's
      const note = h("p", { class: "hint" }, "The picture is the last one from “Draw”, or one of yours.");
      return { controls: [easel.element, note, field("Caption of the whole picture", caption), field("Seed", seed)], count: 2, async run(draw, add) {
        const request = { ...base(app), captions: [caption.value], seed: Number(seed.value) };
        add(easel.picture(), "before");
        add(...(await draw({ request, way: "inpaint", image: easel.picture(), mask: easel.maskPicture() })), "after");
      } };
    },
  },
  negative: {
    title: "A negative caption",
    lesson: "guidance",
    predict: "Guidance steers away from the empty caption. If it steers away from another one instead, what of it will the picture avoid?",
    explain: "The negative caption takes the place of the empty one, so that what only it wants is pushed away and what both want is no longer strengthened; the model was never trained with one.",
    setUp(app) {
      const [caption, away] = app.info.negative;
      const { controls, request } = captionAndSeed(app, caption);
      const negative = text(away);
      return { controls: [...controls, field("Negative caption", negative)], count: 2, async run(draw, add) {
        add(...(await draw({ request: { ...request(), negative: "" } })), "without");
        add(...(await draw({ request: { ...request(), negative: negative.value } })), "with the negative caption");
      } };
    },
  },
  clinic: {
    title: "Three silent mistakes",
    lesson: "clinic",
    predict: "The scale left out, another noise schedule, the caption not passed on: none gives an error message. How will each picture look?",
    explain: "Without the scale the decoder reads a latent that is much too small; with another schedule each step removes the noise of another moment, which may hardly show; and without the caption the picture is fine, but of something else.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      const patients = { "": "healthy", scaleLeftOut: "the scale left out", otherSchedule: "another schedule", captionNotPassed: "caption not passed" };
      return { controls, count: 4, async run(draw, add) {
        for (const [patient, name] of Object.entries(patients)) add(...(await draw({ request: request(), patient })), name);
      } };
    },
  },
  training: {
    title: "How it learned",
    lesson: "training",
    available: (info) => info.snapshots.length > 0,
    predict: "The same noise and caption, drawn by the U-Net of earlier in its training. What does it learn first: colours, places or shapes?",
    explain: "Patches of colour come first, then things at their places, then clean shapes; which colour belongs to which thing comes last.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      const moments = [...app.info.snapshots, { title: "100 %", file: undefined }];
      return { controls: [...controls, h("p", { class: "hint" }, "The earlier U-Nets are fetched when you press “Run”.")], count: moments.length, async run(draw, add) {
        for (const { title, file } of moments) add(...(await draw({ request: request(), unetFile: file })), `${title} of the training`);
      } };
    },
  },
};

export function experimentsScreen(root, app) {
  const available = Object.entries(EXPERIMENTS).filter(([, { available }]) => available?.(app.info) ?? true);
  const place = h("div", { class: "experiment" });
  const links = available.map(([key, { title }]) => h("a", { class: "button word", href: `#experiments?${key}` }, title));
  const made = new Map(); // what a reader has typed and drawn stays
  root.append(h("h2", { id: "experiments-title" }, "Experiments"),
    h("p", { class: "lead" }, "Say first what you expect, then run it."),
    h("nav", { class: "words", "aria-label": "Experiments" }, links), place);
  return {
    shown(query) {
      const key = available.some(([name]) => name === query) ? query : available[0][0];
      for (const link of links) {
        if (link.hash === `#experiments?${key}`) link.setAttribute("aria-current", "page");
        else link.removeAttribute("aria-current");
      }
      if (!made.has(key)) made.set(key, screenOf(EXPERIMENTS[key], app));
      fill(place, made.get(key));
    },
  };
}

function screenOf(experiment, app) {
  const { controls, count, run } = experiment.setUp(app);
  const results = h("div", { class: "results", "data-count": count });
  const status = h("p", { role: "status" }, "Press “Run” when you know what you expect.");
  const bar = h("progress", { max: 1, value: 0, "aria-label": "Progress", hidden: true });
  const explanation = h("p", { class: "explanation", hidden: true }, experiment.explain);
  const cancel = h("button", { type: "button", disabled: true }, "Cancel");
  const go = h("button", { type: "submit", class: "primary" }, "Run");

  async function start(event) {
    event.preventDefault();
    const controller = new AbortController();
    cancel.onclick = () => controller.abort();
    fill(results);
    [go.disabled, cancel.disabled, bar.hidden, explanation.hidden] = [true, false, false, true];
    const tell = () => { status.textContent = `Drawing … ${results.children.length} of ${count} pictures are here.`; };
    const add = (picture, caption) => {
      results.append(figure(picture, caption, caption));
      tell();
    };
    tell();
    try {
      await run(drawer(app, controller.signal, bar), add);
      status.textContent = "Done.";
      explanation.hidden = false;
    } catch (error) {
      status.textContent = error instanceof Cancelled ? "Cancelled." : error.message;
    } finally {
      [go.disabled, cancel.disabled, bar.hidden] = [false, true, true];
    }
  }

  return [
    h("h3", {}, experiment.title),
    lessonLine(app, experiment.lesson),
    h("p", { class: "predict" }, h("strong", {}, "Predict: "), experiment.predict),
    h("form", { class: "panel", onsubmit: start }, controls, h("div", { class: "row buttons" }, go, cancel)),
    h("div", { class: "panel" }, bar, status, results, explanation),
  ];
}

/** A function that draws without previews, shows the progress, and gives the pictures. */
const drawer = (app, signal, bar) => async (content) => {
  if (signal.aborted) throw new Cancelled("cancelled");
  const onStep = ({ step, steps }) => {
    bar.value = (step + 1) / steps;
    bar.setAttribute("aria-valuetext", `step ${step + 1} of ${steps}`);
  };
  const { pictures } = await app.client.draw({ previews: 0, ...content }, { onStep, signal });
  return pictures;
};
