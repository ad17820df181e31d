// The third screen: one experiment at a time. Predict what will happen, run it, and read what did.

import { Cancelled } from "./client.js";
import { choice, dial, field, figure, fill, h } from "./dom.js";
import { Easel } from "./easel.js";
import { lessonLine } from "./inside.js";
import { defaults } from "./settings.js";

/** @typedef {{title: string, predict: string, explain: string, lesson: string, setUp: (app) => {controls: Node[],
 *   run: (draw, add) => Promise<void>}}} Experiment   draw: see runner(); add(picture, caption) shows a picture */

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
    title: "Guidance, from 0 to 15",
    lesson: "guidance",
    predict: "One noise, one caption, guidance 0, 1, 3, 7 and 15. At which of them does the picture show the caption, and what goes wrong at 15?",
    explain: "At 0 the caption is not read: the picture shows something else. This model follows simple captions already at 1, and 3 makes colours and edges cleaner. At 15 what the caption changes is exaggerated so much that the latent leaves the range that the decoder knows: shapes bend and colours drift.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      return { controls, async run(draw, add) {
        for (const guidance of [0, 1, 3, 7, 15]) add(...(await draw({ request: { ...request(), guidance } })), `guidance ${guidance}`);
      } };
    },
  },
  captions: {
    title: "The same noise, two captions",
    lesson: "guidance",
    predict: "The same noise under two captions that differ in one word. What will the two pictures share?",
    explain: "The noise decides where things go and how large they are, because the first steps can hardly read anything but it. The caption decides what they are. With a caption that is very different, less of the layout is shared.",
    setUp(app) {
      const [first, second, seed] = [text(app.info.examples[0]), text(app.info.examples[0].replace("red", "green")), seedField()];
      return { controls: [field("First caption", first), field("Second caption", second), field("Seed", seed)], async run(draw, add) {
        for (const { value } of [first, second]) add(...(await draw({ request: { ...base(app), captions: [value], seed: Number(seed.value) } })), value || "(empty)");
      } };
    },
  },
  blend: {
    title: "From one picture to another",
    lesson: "context",
    predict: "Eight pictures from one caption and noise to another. Will the middle be both pictures at half strength, or something else?",
    explain: "No picture is a faint overlay of two. Noise is interpolated on a sphere (slerp), so that each mixture has the length of real noise, and the context on a line. Each mixture is then drawn as a picture of its own; somewhere in the middle the model changes its mind.",
    setUp(app) {
      const examples = app.info.examples;
      const [first, second, seed] = [text(examples[0]), text(examples[1] ?? ""), seedField()];
      return { controls: [field("From", first), field("To", second), field("Seed", seed)], async run(draw, add) {
        const request = { ...base(app), captions: [first.value, second.value], seed: Number(seed.value) };
        const pictures = await draw({ request, way: "interpolate", frames: 8 });
        pictures.forEach((picture, i) => add(picture, `${Math.round((100 * i) / 7)} %`));
      } };
    },
  },
  img2img: {
    title: "Picture → picture",
    lesson: "encoder",
    predict: "Draw something. With strength 0.3 it is noised a little before the model takes over; with 1, completely. From which strength on will your drawing no longer be recognised?",
    explain: "Strength is the share of the steps that is run. A low one leaves the layout and repairs the texture: your drawing becomes one of this model's pictures. A high one leaves only what survives that much noise: the rough colours, then nothing.",
    setUp(app) {
      const caption = text(app.info.examples[1] ?? app.info.examples[0]);
      const seed = seedField();
      const strength = dial("Strength", { min: 0.1, max: 1, step: 0.05, value: 0.6 });
      const easel = new Easel(app.info.image_size, { label: "Your drawing" });
      return { controls: [easel.element, field("Caption", caption), strength, field("Seed", seed)], easel, async run(draw, add) {
        const image = easel.picture();
        add(image, "yours");
        const request = { ...base(app), captions: [caption.value], seed: Number(seed.value) };
        add(...(await draw({ request, way: "img2img", image, strength: Number(strength.range.value) })), `strength ${strength.range.value}`);
      } };
    },
  },
  inpaint: {
    title: "Inpainting",
    lesson: "sampler",
    predict: "Paint over a part of the picture. The model repaints that part and must keep the rest, pixel by pixel. Will the new part fit what is around it?",
    explain: "After each step, the known part of the latent is put back, with the noise of that step. So the U-Net always sees the surroundings, and continues the background. It was never trained for this.",
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
      return { controls: [easel.element, note, field("Caption of the whole picture", caption), field("Seed", seed)], easel, async run(draw, add) {
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
    explain: "The negative caption takes the place of the empty one, and guidance exaggerates the difference: what both captions want is no longer strengthened, and what only the negative one wants is pushed away. The model was never trained with negative captions.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.words ? "a green ring" : app.info.examples[0]);
      const negative = text(app.info.words ? "a green ring on a white background" : "");
      return { controls: [...controls, field("Negative caption", negative)], async run(draw, add) {
        add(...(await draw({ request: { ...request(), negative: "" } })), "without");
        add(...(await draw({ request: { ...request(), negative: negative.value } })), "with the negative caption");
      } };
    },
  },
  clinic: {
    title: "The clinic: three silent mistakes",
    lesson: "clinic",
    predict: "The scale left out, another noise schedule, the caption not passed on: none gives an error message. How will each picture look?",
    explain: "Without the scale the decoder gets a latent that is much too small, and decodes little more than grey-green, its answer to zeros. With DDPM's schedule each step removes the noise of another moment than the U-Net expects; here that moves edges and shades a little, so that nobody would notice. And without the caption the picture is fine, but of something else.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      const patients = { "": "healthy", scaleLeftOut: "the scale left out", otherSchedule: "another schedule", captionNotPassed: "caption not passed" };
      return { controls, async run(draw, add) {
        for (const [patient, name] of Object.entries(patients)) add(...(await draw({ request: request(), patient })), name);
      } };
    },
  },
  training: {
    title: "How it learned",
    lesson: "training",
    available: (info) => info.snapshots.length > 0,
    predict: "The same noise and caption, drawn by the U-Net of earlier in its training. What does it learn first: colours, places or shapes?",
    explain: "After 1 % of the training there are patches of colour. After 10 % there are things at places, but colours run into each other and shapes are vague. Which colour belongs to which shape comes last.",
    setUp(app) {
      const { controls, request } = captionAndSeed(app, app.info.examples[0]);
      const moments = [...app.info.snapshots, { title: "100 %", file: undefined }];
      return { controls: [...controls, h("p", { class: "hint" }, "The earlier U-Nets are fetched when you press “Run”.")], async run(draw, add) {
        for (const { title, file } of moments) add(...(await draw({ request: request(), unetFile: file })), title);
      } };
    },
  },
};

