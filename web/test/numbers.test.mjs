// The page computes what Python computes: tokens, noise, schedule, timesteps.

import assert from "node:assert/strict";
import { test } from "node:test";
import { facts, fromPage, readJson } from "./site.mjs";
import { equalBits, largestDifference, unpacked } from "./compare.mjs";

const info = await readJson("model/model.json");

test("the tokens of 200 captions are equal", async () => {
  const { Tokenizer } = await fromPage("tokenizer.js");
  const tokenizer = new Tokenizer(info.tokenizer);
  assert.equal(facts.captions.length, 200);
  facts.captions.forEach((caption, i) => assert.deepEqual(tokenizer.tokens(caption), facts.tokens[i], JSON.stringify(caption)));
});

test("ᾱ is equal bit by bit", async () => {
  const { alphaBars, linearBetas, scaledLinearBetas, NoiseSchedule } = await fromPage("forward_diffusion.js");
  equalBits(alphaBars(linearBetas(1000)), unpacked(facts.alpha_bar.linear).data);
  equalBits(alphaBars(scaledLinearBetas(1000)), unpacked(facts.alpha_bar.scaled_linear).data);
  const schedule = new NoiseSchedule(info.alpha_bar, { prediction: info.prediction });
  equalBits(schedule.alphaBar, unpacked(facts.model_alpha_bar).data);
});

test("ᾱ between two timesteps is interpolated as in Python", async () => {
  const { NoiseSchedule } = await fromPage("forward_diffusion.js");
  const schedule = new NoiseSchedule(unpacked(facts.cosine).data, { prediction: "epsilon" });
  const found = [0, 0.25, 17.5, Math.fround(48.999), 49].map((t) => schedule.at(t));
  facts.fractional[0].forEach((expected, i) => assert.ok(Math.abs(found[i] - expected) < 1e-6, `${found[i]} ${expected}`));
});

test("a seed gives the children of torch.Generator", async () => {
  const { children, Generator } = await fromPage("seeds.js");
  for (const [seed, expected] of Object.entries(facts.children)) {
    const first = children(new Generator(Number(seed)), 3).map((child) => child.state[0]);
    assert.deepEqual(first, expected, `seed ${seed}`);
  }
});

test("a seed gives the noise of torch.randn, within 2e-6", async () => {
  const { children, Generator, randn } = await fromPage("seeds.js");
  for (const { seed, count, size, ...expected } of facts.noise) {
    const found = randn([count, size], children(new Generator(seed), count));
    assert.ok(largestDifference(found, unpacked(expected)) <= 2e-6, `seed ${seed}`);
  }
});

test("the same timesteps are visited", async () => {
  const { SPACINGS } = await fromPage("reverse_diffusion.js");
  for (const [name, table] of Object.entries(facts.timesteps)) {
    for (const [steps, expected] of Object.entries(table)) {
      const found = SPACINGS[name](Number(steps), 1000);
      assert.equal(found.length, expected.length);
      found.forEach((t, i) => assert.ok(Math.abs(t - expected[i]) < 1e-4, `${name} ${steps}: ${t}, expected ${expected[i]}`));
    }
  }
});

test("slerp and paste_back are equal", async () => {
  const { pasteBack, slerp } = await fromPage("latent_diffusion.js");
  const { concatenated } = await fromPage("tensors.js");
  const [a, b] = [unpacked(facts.slerp.a), unpacked(facts.slerp.b)];
  const between = concatenated(...[0, 0.25, 0.5, 0.75, 1].map((weight) => slerp(a, b, weight)));
  assert.ok(largestDifference(between, unpacked(facts.slerp.between)) < 1e-5);
  const { painted, original, mask, pasted } = Object.fromEntries(Object.entries(facts.paste_back).map(([k, v]) => [k, unpacked(v)]));
  assert.ok(largestDifference(pasteBack(painted, original, mask), pasted) < 1e-6);
});
