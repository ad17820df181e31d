// From noise to a latent, guided by a caption. Beside tinyldm/reverse_diffusion.py, name for name.
//
//   z_T ~ N(0, 1);   for each timestep t, from noisy to clean:   z_t ─model─► ẑ0, ε̂ ─sampler─► z_{t-1}
//
// A sampler is a function of (model, z_T, schedule, timesteps, {generators, onStep}). `model` is any async
// (z_t, t) -> prediction. `onStep(i, z, ẑ0)` is told about each step, and may give a latent that takes the place of z.

import { combine, concatenated, map, repeated, slice } from "./tensors.js";
import { randn } from "./seeds.js";

/** Classifier-free guidance: ε̂ = ε_null + w (ε_caption - ε_null). Ho & Salimans 2022, eq. 6.
 *
 * unet: async (z_t (B, C, h, w), t (B,), context (B, L, D)) -> prediction; context (B, L, D); nullContext (1, L, D).
 */
export function guided(unet, context, nullContext, w) {
  const count = context.dims[0];
  const nulls = nullContext.dims[0] === count ? nullContext : repeated(nullContext, count);
  return async (z, t) => {
    if (w === 1) return unet(z, Array(count).fill(t), context);
    // Both halves in one batch, which is faster: (2B, C, h, w), (2B,), (2B, L, D).
    const both = await unet(concatenated(z, z), Array(2 * count).fill(t), concatenated(nulls, context));
    const [without, withCaption] = [slice(both, 0, count), slice(both, count, 2 * count)];
    return map((a, b) => a + Math.fround(w) * (b - a), without, withCaption);
  };
}

// ── Which timesteps to visit ────────────────────────────────────────────────────────────────────────

/** Python's round: a half goes to the even neighbour. */
const roundHalfToEven = (x) => (Math.abs(x % 1) === 0.5 ? 2 * Math.round(x / 2) : Math.round(x));

const counted = (steps, f) => Array.from({ length: steps }, (_, i) => f(i));

export const SPACINGS = {
  trailing: (steps, T) => counted(steps, (i) => roundHalfToEven(T - (i * T) / steps) - 1),
  leading: (steps, T) => {
    const stride = Math.floor(T / steps);
    const offset = Math.min(1, T - 1 - (steps - 1) * stride);
    return counted(steps, (i) => (steps - 1 - i) * stride + offset);
  },
  leading_from_zero: (steps, T) => counted(steps, (i) => (steps - 1 - i) * Math.floor(T / steps)),
  linspace: (steps, T) => counted(steps, (i) => (steps === 1 ? T - 1 : Math.fround((T - 1) * (1 - i / (steps - 1))))),
};

// ── Samplers ────────────────────────────────────────────────────────────────────────────────────────

/** Song et al. 2021 (DDIM), eq. 12 with σ = 0: jump to ẑ0, come back to the next noise level along ε̂. */
export async function ddim(model, z, schedule, timesteps, { onStep }) {
  for (const [i, t, alphaBar, next] of noiseLevels(schedule, timesteps, schedule.finalAlphaBar)) {
    const [z0, eps] = await z0AndEps(model, z, t, schedule, alphaBar);
    z = combine(Math.sqrt(next), z0, Math.sqrt(Math.max(1 - next, 0)), eps);
    z = await finishStep(onStep, i, z, z0);
  }
  return z;
}

/** Ho et al. 2020 (DDPM), eq. 7: draw from the posterior q(z_{t-1} | z_t, ẑ0). Its fresh noise is random. */
export async function ddpm(model, z, schedule, timesteps, { generators, onStep }) {
  for (const [i, t, alphaBar, next] of noiseLevels(schedule, timesteps, 1)) {
    const [z0] = await z0AndEps(model, z, t, schedule, alphaBar);
    const alpha = alphaBar / next; // of the steps that this one jumps over, together
    const ofZ0 = (Math.sqrt(next) * (1 - alpha)) / (1 - alphaBar);
    const ofZ = (Math.sqrt(alpha) * (1 - next)) / (1 - alphaBar);
    z = combine(ofZ0, z0, ofZ, z);
    const variance = ((1 - next) / (1 - alphaBar)) * (1 - alpha);
    if (variance > 0) z = combine(1, z, Math.sqrt(variance), randn(z.dims, generators));
    z = await finishStep(onStep, i, z, z0);
  }
  return z;
}

/** Karras et al. 2022, algorithm 1: follow the ODE dx/dσ = ε̂ in straight steps, in x = z / √ᾱ, σ = √((1-ᾱ)/ᾱ). */
export async function euler(model, z, schedule, timesteps, { onStep }) {
  for (const [i, t, alphaBar, next] of noiseLevels(schedule, timesteps, 1, FOR_ZERO)) {
    const [z0, eps] = await z0AndEps(model, z, t, schedule, alphaBar);
    const [sigma, nextSigma] = [alphaBar, next].map((a) => Math.sqrt((1 - a) / a));
    const x = combine(1 / Math.sqrt(alphaBar), z, -(sigma - nextSigma), eps);
    z = await finishStep(onStep, i, combine(Math.sqrt(next), x, 0, x), z0);
  }
  return z;
}

/** Lu et al. 2022 (DPM-Solver++), "2M": extrapolate the last two ẑ0 by half a step of λ = log √(ᾱ / (1-ᾱ)). */
export async function dpm(model, z, schedule, timesteps, { onStep }) {
  let [previousZ0, previousLambda] = [z, NaN]; // before the first step there is none
  for (const [i, t, alphaBar, next] of noiseLevels(schedule, timesteps, 1, FOR_ZERO)) {
    const [z0] = await z0AndEps(model, z, t, schedule, alphaBar);
    const [lambda, nextLambda] = [halfLogSnr(alphaBar), halfLogSnr(next)];
    const h = nextLambda - lambda;
    let extrapolated = z0;
    if (i > 0 && next < 1) {
      const share = h / (2 * (lambda - previousLambda));
      extrapolated = combine(1 + share, z0, -share, previousZ0);
    }
    [previousZ0, previousLambda] = [z0, lambda];
    z = combine(Math.sqrt((1 - next) / (1 - alphaBar)), z, -Math.sqrt(next) * Math.expm1(-h), extrapolated);
    z = await finishStep(onStep, i, z, z0);
  }
  return z;
}

export const SAMPLERS = { ddim, ddpm, euler, dpm };

const FOR_ZERO = 2 ** -24; // stands for ᾱ = 0 where σ or λ would be infinite

const halfLogSnr = (alphaBar) =>
  alphaBar === 1 ? Infinity : 0.5 * (Math.log(alphaBar) - Math.log1p(-alphaBar));

/** [step index, t, ᾱ now, ᾱ after] for each step. */
export function noiseLevels(schedule, timesteps, finalAlphaBar, forZero = 0) {
  const levels = [...timesteps.map((t) => schedule.at(t)), finalAlphaBar].map((level) => level || forZero);
  return timesteps.map((t, i) => [i, t, levels[i], levels[i + 1]]);
}

/** Ask the model once; read its prediction as [ẑ0, ε̂]. */
export async function z0AndEps(model, z, t, schedule, alphaBar) {
  const output = await model(z, t);
  return [schedule.prediction.toZ0(output, z, alphaBar), schedule.prediction.toEps(output, z, alphaBar)];
}

async function finishStep(onStep, i, z, z0) {
  return (await onStep?.(i, z, z0)) ?? z;
}
