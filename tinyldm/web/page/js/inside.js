// The second screen: the whole model as a map, each block with what it made at the chosen step.

import { choice, dial, fill, figure, h, oneOf, show } from "./dom.js";
import { lessonLine } from "./lessons.js";
import { channelsOf, latentPicture, sharesPicture, signedPicture, statistics } from "./pixels.js";
import { wordMaps } from "./word_maps.js";

const DESCRIPTIONS = {
  caption: "What you typed. The model never sees letters, only tokens.",
  tokens: "Each word of the vocabulary is one number. Start, words, end; the rest is filled with the end token.",
  text_encoder: "A transformer reads the tokens from left to right and makes one vector of each: the context. All steps read the same one.",
  noise: "The random numbers that the seed gives, the latent z_T. With the same seed, the same picture.",
  z_t: "The latent before this step: the picture's latent, and noise on top. The later the step, the less noise.",
  t_emb: "The timestep t as a vector. It tells every ResBlock how much noise to expect.",
  prediction: "What the U-Net says, with guidance. From it follow ẑ0, the estimate of the finished latent, and ε̂, of the noise.",
  z0: "The estimate of the finished latent. The sampler goes a part of the way towards it, and asks again.",
  decoder: "The decoder of the autoencoder turns the latent into pixels. Here it decodes ẑ0 of this step.",
  ResBlock: "Two convolutions, the time embedding between them, added to the input. It mixes neighbouring pixels.",
  SpatialTransformer: "Each pixel reads all pixels (self-attention), then the words (cross-attention).",
  Downsample: "A convolution of stride 2 halves height and width.",
  Upsample: "Each pixel becomes four, and a convolution smooths them.",
  Conv2d: "The first convolution: from the channels of the latent to the width of the U-Net.",
};
const NARROW = "(max-width: 43.99rem)"; // as in style.css: the map is one column
const PIECES = { caption: "tokens", z_t: "noise", z0: "prediction" }; // whose lines and lesson are shown instead

export function insideScreen(root, app) {
  const state = { step: 0, picture: 0, row: 0, block: null, found: null };
  const map = h("div", { class: "map" });
  const detail = h("div", { class: "panel detail" }); // (not live: it changes on request only)
  const both = h("div", { class: "map-and-detail" }, map, detail);
  const narrow = matchMedia(NARROW);
  const words = wordMaps(app);
  const status = h("p", { role: "status" });
  const controls = h("div", { class: "panel controls" });
  const scrub = h("div", { class: "panel scrub" }); // stays in sight
  const step = dial("Step", { min: 1, max: 1, step: 1, value: 1, format: (i) => `${i} of ${app.last?.settings.steps ?? 1}`, onChange: (i) => go({ step: i - 1 }) });
  let asking = false;

  /** Change what is shown, and compute it; while that lasts, only the last wish counts. */
  async function go(change) {
    Object.assign(state, change);
    if (asking || !app.last) return;
    asking = true;
    both.setAttribute("aria-busy", "true");
    if (!state.found) status.textContent = "Computing this step …";
    try {
      for (let wish = ""; wish !== `${state.step} ${state.picture}`; ) {
        wish = `${state.step} ${state.picture}`;
        state.found = await app.client.ask("inspect", { step: state.step, picture: state.picture });
      }
    } finally {
      asking = false;
      both.removeAttribute("aria-busy");
    }
    render();
  }

  function render() {
    const { found } = state;
    const { settings } = app.last;
    const rows = found.prediction.dims[0];
    state.row = Math.min(state.row, rows - 1);
    step.set(state.step + 1);
    fill(controls, [
      h("p", {}, `“${settings.caption}”, seed ${settings.seed}, ${settings.steps} ${settings.student ? "distilled steps" : `steps, guidance ${settings.guidance}`}. `,
        h("a", { href: "#draw" }, "Draw another one")),
      settings.n > 1 && choice("Picture", app.last.pictures.map((_, i) => [i, String(i + 1)]), state.picture, (i) => go({ picture: Number(i) })),
      rows > 1 && h("p", { class: "hint" }, "Guidance asks the U-Net twice at each step. Show what it makes"),
      rows > 1 && oneOf("Which half of guidance", [[0, "with the caption"], [1, settings.negative ? "with the negative caption" : "with the empty caption"]],
        state.row, (row) => { state.row = row; render(); }),
    ]);
    fill(scrub, step, h("p", { class: "hint" }, `t = ${found.t}: of the latent’s variance, ${percent(found.alphaBar)} is signal and the rest noise.`));
    state.block ??= "z0";
    fill(map, theMap(app, state, (block) => { state.block = block; render(); detail.querySelector("h3")?.focus(); }));
    fill(detail, theDetail(app, state));
    placeDetail();
    words.render(state);
    status.textContent = "";
  }

  /** On a phone a block opens where it is; else beside or below the map. */
  function placeDetail() {
    const pressed = map.querySelector("[aria-pressed='true']");
    if (narrow.matches && pressed) pressed.after(detail);
    else both.append(detail);
  }
  narrow.addEventListener("change", placeDetail);

  app.events.addEventListener("drawn", () => {
    step.range.max = app.last.settings.steps;
    Object.assign(state, { picture: 0, found: null });
  });
  root.append(h("h2", { id: "inside-title" }, "Look inside"),
    h("p", { class: "lead" }, "Everything between the caption and the picture, at the step that you choose. Press a block to see what it made: these are the numbers of your picture, computed now."),
    status, controls, scrub, both, words.element);
  return {
    async shown(query) {
      try {
        if (!app.last) {
          status.textContent = "Drawing a picture to look into …";
          await app.drawExample();
        }
        const wanted = new URLSearchParams(query).get("step");
        const last = app.last.settings.steps - 1;
        await go({ step: wanted === null ? Math.min(state.step, last) : Math.min(Math.max(Number(wanted) || 0, 0), last) });
      } catch (error) {
        status.textContent = `It could not be computed: ${error.message}`;
      }
    },
  };
}

