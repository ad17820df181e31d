// Which lesson builds which piece, and the ways back to the course. tests/web checks that the files exist.

import { h } from "./dom.js";

const LESSONS = {
  tokens: ["09_context", "Context"],
  text_encoder: ["09_context", "Context"],
  context: ["09_context", "Context"],
  noise: ["02_forward_diffusion", "Forward diffusion"],
  unet: ["08_unet", "The U-Net"],
  Conv2d: ["08_unet", "The U-Net"],
  t_emb: ["06_resblock", "The ResBlock"],
  ResBlock: ["06_resblock", "The ResBlock"],
  Downsample: ["06_resblock", "The ResBlock"],
  Upsample: ["06_resblock", "The ResBlock"],
  SpatialTransformer: ["07_spatial_transformer", "The SpatialTransformer"],
  words: ["07_spatial_transformer", "The SpatialTransformer"],
  guidance: ["12_samplers_and_guidance", "Samplers and guidance"],
  inpaint: ["13_full_sampler", "The full sampler"],
  sampler: ["03_reverse_diffusion", "Reverse diffusion"],
  prediction: ["03_reverse_diffusion", "Reverse diffusion"],
  decoder: ["05_autoencoder", "The autoencoder"],
  encoder: ["05_autoencoder", "The autoencoder"],
  clinic: ["16_clinic", "The clinic"],
  training: ["10_training", "Training"],
};

/** "Lesson 08: The U-Net", as a link where the page is a part of the course's site. */
export function lessonLine({ course }, piece) {
  const [file, title] = LESSONS[piece];
  const text = `Lesson ${file.slice(0, 2)}: ${title}`;
  return h("p", { class: "lesson" }, course ? h("a", { href: `${course}notebooks/${file}.html`, target: "_top" }, text) : text);
}

/** The course's site as an address that ends with "/", or null where it is not there: no link rather than a broken one.
 *
 * course: the address as model.json has it, seen from the page, or null.
 */
export async function findCourse(course) {
  if (!course) return null;
  const address = new URL(course.endsWith("/") ? course : `${course}/`, document.baseURI);
  if (address.origin !== location.origin) return address.href; // another host is not asked anything
  try {
    const { ok } = await fetch(new URL(`notebooks/${LESSONS.unet[0]}.html`, address), { method: "HEAD" });
    return ok ? address.href : null;
  } catch {
    return null; // such as without a network
  }
}

/** The ways back to the course. */
export const courseLinks = (course) =>
  [["index.html", "Course"], ["notebooks/00_a_picture_from_a_sentence.html", "Lessons"], ["api/index.html", "API"]].map(
    ([path, text]) => h("a", { href: course + path, target: "_top" }, text));
