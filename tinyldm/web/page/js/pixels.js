// Tensors become pixels, and pixels become tensors.

import { sizeOf, slice, tensor } from "./tensors.js";

/** @typedef {{width: number, height: number, rgba: Uint8ClampedArray}} Picture */

/** Images (B, 3 or 1, H, W) in [0, 1] -> B pictures. */
export function toPictures(images) {
  const [count, channels, height, width] = images.dims;
  const plane = height * width;
  return Array.from({ length: count }, (_, b) => {
    const rgba = new Uint8ClampedArray(4 * plane).fill(255);
    for (let i = 0; i < plane; i++) {
      for (let c = 0; c < 3; c++) {
        rgba[4 * i + c] = Math.round(255 * images.data[(b * channels + Math.min(c, channels - 1)) * plane + i]);
      }
    }
    return { width, height, rgba };
  });
}

/** A picture -> image (1, 3, H, W) in [0, 1]. */
export function fromPicture({ width, height, rgba }, channels = 3) {
  const plane = width * height;
  return tensor([1, channels, height, width],
    Float32Array.from({ length: channels * plane }, (_, i) => rgba[4 * (i % plane) + Math.floor(i / plane)] / 255));
}

/** One channel of a feature map (1, C, h, w) as a picture. Blue is negative, orange positive, as in the lessons. */
export function signedPicture(values, width, height, largest) {
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) rgba.set(signedColour(values[i] / (largest || 1)), 4 * i);
  return { width, height, rgba };
}

/** A latent (1, C, h, w) as one picture: its channels as tiles of a square, with one scale. */
export function latentPicture(z) {
  const [, count, h, w] = z.dims;
  const channels = channelsOf(z);
  const across = Math.ceil(Math.sqrt(count));
  const [width, height] = [across * w, Math.ceil(count / across) * h];
  const largest = channels.reduce((most, one) => one.reduce((so, value) => Math.max(so, Math.abs(value)), most), 0);
  const values = Float32Array.from({ length: width * height }, (_, i) => {
    const [row, column] = [Math.floor(i / width), i % width];
    const channel = channels[Math.floor(row / h) * across + Math.floor(column / w)];
    return channel ? channel[(row % h) * w + (column % w)] : 0;
  });
  return signedPicture(values, width, height, largest);
}

/** From [-1, 1]: blue (33, 102, 172), nearly white, orange (217, 95, 14). Can be told apart by the colour-blind. */
function signedColour(value) {
  const end = value < 0 ? [33, 102, 172] : [217, 95, 14];
  const share = Math.min(Math.abs(value), 1);
  return [...end.map((colour) => 247 + (colour - 247) * share), 255];
}

/** Shares in [0, 1] as a picture, dark to bright: the colours of "cividis", which the colour-blind can read. */
export function sharesPicture(values, width, height, largest, opacity = 255) {
  const stops = [[0, 32, 77], [65, 77, 107], [124, 123, 120], [188, 175, 111], [255, 234, 70]];
  const rgba = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < width * height; i++) {
    const place = Math.min(Math.max(values[i] / (largest || 1), 0), 1) * (stops.length - 1);
    const [low, share] = [Math.min(Math.floor(place), stops.length - 2), place - Math.min(Math.floor(place), stops.length - 2)];
    rgba.set([...stops[low].map((colour, c) => colour + (stops[low + 1][c] - colour) * share), opacity], 4 * i);
  }
  return { width, height, rgba };
}

/** The channels of one picture's feature map (B, C, h, w): C arrays of h·w numbers. */
export function channelsOf(x, picture = 0) {
  const [, channels] = x.dims;
  const plane = sizeOf(x.dims.slice(2));
  const one = slice(x, picture, picture + 1).data;
  return Array.from({ length: channels }, (_, c) => one.subarray(c * plane, (c + 1) * plane));
}

/** Smallest, largest, mean and standard deviation. */
export function statistics(values) {
  let [low, high, sum, squares] = [Infinity, -Infinity, 0, 0];
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
    sum += value;
    squares += value * value;
  }
  const mean = sum / values.length;
  return { low, high, mean, std: Math.sqrt(Math.max(squares / values.length - mean * mean, 0)) };
}