const percent = (share) => `${(100 * share).toFixed(share > 0.1 ? 0 : 1)} %`;

// ── The map ─────────────────────────────────────────────────────────────────────────────────────────

/** From the caption to the picture, with the U-Net opened: columns for the way down and the way up. */
function theMap(app, state, onChoose) {
  const { found, row } = state;
  const stage = (name, title, shape, picture) => h("button", {
    type: "button", class: "stage", "data-block": name, "aria-pressed": String(state.block === name), onclick: () => onChoose(name),
  }, picture && show(picture, "", "thumb"), h("strong", {}, title), h("span", {}, shape));
  const blocks = app.info.insides.filter(({ kind }) => kind !== "words");
  const skips = skipsOf(blocks);
  const block = ({ name, kind, shape }) => {
    const button = stage(name, title(name, kind), shape.join("×"), overview(found.insides[name], row));
    if (skips.has(name)) button.append(h("small", {}, `+ skip from ${titleOf(blocks, skips.get(name))}`));
    button.style.setProperty("--level", levelOf(blocks, shape));
    return button;
  };
  const of = (part) => blocks.filter(({ name }) => name === part || name.startsWith(`${part}.`));
  const { latent, image_size: [height, width], context_dim, tokenizer } = app.info;
  const column = (name, heading, children) => h("div", { class: name }, h("h3", {}, heading), h("div", { class: "blocks" }, children));
  const arrow = () => h("span", { class: "arrow", "aria-hidden": "true" }, "→");
  return [
    h("div", { class: "flow" },
      stage("caption", "caption", "text"), arrow(), stage("tokens", "tokens", `${tokenizer.length} numbers`), arrow(),
      stage("text_encoder", "context", `${tokenizer.length}×${context_dim}`)),
    h("div", { class: "flow" }, stage("z_t", "z_t", latent.join("×"), latentPicture(found.z)), h("span", { class: "arrow", "aria-hidden": "true" }, "+"),
      stage("t_emb", "timestep", `t = ${found.t}`)),
    h("div", { class: "unet", role: "group", "aria-label": "The U-Net" },
      column("down", "U-Net, down ↓", [...of("conv_in"), ...of("down")].map(block)),
      column("middle", "middle", of("middle").map(block)),
      column("up", "up ↑", of("up").map(block))),
    h("div", { class: "flow" }, stage("prediction", "prediction", latent.join("×"), overview(found.prediction, row)), arrow(),
      stage("z0", "ẑ0", latent.join("×"), latentPicture(found.z0)), arrow(),
      stage("decoder", "picture", `${app.info.image_channels}×${height}×${width}`, found.decoded)),
  ];
}

/** How far down in the U a block of this shape is: 0 at the size of the latent, 1 at half of it, … */
const levelOf = (blocks, [, , width]) => Math.round(Math.log2(blocks[0].shape[2] / width));

/** Whose result each ResBlock of the way up reads, too: on the way down they go on a stack. */
function skipsOf(blocks) {
  const [stack, skips] = [[], new Map()];
  for (const { name, kind } of blocks) {
    if (name.startsWith("middle")) continue;
    if (name.startsWith("up.")) {
      if (kind === "ResBlock") skips.set(name, stack.pop());
    } else if (kind === "SpatialTransformer") {
      stack[stack.length - 1] = name; // it comes after a ResBlock, and its result counts
    } else {
      stack.push(name);
    }
  }
  return skips;
}

