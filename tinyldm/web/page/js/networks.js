// The four networks, run by ONNX Runtime: async functions of tensors. They are fetched when they are first needed.

import { tensor } from "./tensors.js";

export class Networks {
  /** ort: ONNX Runtime Web; read: async (path) -> the bytes of a file; info: as model.json has it. */
  constructor(ort, read, info) {
    Object.assign(this, { ort, read, info });
    this.sessions = new Map();
    this.unetFile = "model/unet.onnx"; // or a snapshot's
  }

  /** The opened file, which is kept. */
  session(path) {
    if (!this.sessions.has(path)) {
      const opening = this.read(path).then((bytes) => this.ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] }));
      opening.catch(() => this.sessions.delete(path)); // so that it is tried again
      this.sessions.set(path, opening);
    }
    return this.sessions.get(path);
  }

  /** Run a file. inputs: name -> ONNX Runtime's tensor; returns name -> Tensor, of the wanted outputs. */
  async run(path, inputs, wanted) {
    const session = await this.session(path);
    const outputs = await session.run(inputs, wanted);
    const found = Object.entries(outputs).map(([name, out]) => [name, tensor([...out.dims], Float32Array.from(out.data))]);
    for (const one of [...Object.values(inputs), ...Object.values(outputs)]) one.dispose();
    return Object.fromEntries(found);
  }

  float(x) {
    return new this.ort.Tensor("float32", x.data, x.dims);
  }

  /** tokens: B lists of L numbers -> context (B, L, D). */
  textEncoder = async (tokens) => {
    const numbers = BigInt64Array.from(tokens.flat(), BigInt);
    const inputs = { tokens: new this.ort.Tensor("int64", numbers, [tokens.length, tokens[0].length]) };
    return (await this.run("model/text_encoder.onnx", inputs, ["context"])).context;
  };

  /** z_t (B, C, h, w), t: B numbers, context (B, L, D) -> prediction (B, C, h, w). */
  unet = async (z, t, context) => (await this.unetWithInsides(z, t, context, ["prediction"])).prediction;

  /** The same, and what is inside: name of a layer -> Tensor. wanted: names of outputs; without them, all. */
  unetWithInsides = async (z, t, context, wanted) => {
    const times = new this.ort.Tensor("float32", Float32Array.from(t), [t.length]);
    return this.run(this.unetFile, { z_t: this.float(z), t: times, context: this.float(context) }, wanted);
  };

  /** z0 (B, C, h, w) -> image (B, 3, H, W), about [-1, 1]. */
  decoder = async (z0) => (await this.run("model/decoder.onnx", { z0: this.float(z0) }, ["image"])).image;

  /** image (B, 3, H, W) in [-1, 1] -> moments (B, 2C, h, w). */
  encoder = async (image) => (await this.run("model/encoder.onnx", { image: this.float(image) }, ["moments"])).moments;
}
