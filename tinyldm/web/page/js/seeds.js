// A seed means a picture. Beside tinyldm/seeds.py; the random numbers are those of torch.Generator on the CPU.
//
//   generator ─┬─ first number ──► child 0 ─► z_T of picture 0, then its fresh noise, step by step
//              └─ second number ─► child 1 ─► z_T of picture 1, …

import { concatenated, sizeOf, tensor } from "./tensors.js";

/** Mersenne Twister (Matsumoto & Nishimura 1998), mt19937: what torch.Generator is on the CPU. */
export class Generator {
  constructor(seed) {
    this.state = new Uint32Array(624);
    this.state[0] = seed >>> 0;
    for (let i = 1; i < 624; i++) {
      const before = this.state[i - 1] ^ (this.state[i - 1] >>> 30);
      this.state[i] = Math.imul(1812433253, before) + i;
    }
    this.next = 624;
  }

  /** 32 random bits, as a whole number. */
  random() {
    if (this.next === 624) this.twist();
    let bits = this.state[this.next++];
    bits ^= bits >>> 11;
    bits ^= (bits << 7) & 0x9d2c5680;
    bits ^= (bits << 15) & 0xefc60000;
    return (bits ^ (bits >>> 18)) >>> 0;
  }

  twist() {
    const s = this.state;
    for (let i = 0; i < 624; i++) {
      const mixed = (s[i] & 0x80000000) | (s[(i + 1) % 624] & 0x7fffffff);
      s[i] = s[(i + 397) % 624] ^ (mixed >>> 1) ^ (mixed & 1 ? 0x9908b0df : 0);
    }
    this.next = 0;
  }

  /** 31 random bits. torch.randint draws 64 bits for a range this large; the lower ones are drawn last. */
  random31() {
    this.random();
    return this.random() % 2 ** 31;
  }

  /** A float32 in [0, 1): torch uses the lowest 24 bits. */
  uniform() {
    return (this.random() & 0xffffff) / 0x1000000;
  }
}

/** The generators of pictures 0 … count - 1 of what `generator` makes. */
export const children = (generator, count) =>
  Array.from({ length: count }, () => new Generator(generator.random31()));

/** N(0, 1) noise of shape (B, …), each picture's drawn from its own generator. */
export function randn(dims, generators) {
  const one = [1, ...dims.slice(1)];
  return concatenated(...generators.map((generator) => tensor(one, normal(sizeOf(one), generator))));
}

/** What torch.randn gives for 16 or more numbers: uniform numbers, made normal sixteen at a time. */
export function normal(count, generator) {
  if (count < 16) throw new Error(`${count} random numbers; torch draws fewer than 16 in another way`);
  const out = new Float32Array(count).map(() => generator.uniform());
  for (let first = 0; first + 16 <= count; first += 16) boxMuller(out, first);
  if (count % 16) {
    // The last sixteen are drawn once more, so that they fill a block.
    for (let i = count - 16; i < count; i++) out[i] = generator.uniform();
    boxMuller(out, count - 16);
  }
  return out;
}

/** Eight pairs of uniform numbers become sixteen normal ones, in place (Box & Muller 1958). */
function boxMuller(out, first) {
  for (let i = first; i < first + 8; i++) {
    const radius = Math.sqrt(-2 * Math.log(1 - out[i]));
    const angle = 2 * Math.PI * out[i + 8];
    out[i] = radius * Math.cos(angle);
    out[i + 8] = radius * Math.sin(angle);
  }
}
