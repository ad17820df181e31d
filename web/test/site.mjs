// A page that `tinyldm export-web` wrote, opened in Node. SITE in the environment says where it is.

import { readFile } from "node:fs/promises";
import { pathToFileURL } from "node:url";

export const SITE = pathToFileURL(`${process.env.SITE}/`);

export const fromPage = (file) => import(new URL(`js/${file}`, SITE));
export const read = async (path) => new Uint8Array(await readFile(new URL(path, SITE)));
export const readJson = async (path) => JSON.parse(await readFile(new URL(path, SITE), "utf8"));

/** What Python computed for these tests: see tests/web/facts.py. */
export const facts = JSON.parse(await readFile(process.env.FACTS, "utf8"));

/** The model of the page, with its networks in Node. */
export async function openModel() {
  const ort = await import(new URL("runtime/ort.wasm.min.mjs", SITE));
  ort.env.wasm.numThreads = 1;
  ort.env.wasm.wasmPaths = new URL("runtime/", SITE).href;
  const [{ Networks }, { LatentDiffusion }] = [await fromPage("networks.js"), await fromPage("latent_diffusion.js")];
  const info = await readJson("model/model.json");
  const networks = new Networks(ort, read, info);
  return { info, networks, model: new LatentDiffusion(info, networks) };
}
