// Who reads which word: the attention of the pixels to one token, laid over the picture.

import { choice, fill, h, paint, show } from "./dom.js";
import { sharesPicture, statistics } from "./pixels.js";

export function wordMaps(app) {
  const state = { block: null, head: "mean", token: null };
  const layers = app.info.insides.filter(({ kind }) => kind === "words");
  const [height, width] = app.info.image_size;
  const picture = show({ width, height, rgba: new Uint8ClampedArray(4 * width * height) }, "The picture with the map of a word over it");
  const controls = h("div", { class: "row" });
  const tokens = h("div", { role: "group", "aria-label": "Tokens", class: "words maps" });
  const caption = h("p", { role: "status" });
  let current = null; // what the screen shows: see insideScreen

  const nameOf = (name) => name.replace(".blocks.0.cross_attention", "").replace(".transformers", " ").replace(".transformer", "").replace(".", " ").replace(/ \./g, ".");
  const layer = () => layers.find(({ name }) => name === state.block);

  /** The map of one token: N numbers that say how much each pixel reads it. */
  function mapOf(token) {
    const [heads, pixels, length] = layer().shape;
    const { data } = current.found.insides[state.block];
    const start = current.row * heads * pixels * length;
    const chosen = state.head === "mean" ? Array.from({ length: heads }, (_, i) => i) : [Number(state.head)];
    return Float32Array.from({ length: pixels }, (_, pixel) =>
      chosen.reduce((sum, head) => sum + data[start + (head * pixels + pixel) * length + token], 0) / chosen.length);
  }

  /** How high and wide a layer's feature map is: (h, w) of its transformer. */
  function sidesOf(block = state.block) {
    const transformer = block.replace(/\.blocks\.\d+\.cross_attention$/, "");
    return app.info.insides.find(({ name }) => name === transformer).shape.slice(1);
  }

  function select(token) {
    state.token = token;
    for (const button of tokens.children) button.setAttribute("aria-pressed", String(Number(button.dataset.token) === token));
    overlay();
  }

  function overlay() {
    const { caption: text, negative } = app.last.settings;
    const label = app.tokenizer.labels(current.row === 0 ? text : negative)[state.token];
    const values = mapOf(state.token);
    const { low, high, mean } = statistics(values);
    const [h_, w] = sidesOf();
    paint(picture, current.found.decoded);
    const over = h("canvas", {});
    paint(over, sharesPicture(values, w, h_, high, 150));
    const context = picture.getContext("2d");
    context.imageSmoothingEnabled = false;
    context.drawImage(over, 0, 0, width, height);
    caption.textContent = `Of its attention, a pixel gives “${label}” between ${share(low)} and ${share(high)}, ${share(mean)} on average. ` +
      (high - low < 0.05 ? "The map is nearly flat: at this step, in this block, no place reads this word more than others." : "Yellow pixels read it most.");
  }

  const share = (value) => `${(100 * value).toFixed(1)} %`;

  const element = h("section", { class: "panel word-maps", "aria-labelledby": "word-maps-title", hidden: true },
    h("h3", { id: "word-maps-title" }, "Who reads which word"),
    h("p", {}, "In cross-attention every pixel of a feature map spreads 100 % of its attention over the tokens. Choose a token to see which pixels read it."),
    h("p", { class: "hint" }, "Do not expect a colour word to light up its shape. Early steps settle where things go; at late steps, and at a few pixels a side, “red” shows almost nothing. Much attention goes to the start token and the padding: there a pixel parks what it does not need."),
    controls, h("div", { class: "two-columns" }, h("div", {}, picture, caption), tokens));

  return {
    element,
    render(shown) {
      current = shown;
      if (!layers.length) return;
      element.hidden = false;
      const largest = layers.reduce((best, one) => (one.shape[1] >= best.shape[1] ? one : best));
      state.block ??= largest.name;
      const again = (change) => { Object.assign(state, change); this.render(current); };
      fill(controls, [
        choice("Block", layers.map(({ name, shape }) => [name, `${nameOf(name)} (${sidesOf(name).join("×")})`]), state.block, (block) => again({ block, head: "mean" })),
        choice("Head", [["mean", "mean of all"], ...Array.from({ length: layer().shape[0] }, (_, i) => [String(i), String(i + 1)])], state.head, (head) => again({ head })),
      ]);
      const { caption: text, negative } = app.last.settings;
      const labels = app.tokenizer.labels(shown.row === 0 ? text : negative);
      const end = labels.indexOf("end");
      const [h_, w] = sidesOf();
      const listed = labels.slice(0, end + 2).map((label, i) => [i, i === end + 1 ? "padding" : label]);
      // At first a word for a thing: unlike colours, it often shows where the thing goes.
      const thing = labels.findIndex((label) => app.info.things?.includes(label));
      state.token = state.token !== null && state.token < listed.length ? state.token : thing > 0 ? thing : Math.max(end - 1, 0);
      fill(tokens, listed.map(([i, label]) => {
        const values = mapOf(i);
        return h("button", { type: "button", class: "stage", "data-token": i, onclick: () => select(i), onmouseenter: () => select(i) },
          show(sharesPicture(values, w, h_, statistics(values).high), "", "thumb"), h("span", {}, label));
      }));
      select(state.token);
    },
  };
}
