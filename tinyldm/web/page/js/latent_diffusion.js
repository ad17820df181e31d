// The whole. Beside tinyldm/latent_diffusion.py: caption → image, image → image, inpainting, interpolation.
//
//   captions ─encodeText─► context ───────────────┐
//   noise z_T ──────────────────────► sampler( guided(U-Net, context) ) ──► z0 ─decode─► images in [0, 1]

import { NoiseSchedule } from "./forward_diffusion.js";
import { guided, SAMPLERS, SPACINGS } from "./reverse_diffusion.js";
import { children, Generator, randn } from "./seeds.js";
import { combine, concatenated, map, repeated, scaled, sizeOf, slice, tensor } from "./tensors.js";
import { Tokenizer } from "./tokenizer.js";

/** What can be asked for. `captions` has one entry per picture.
 * @typedef {{captions: string[], negative: string, seed: number, steps: number, guidance: number, sampler: string}}
 *   Request
 */

export class LatentDiffusion {
  /** info: as model.json has it; networks: {textEncoder, unet, decoder, encoder}, async functions of tensors. */
  constructor(info, networks) {
    this.info = info;
    this.networks = networks;
    this.tokenizer = new Tokenizer(info.tokenizer);
    this.schedule = new NoiseSchedule(info.alpha_bar, {
      prediction: info.prediction,
      finalAlphaBar: info.final_alpha_bar,
    });
  }

  // ── Text and latents ──────────────────────────────────────────────────────────────────────────────

  /** Captions -> context (B, L, D). */
  async encodeText(captions) {
    return this.networks.textEncoder(captions.map((caption) => this.tokenizer.tokens(caption)));
  }

  /** The contexts with the captions, and of the negative caption alone: (B, L, D) and (1, L, D). */
  async condition(captions, negative) {
    const both = await this.encodeText([negative, ...captions]);
    return [slice(both, 1, captions.length + 1), slice(both, 0, 1)];
  }

  /** Noise (B, C, h, w), each picture's drawn from its own generator. */
  initialNoise(generators) {
    return randn([generators.length, ...this.info.latent], generators);
  }

  /** Images (B, 3, H, W) in [0, 1] -> z0 (B, C, h, w), a sample of the posterior times the scale. */
  async encode(images, generators) {
    const moments = await this.networks.encoder(map((x) => 2 * x - 1, images));
    const [count, channels, h, w] = moments.dims;
    const half = (channels / 2) * h * w;
    const part = (offset) => tensor([count, channels / 2, h, w],
      Float32Array.from({ length: count * half }, (_, i) => moments.data[Math.floor(i / half) * 2 * half + (i % half) + offset]));
    const std = map((logvar) => Math.exp(0.5 * Math.min(Math.max(logvar, -30), 20)), part(half));
    const eps = randn(std.dims, generators);
    return map((mean, deviation, e) => Math.fround(this.info.scale) * (mean + deviation * e), part(0), std, eps);
  }

  /** z0 (B, C, h, w) -> images (B, 3, H, W) in [0, 1]. */
  async decode(z0) {
    const images = await this.networks.decoder(z0);
    return map((y) => Math.min(Math.max((y + 1) / 2, 0), 1), images);
  }

  /** Exactly `steps` falling timesteps. */
  timesteps(steps) {
    return SPACINGS[this.info.spacing](steps, this.schedule.T);
  }

  // ── Making images ─────────────────────────────────────────────────────────────────────────────────

  /** Captions -> images (B, 3, H, W) in [0, 1]. `request`: see Request; onStep: see the samplers. */
  async generate(request, onStep) {
    const generators = children(new Generator(request.seed), request.captions.length);
    const z = this.start(this.initialNoise(generators), this.timesteps(request.steps));
    return this.denoised(request, z, this.timesteps(request.steps), generators, onStep);
  }

  /** Noise pictures part of the way and bring them back under a caption. Meng et al. 2022 (SDEdit).
   *
   * image: (1, 3, H, W) in [0, 1]; strength: share of the steps that is run, above 0.
   */
  async img2img(request, image, strength, onStep) {
    const generators = children(new Generator(request.seed), request.captions.length);
    const z0 = await this.encode(repeated(image, generators.length), generators);
    const eps = this.initialNoise(generators);
    const all = this.timesteps(request.steps);
    const timesteps = all.slice(request.steps - Math.max(Math.floor(request.steps * strength), 1));
    return this.denoised(request, this.schedule.qSample(z0, timesteps[0], eps), timesteps, generators, onStep);
  }

