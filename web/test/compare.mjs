// Tensors from Python, and how far apart two tensors are.

import assert from "node:assert/strict";

/** A tensor that tests/web/facts.py packed. */
export function unpacked({ dims, data }) {
  const bytes = Buffer.from(data, "base64");
  return { dims, data: new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.length)) };
}

/** Equal to the last bit. */
export function equalBits(found, expected) {
  assert.equal(found.length, expected.length);
  const [a, b] = [found, expected].map((one) => new Uint32Array(Float32Array.from(one).buffer));
  assert.equal(a.findIndex((bits, i) => bits !== b[i]), -1);
}

export function largestDifference(found, expected) {
  assert.deepEqual(found.dims, expected.dims);
  return found.data.reduce((most, value, i) => Math.max(most, Math.abs(value - expected.data[i])), 0);
}

/** The same after rounding to 8 bits, as a file holds them: the largest difference, and how many bytes differ. */
export function differenceInBytes(found, expected) {
  assert.deepEqual(found.dims, expected.dims);
  const differences = Array.from(found.data, (value, i) => Math.abs(Math.round(255 * value) - Math.round(255 * expected.data[i])));
  return { most: Math.max(...differences), count: differences.filter((difference) => difference > 0).length };
}
