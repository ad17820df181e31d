// The few operations on tensors that sampling needs. A tensor is {data, dims}: numbers in row-major order, and a shape.
//
// Numbers are kept as float32, as in PyTorch: a Float32Array rounds whatever is stored in it.

/** @typedef {{data: Float32Array, dims: number[]}} Tensor */

/** How many numbers a shape has: [2, 3] -> 6. */
export const sizeOf = (dims) => dims.reduce((product, side) => product * side, 1);

/** A tensor of this shape, filled with zeros or with the given numbers. */
export function tensor(dims, data = new Float32Array(sizeOf(dims))) {
  if (data.length !== sizeOf(dims)) {
    throw new Error(`${data.length} numbers do not fill a tensor of shape ${dims.join("×")}`);
  }
  return { data, dims };
}

/** A new tensor: f of the numbers at the same place in all the given ones, which have one shape. */
export function map(f, ...tensors) {
  const [{ dims }] = tensors;
  const out = new Float32Array(sizeOf(dims));
  const columns = tensors.map((one) => one.data);
  for (let i = 0; i < out.length; i++) out[i] = f(...columns.map((data) => data[i]));
  return tensor(dims, out);
}

/** a · x + b · y for each number: what samplers do most. Each product is rounded to float32, as in PyTorch. */
export function combine(a, x, b, y) {
  const out = new Float32Array(x.data.length);
  const [a32, b32] = [Math.fround(a), Math.fround(b)];
  for (let i = 0; i < out.length; i++) out[i] = Math.fround(a32 * x.data[i]) + Math.fround(b32 * y.data[i]);
  return tensor(x.dims, out);
}

/** factor · x. */
export function scaled(factor, x) {
  const factor32 = Math.fround(factor);
  return tensor(x.dims, x.data.map((value) => factor32 * value));
}

/** Tensors one after another along the batch: (B1, …), (B2, …) -> (B1 + B2, …). */
export function concatenated(...tensors) {
  const batch = tensors.reduce((sum, one) => sum + one.dims[0], 0);
  const out = tensor([batch, ...tensors[0].dims.slice(1)]);
  let at = 0;
  for (const one of tensors) {
    out.data.set(one.data, at);
    at += one.data.length;
  }
  return out;
}

/** Some of a batch: (B, …) -> (last - first, …). */
export function slice(x, first, last) {
  const each = sizeOf(x.dims.slice(1));
  return tensor([last - first, ...x.dims.slice(1)], x.data.slice(first * each, last * each));
}

/** The same one, count times: (1, …) -> (count, …). */
export const repeated = (x, count) => concatenated(...Array.from({ length: count }, () => x));
