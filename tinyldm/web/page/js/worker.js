// The model's own thread: it draws while the page stays alive. Messages in: {id, type, …}; out: {id, type, …}.

import * as ort from "../runtime/ort.wasm.min.mjs";
import { PATIENTS } from "./clinic.js";
import { LatentDiffusion } from "./latent_diffusion.js";
import { Networks } from "./networks.js";
import { fromPicture, latentPicture, toPictures } from "./pixels.js";
import { concatenated, map, slice } from "./tensors.js";

const SITE = new URL("../", import.meta.url);
ort.env.wasm.numThreads = 1; // two were no faster, and need headers that a static host cannot set
ort.env.wasm.wasmPaths = new URL("runtime/", SITE).href;
ort.env.logLevel = "error";

let model, networks;
let kept = null; // the last drawing that can be looked into: {model, calls, guidance}
const cancelled = new Set();

/** Read a file of the site, and tell the page how far it is. */
async function read(path) {
  const response = await fetch(new URL(path, SITE));
  if (!response.ok) throw new Error(`${path} cannot be read: ${response.status} ${response.statusText}`);
  const reader = response.body.getReader();
  const parts = [];
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    parts.push(value);
    postMessage({ type: "loaded", path, bytes: value.length });
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}

/** Let waiting messages in: one of them may cancel what we are doing. */
const pause = () => new Promise((resolve) => setTimeout(resolve));

// ── What the page can ask for ───────────────────────────────────────────────────────────────────────

/** Open the three networks that a picture needs. */
async function open() {
  const info = await (await fetch(new URL("model/model.json", SITE))).json();
  networks = new Networks(ort, read, info);
  model = new LatentDiffusion(info, networks);
  await Promise.all(["text_encoder", "unet", "decoder"].map((part) => networks.session(`model/${part}.onnx`)));
  return {};
}

/** Draw. way: "generate", "img2img", "inpaint" or "interpolate"; patient: a key of PATIENTS, or nothing.
 *
 * image, mask: pictures; of the mask, red is 255 where to repaint.
 * unetFile: another U-Net's file. previews: after every how many steps the page is shown ẑ0; 0: never.
 * keep: whether it will be looked into; then each step also tells what the U-Net was asked.
 */
async function draw({ id, request, way = "generate", image, mask, strength, frames, patient, unetFile, previews = 1, keep }) {
  const calls = [];
  const drawing = recording(patient ? PATIENTS[patient](model) : model, keep ? calls : null);
  await networks.session(unetFile ?? "model/unet.onnx"); // fetching it is not drawing
  const began = performance.now();
  networks.unetFile = unetFile ?? "model/unet.onnx";
  const steps = way === "img2img" ? Math.max(Math.floor(request.steps * strength), 1) : request.steps;
  const onStep = async (i, z, z0) => {
    await pause();
    if (cancelled.delete(id)) throw new Error("cancelled");
    const shown = previews && (i % previews === previews - 1 || i === 0) ? toPictures(await drawing.decode(z0)) : null;
    // What the U-Net was asked: the first picture's latent before this step, and how much of it is noise.
    const asked = keep && { noise: 1 - drawing.schedule.at(calls[i].t), latent: shown && latentPicture(slice(calls[i].z, 0, 1)) };
    postMessage({ id, type: "step", step: i, steps, pictures: shown, ...asked });
  };
  const pixels = (picture) => picture && fromPicture(picture, model.info.image_channels);
  const ways = {
    generate: () => drawing.generate(request, onStep),
    img2img: () => drawing.img2img(request, pixels(image), strength, onStep),
    inpaint: () => drawing.inpaint(request, pixels(image), fromPicture(mask, 1), onStep),
    interpolate: () => drawing.interpolate(request, frames, onStep),
  };
  try {
    const images = await ways[way]();
    if (keep) kept = { model: drawing, calls, guidance: request.guidance, unetFile: networks.unetFile };
    return { pictures: toPictures(images), seconds: (performance.now() - began) / 1000 };
  } finally {
    networks.unetFile = "model/unet.onnx";
  }
}

/** A copy of a model that writes down what its U-Net is asked, in `calls`. */
function recording(model, calls) {
  if (!calls) return model;
  const unet = async (z, t, context) => {
    calls.push({ z, t: t[0], context });
    return model.networks.unet(z, t, context);
  };
  return Object.assign(Object.create(model), { networks: { ...model.networks, unet } });
}

/** Run one step of the kept drawing once more, for one of its pictures, and return all that is inside the U-Net.
 *
 * Row 0 of each tensor is with the caption, row 1 with the empty or negative caption, where guidance asked for both.
 */
async function inspect({ step, picture }) {
  const { model: drawn, calls, guidance, unetFile } = kept;
  const { z, t, context } = calls[step];
  const count = guidance === 1 ? z.dims[0] : z.dims[0] / 2;
  const rows = guidance === 1 ? [picture] : [count + picture, picture];
  const pick = (x) => concatenated(...rows.map((row) => slice(x, row, row + 1)));
  networks.unetFile = unetFile;
  const { prediction, ...insides } = await networks.unetWithInsides(pick(z), rows.map(() => t), pick(context));
  networks.unetFile = "model/unet.onnx";
  const [withCaption, without] = rows.map((_, row) => slice(prediction, row, row + 1));
  const guidedOne = without ? map((a, b) => a + guidance * (b - a), without, withCaption) : withCaption;
  const one = slice(z, picture, picture + 1);
  const alphaBar = drawn.schedule.at(t);
  const z0 = drawn.schedule.prediction.toZ0(guidedOne, one, alphaBar);
  const eps = drawn.schedule.prediction.toEps(guidedOne, one, alphaBar);
  const [decoded] = toPictures(await drawn.decode(z0));
  return { t, alphaBar, z: one, z0, eps, decoded, insides, prediction, context: pick(context) };
}

const ASKED = { open, draw, inspect };

let queue = Promise.resolve(); // one thing after another
onmessage = ({ data }) => {
  if (data.type === "cancel") {
    cancelled.add(data.id);
    return;
  }
  queue = queue.then(async () => {
    if (cancelled.delete(data.id)) return postMessage({ id: data.id, type: "failed", message: "cancelled" });
    try {
      postMessage({ id: data.id, type: "done", ...(await ASKED[data.type](data)) });
    } catch (error) {
      postMessage({ id: data.id, type: "failed", message: error.message });
    }
  });
};