export function experimentsScreen(root, app) {
  const available = Object.entries(EXPERIMENTS).filter(([, { available }]) => available?.(app.info) ?? true);
  const place = h("div", { class: "experiment" });
  const pick = choice("Experiment", available.map(([key, { title }]) => [key, title]), available[0][0], (key) => {
    location.hash = `experiments?${key}`;
  });
  const made = new Map(); // what a reader has typed and drawn stays
  root.append(h("h2", { id: "experiments-title" }, "Experiments"),
    h("p", { class: "lead" }, "Say first what you expect, then run it."), pick, place);
  return {
    shown(query) {
      const key = available.some(([name]) => name === query) ? query : available[0][0];
      pick.select.value = key;
      if (!made.has(key)) made.set(key, screenOf(EXPERIMENTS[key], app));
      fill(place, made.get(key));
    },
  };
}

function screenOf(experiment, app) {
  const { controls, run } = experiment.setUp(app);
  const results = h("div", { class: "row results" });
  const status = h("p", { role: "status" });
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
    status.textContent = "Drawing …";
    try {
      await run(drawer(app, controller.signal, bar), (picture, caption) => results.append(figure(picture, caption, caption)));
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
    h("p", { class: "predict" }, h("strong", {}, "Predict: "), experiment.predict),
    h("form", { class: "panel", onsubmit: start }, controls, h("div", { class: "row buttons" }, go, cancel)),
    h("div", { class: "panel" }, bar, status, results, explanation, lessonLine(app.info, experiment.lesson)),
  ];
}

/** A function that draws without previews, shows the progress, and gives the pictures. */
const drawer = (app, signal, bar) => async (content) => {
  if (signal.aborted) throw new Cancelled("cancelled");
  const onStep = ({ step, steps }) => { bar.value = (step + 1) / steps; };
  const { pictures } = await app.client.draw({ previews: 0, ...content }, { onStep, signal });
  return pictures;
};
