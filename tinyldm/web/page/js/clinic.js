// Broken copies of a model, as in tinyldm_course/lessons/clinic.py: none of these mistakes gives an error message.

import { alphaBars, linearBetas, NoiseSchedule } from "./forward_diffusion.js";
import { scaled } from "./tensors.js";

/** A copy that shares everything with `model` but the given parts. */
const brokenCopy = (model, parts) => Object.assign(Object.create(model), parts);

const STABLE_DIFFUSIONS_SCALE = 0.18215;

/** The decoder gets the latent without its scale, as if this VAE's raw latents were as large as Stable Diffusion's. */
const scaleLeftOut = (model) =>
  brokenCopy(model, { decode: (z0) => model.decode(scaled(STABLE_DIFFUSIONS_SCALE, z0)) });

/** Sampling uses DDPM's linear schedule; training used another one. */
const otherSchedule = (model) => {
  const schedule = new NoiseSchedule(alphaBars(linearBetas(model.schedule.T)), { prediction: model.info.prediction });
  return brokenCopy(model, { schedule });
};

/** Both halves of guidance read the context of the empty caption. */
const captionNotPassed = (model) =>
  brokenCopy(model, { condition: (captions) => model.condition(captions.map(() => ""), "") });

export const PATIENTS = { scaleLeftOut, otherSchedule, captionNotPassed };
