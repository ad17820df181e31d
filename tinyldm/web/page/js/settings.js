// What a picture depends on: in the form, in the page's address, and as Python.

import { SAMPLERS } from "./reverse_diffusion.js";

export const LIMITS = { steps: [1, 100], guidance: [0, 15], seed: [0, 2 ** 32 - 1] };
export const COUNTS = [1, 4];
const PYTHON_NAMES = { ddim: "ddim", ddpm: "ddpm", euler: "euler", dpm: "dpm_solver_pp" };

export function defaults(info) {
  return { caption: info.examples[0], negative: "", seed: 0, steps: 25, guidance: 3, sampler: info.sampler, n: 1, student: "" };
}

/** The U-Net that settings name instead of the model's own, or undefined: {steps, file, bytes, …}, see model.json. */
export const studentOf = ({ student }, info) => (info.students ?? []).find(({ steps }) => String(steps) === String(student));

/** What a student cannot be asked otherwise: its steps, its sampler, and the guidance that it has learnt. */
const asTaught = ({ steps }) => ({ steps, guidance: 1, sampler: "ddim", negative: "" });

/** Settings -> "caption=…&seed=…". */
export function toQuery({ student, ...settings }) {
  return new URLSearchParams(student ? { ...settings, student } : settings).toString();
}

/** The address's part after "#draw?" -> settings; what is missing or makes no sense takes its default. */
export function fromQuery(query, info) {
  const given = new URLSearchParams(query);
  const settings = defaults(info);
  for (const name of ["caption", "negative"]) if (given.has(name)) settings[name] = given.get(name).slice(0, 1000);
  for (const [name, [low, high]] of Object.entries(LIMITS)) {
    const number = given.has(name) && given.get(name) !== "" ? Number(given.get(name)) : NaN;
    if (Number.isFinite(number)) settings[name] = Math.min(Math.max(name === "guidance" ? number : Math.round(number), low), high);
  }
  if (Object.hasOwn(SAMPLERS, given.get("sampler") ?? "")) settings.sampler = given.get("sampler");
  if (COUNTS.includes(Number(given.get("n")))) settings.n = Number(given.get("n"));
  const student = studentOf({ student: given.get("student") }, info);
  return student ? { ...settings, ...asTaught(student), student: String(student.steps) } : settings;
}

/** What the model is asked for: see Request in latent_diffusion.js. */
export function toRequest({ caption, negative, seed, steps, guidance, sampler, n = 1 }) {
  return { captions: Array(n).fill(caption), negative, seed, steps, guidance, sampler };
}

/** The program that makes the same picture in Python. */
export function toPython(settings, info) {
  const { caption, negative, seed, steps, guidance, sampler, n } = settings;
  const student = studentOf(settings, info)?.python ?? [];
  const times = n === 1 ? "" : ` * ${n}`;
  const lines = [
    "import torch",
    "import tinyldm",
    ...student.slice(0, 1),
    "",
    `model = tinyldm.LatentDiffusion.from_pretrained(${quoted(info.name)})`,
    ...student.slice(1),
    "images = model.generate(",
    `    [${quoted(caption)}]${times},`,
    negative ? `    negative=[${quoted(negative)}]${times},` : null,
    `    steps=${steps}, guidance_scale=${guidance}, sampler=tinyldm.${PYTHON_NAMES[sampler]},`,
    `    generator=torch.Generator().manual_seed(${seed}),`,
    `)  # (${n}, 3, H, W) in [0, 1]`,
  ];
  return lines.filter((line) => line !== null).join("\n");
}

/** Text as a Python string: JSON's escapes are Python's, too. */
const quoted = (text) => JSON.stringify(text);
