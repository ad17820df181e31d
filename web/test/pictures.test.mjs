// The page draws the pictures that Python draws: at most 1 of 255 apart, with every sampler and in every way.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { facts, openModel, readJson } from "./site.mjs";
import { differenceInBytes, unpacked } from "./compare.mjs";

const { captions, steps, made } = facts.pictures;
const [image, mask] = [unpacked(facts.pictures.image), unpacked(facts.pictures.mask)];
let model;
before(async () => ({ model } = await openModel()));

function closeTo(found, name) {
  const { most, count } = differenceInBytes(found, unpacked(made[name]));
  assert.ok(most <= 1, `${name}: ${most} of 255 apart, ${count} bytes differ`);
}

for (const sampler of ["ddim", "ddpm", "euler", "dpm"]) {
  test(`caption → picture with ${sampler}`, async () => {
    const request = { captions, negative: "a white background", seed: 11, steps, guidance: 4, sampler };
    closeTo(await model.generate(request), `generate ${sampler}`);
  });
}

test("caption → picture without guidance", async () => {
  closeTo(await model.generate({ captions, negative: "", seed: 12, steps, guidance: 1, sampler: "ddim" }), "no guidance");
});

const one = { captions: captions.slice(0, 1), negative: "", steps, guidance: 3 };

test("picture → picture", async () => {
  closeTo(await model.img2img({ ...one, seed: 13, sampler: "ddpm" }, image, 0.5), "img2img");
});

test("inpainting", async () => {
  closeTo(await model.inpaint({ ...one, seed: 14, sampler: "ddim" }, image, mask), "inpaint");
});

test("from one picture to another", async () => {
  closeTo(await model.interpolate({ ...one, captions, seed: 15, sampler: "ddpm" }, 3), "interpolate");
});

const { students } = await readJson("model/model.json");
test("four steps of a student", { skip: !students.length }, async () => {
  const { captions, steps, made } = facts.student;
  const { model: student, networks } = await openModel();
  networks.unetFile = students[0].file;
  const request = { captions, negative: "", seed: 16, steps, guidance: 1, sampler: "ddim" };
  const { most, count } = differenceInBytes(await student.generate(request), unpacked(made));
  assert.ok(most <= 1, `${most} of 255 apart, ${count} bytes differ`);
});

test("a step can be replaced, and an error in it ends the run", async () => {
  const request = { ...one, seed: 1, sampler: "ddim" };
  await assert.rejects(model.generate(request, (i) => { if (i === 1) throw new Error("cancelled"); }), /cancelled/);
});