  /** Repaint the part of a picture that a mask marks, and keep the rest, pixel by pixel.
   *
   * The known part of z_t is put back after every step, noised to that step.
   * image: (1, 3, H, W) in [0, 1]; mask: (1, 1, H, W), 1 where to repaint.
   */
  async inpaint(request, image, mask, onStep) {
    const generators = children(new Generator(request.seed), request.captions.length);
    const z0 = await this.encode(repeated(image, generators.length), generators);
    const eps = this.initialNoise(generators);
    const timesteps = this.timesteps(request.steps);
    const latentMask = this.latentMask(mask);
    const putBack = async (i, z, z0Hat) => {
      const known = i + 1 === timesteps.length ? z0 : this.schedule.qSample(z0, timesteps[i + 1], eps);
      const mixed = tensor(z.dims, z.data.map((value, at) => (latentMask[at % latentMask.length] ? value : known.data[at])));
      return (await onStep?.(i, mixed, z0Hat)) ?? mixed;
    };
    const painted = await this.denoised(request, this.start(eps, timesteps), timesteps, generators, putBack);
    return pasteBack(painted, image, mask);
  }

  /** Go from one picture to another: linearly between the captions, on a sphere between the noises. */
  async interpolate(request, frames, onStep) {
    const ends = children(new Generator(request.seed), 2);
    const noises = this.initialNoise(ends);
    const generators = children(ends[0], frames); // of a sampler's fresh noise
    const weights = Array.from({ length: frames }, (_, i) => i / (frames - 1));
    const pair = await this.encodeText(request.captions);
    const [a, b] = [slice(pair, 0, 1), slice(pair, 1, 2)];
    const context = concatenated(...weights.map((weight) => combine(1 - weight, a, weight, b)));
    const z = concatenated(...weights.map((weight) => slerp(slice(noises, 0, 1), slice(noises, 1, 2), weight)));
    const timesteps = this.timesteps(request.steps);
    const nullContext = await this.encodeText([request.negative]);
    const model = guided(this.networks.unet, context, nullContext, request.guidance);
    const z0 = await SAMPLERS[request.sampler](model, this.start(z, timesteps), this.schedule, timesteps, { generators, onStep });
    return this.decode(z0);
  }

  // ── Inside ────────────────────────────────────────────────────────────────────────────────────────

  /** Run the sampler from z, and decode the latent that it ends in. */
  async denoised(request, z, timesteps, generators, onStep) {
    const [context, nullContext] = await this.condition(request.captions, request.negative);
    const model = guided(this.networks.unet, context, nullContext, request.guidance);
    return this.decode(await SAMPLERS[request.sampler](model, z, this.schedule, timesteps, { generators, onStep }));
  }

  /** z_T made of noise alone, with its share of z_T's variance where the model's scheduler asks for it. */
  start(noise, timesteps) {
    return this.info.scales_noise ? scaled(Math.sqrt(1 - this.schedule.at(timesteps[0])), noise) : noise;
  }

  /** The mask of the latent, repeated for each channel: the top left pixel of each patch decides. */
  latentMask(mask) {
    const [channels, h, w] = this.info.latent;
    const factor = this.info.factor;
    const marked = Array.from({ length: h * w }, (_, i) => {
      const [row, column] = [Math.floor(i / w) * factor, (i % w) * factor];
      return mask.data[row * mask.dims[3] + column] >= 0.5;
    });
    if (!marked.includes(true)) throw new Error("The mask marks nothing: paint over a part of the picture first.");
    return Array.from({ length: channels * h * w }, (_, i) => marked[i % (h * w)]);
  }
}

/** Put the original's pixels back where the mask is 0; inside, the share of `painted` rises over `blend` pixels.
 *
 * painted (B, 3, H, W); original (1, 3, H, W); mask (1, 1, H, W).
 */
export function pasteBack(painted, original, mask, blend = 4) {
  const [, , height, width] = mask.dims;
  const marked = (row, column) => row < 0 || column < 0 || row >= height || column >= width || mask.data[row * width + column] >= 0.5;
  // The mask, and what is left of it when its border recedes by 1, 2, … pixels.
  const survives = (row, column, by) => {
    for (let y = row - by; y <= row + by; y++) {
      for (let x = column - by; x <= column + by; x++) if (!marked(y, x)) return false;
    }
    return true;
  };
  const layers = new Float32Array(height * width);
  let depth = 0;
  for (let by = 0; by < blend; by++) {
    let any = false;
    for (let i = 0; i < layers.length; i++) {
      if (survives(Math.floor(i / width), i % width, by)) {
        layers[i] += 1;
        any = true;
      }
    }
    depth += any ? 1 : 0;
  }
  const perPicture = sizeOf(original.dims);
  return tensor(painted.dims, painted.data.map((value, i) => {
    const before = original.data[i % perPicture];
    return before + (value - before) * (layers[i % layers.length] / Math.max(depth, 1));
  }));
}

/** Interpolate from a to b on a sphere. Shoemake 1985. A straight line's middle would be too short for noise. */
export function slerp(a, b, weight) {
  const dot = (x, y) => x.data.reduce((sum, value, i) => sum + value * y.data[i], 0);
  const cosine = dot(a, b) / Math.sqrt(dot(a, a) * dot(b, b));
  if (cosine > 0.9995) return combine(1 - weight, a, weight, b);
  const angle = Math.acos(cosine);
  return combine(Math.sin((1 - weight) * angle) / Math.sin(angle), a, Math.sin(weight * angle) / Math.sin(angle), b);
}