const titleOf = (blocks, name) => title(name, blocks.find((block) => block.name === name).kind);

/** "down.0.resblocks.0" -> "ResBlock 0.0", the level and the place in it. */
function title(name, kind) {
  const numbers = name.match(/\d+/g) ?? [];
  const suffix = name.startsWith("middle") && kind === "ResBlock" ? name.at(-1) : numbers.join(".");
  return kind === "Conv2d" ? "conv_in" : `${kind} ${suffix}`.trim();
}

/** A feature map as one small picture: the mean size of its channels at each pixel. */
function overview(x, row) {
  const [, , h_, w] = x.dims;
  const channels = channelsOf(x, row);
  const mean = Array.from({ length: h_ * w }, (_, i) => channels.reduce((sum, one) => sum + Math.abs(one[i]), 0) / channels.length);
  return sharesPicture(mean, w, h_, Math.max(...mean));
}

// ── One block ───────────────────────────────────────────────────────────────────────────────────────

function theDetail(app, state) {
  const { block, found } = state;
  const inside = app.info.insides.find(({ name }) => name === block);
  const kind = inside?.kind ?? block;
  const piece = PIECES[kind] ?? kind;
  return [
    h("h3", { tabindex: -1 }, inside ? `${inside.kind} (${block})` : ({ z_t: "z_t, the noisy latent", z0: "ẑ0, the estimate" })[block] ?? block.replace("_", " ")),
    h("p", {}, DESCRIPTIONS[kind]),
    ...contentOf(app, state, inside),
    lessonLine(app, piece),
    codeOf(app.info, piece === "Conv2d" ? "unet" : piece),
  ];
  function contentOf(app, state, inside) {
    if (inside) {
      const blocks = app.info.insides.filter(({ kind }) => kind !== "words");
      const skip = skipsOf(blocks).get(block);
      return [skip && h("p", {}, `It also reads, through a skip connection, what ${titleOf(blocks, skip)} made on the way down.`), ...channelTable(found.insides[block], state.row)];
    }
    const { tokenizer, info } = app;
    const { caption } = app.last.settings;
    if (block === "caption") return [h("p", { class: "quote" }, caption || "(the empty caption)")];
    if (block === "tokens") return [h("ol", { class: "tokens" }, tokenizer.tokens(caption).map((token, i) => h("li", {}, `${tokenizer.labels(caption)[i]} `, h("small", {}, token))))];
    if (block === "text_encoder") return [contextFigure(found.context, state.row, tokenizer.labels(caption))];
    if (block === "t_emb") return [h("p", {}, `t = ${found.t} of ${info.alpha_bar.length}. √ᾱ = ${Math.sqrt(found.alphaBar).toFixed(3)}, √(1-ᾱ) = ${Math.sqrt(1 - found.alphaBar).toFixed(3)}.`)];
    if (block === "decoder") return [figure(found.decoded, "ẑ0, decoded", "ẑ0 of this step, decoded")];
    return channelTable({ z_t: found.z, z0: found.z0, prediction: found.prediction }[block], block === "prediction" ? state.row : 0);
  }
}

/** All channels of a feature map as small pictures with one scale, and their numbers. */
function channelTable(x, row) {
  const [, count, h_, w] = x.dims;
  const channels = channelsOf(x, row);
  const all = statistics(channels.flatMap((channel) => [...channel]));
  const largest = Math.max(Math.abs(all.low), Math.abs(all.high));
  return [
    h("p", {}, `Shape ${count}×${h_}×${w}: ${count} channels of ${h_}×${w}. Mean ${all.mean.toFixed(2)}, standard deviation ${all.std.toFixed(2)}, from ${all.low.toFixed(2)} (blue) to ${all.high.toFixed(2)} (orange).`),
    h("div", { class: "channels", role: "img", "aria-label": `${count} channels as pictures` },
      channels.map((channel) => show(signedPicture(channel, w, h_, largest), "", "channel"))),
  ];
}

/** The context as a picture: a row for each token, a column for each number. */
function contextFigure(context, row, labels) {
  const [, length, dim] = context.dims;
  const values = context.data.subarray(row * length * dim, (row + 1) * length * dim);
  const largest = statistics(values).std * 3;
  const read = labels.findIndex((label) => label === "end");
  return figure(signedPicture(values, dim, length, largest), `The context: ${length} rows of ${dim} numbers`,
    `${length} vectors of ${dim} numbers; the first ${read + 1} are start, words and end, all others padding, which the U-Net reads, too.`);
}

function codeOf(info, piece) {
  const code = info.code[piece];
  if (!code) return null;
  return h("details", { open: true }, h("summary", {}, `${code.file}, line ${code.line}`), h("pre", { tabindex: 0, "aria-label": `Lines of ${code.file}` }, code.text));
}
