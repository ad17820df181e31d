// The noise schedule. Beside tinyldm/forward_diffusion.py.
//
//   z_t = √ᾱ_t · z0 + √(1-ᾱ_t) · ε,   ε ~ N(0, 1),   ᾱ_t = ∏_{s ≤ t} (1 - β_s)

import { combine } from "./tensors.js";

/** DDPM's: β rises linearly. Ho et al. 2020, § 4. Each number is the one that torch.linspace gives. */
export const linearBetas = (T, start = 1e-4, end = 0.02) => linspace(start, end, T);

/** Stable Diffusion's: √β rises linearly. */
export const scaledLinearBetas = (T, start = 0.00085, end = 0.012) =>
  linspace(Math.sqrt(start), Math.sqrt(end), T).map((root) => root * root);

/** `count` numbers with both ends; as torch does it, the second half counts from the end. */
function linspace(start, end, count) {
  const step = (end - start) / (count - 1);
  return Float64Array.from({ length: count }, (_, i) =>
    i < Math.floor(count / 2) ? start + step * i : end - step * (count - 1 - i),
  );
}

/** ᾱ (T,) float32, multiplied up in float64. */
export function alphaBars(betas) {
  let product = 1;
  return Float32Array.from(betas, (beta) => (product *= 1 - beta));
}

/** z0 = √ᾱ z_t - √(1-ᾱ) v. */
export const z0FromVelocity = (v, z, alphaBar) => combine(alphaBar ** 0.5, z, -((1 - alphaBar) ** 0.5), v);

/** ε = √ᾱ v + √(1-ᾱ) z_t. */
export const epsFromVelocity = (v, z, alphaBar) => combine(alphaBar ** 0.5, v, (1 - alphaBar) ** 0.5, z);

/** z0 = (z_t - √(1-ᾱ) ε) / √ᾱ. */
export const z0FromEps = (eps, z, alphaBar) =>
  combine(1 / alphaBar ** 0.5, z, -((1 - alphaBar) ** 0.5) / alphaBar ** 0.5, eps);

/** What a network's output means: a convention, which cannot be read from its weights. */
export const PREDICTIONS = {
  epsilon: { toZ0: z0FromEps, toEps: (eps) => eps },
  v_prediction: { toZ0: z0FromVelocity, toEps: epsFromVelocity },
};

/** ᾱ_t for t = 0 … T-1, and what the network predicts at it. */
export class NoiseSchedule {
  /** @param {ArrayLike<number>} alphaBar (T,); finalAlphaBar: where DDIM stops; prediction: a key of PREDICTIONS */
  constructor(alphaBar, { prediction, finalAlphaBar = 1 }) {
    this.alphaBar = Float32Array.from(alphaBar);
    this.T = this.alphaBar.length;
    this.finalAlphaBar = Math.fround(finalAlphaBar);
    this.prediction = PREDICTIONS[prediction];
  }

  /** ᾱ at any t in [0, T-1]. Between two entries log σ, σ = √((1-ᾱ)/ᾱ), is interpolated linearly. */
  at(t) {
    if (Number.isInteger(t)) return this.alphaBar[t];
    const below = Math.min(Math.floor(t), this.T - 2);
    const [a, b] = [logSigma(this.alphaBar[below]), logSigma(this.alphaBar[below + 1])];
    return Math.fround(1 / (1 + Math.exp(2 * (a + (t - below) * (b - a)))));
  }

  /** Noise clean latents to timestep t in one jump: z_t = √ᾱ_t z0 + √(1-ᾱ_t) ε. */
  qSample(z0, t, eps) {
    const alphaBar = this.at(t);
    return combine(Math.sqrt(alphaBar), z0, Math.sqrt(1 - alphaBar), eps);
  }
}

const logSigma = (alphaBar) => 0.5 * (Math.log1p(-(alphaBar || 2 ** -24)) - Math.log(alphaBar || 2 ** -24));
