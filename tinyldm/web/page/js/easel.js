// A small picture to draw on, with the mouse, a finger or the keyboard; and a mask to paint over it.

import { field, h, oneOf } from "./dom.js";

const COLOURS = [
  ["#de2830", "red"], ["#fa841a", "orange"], ["#fcd424", "yellow"], ["#229446", "green"], ["#18beca", "cyan"],
  ["#2654dc", "blue"], ["#7e32b0", "purple"], ["#f670b6", "pink"], ["#ffffff", "white"], ["#1a1c24", "black"],
];
const MARK = "rgb(255, 0, 200)"; // of the mask, on the screen

export class Easel {
  /** masks: whether the brush marks what to repaint, instead of painting. label: what a screen reader says. */
  constructor([height, width], { masks = false, label }) {
    Object.assign(this, { height, width, masks, colour: COLOURS[0][0], radius: Math.max(2, Math.round(width / 12)) });
    this.paper = h("canvas", { width, height }); // the picture
    this.mask = h("canvas", { width, height }); // opaque where to repaint
    this.screen = h("canvas", { width, height, class: "picture easel", tabindex: 0, role: "application", "aria-label": `${label}. Arrow keys move the brush, with Shift in longer steps; space paints.` });
    this.cursor = null; // of the keyboard
    this.wipe();
    this.listen();
    this.element = h("div", { class: "easel-box" }, this.screen, this.tools());
  }

  tools() {
    const size = h("input", { type: "range", min: 1, max: Math.round(this.width / 4), value: this.radius, oninput: () => { this.radius = Number(size.value); } });
    const palette = this.masks ? null : oneOf("Colour", COLOURS.map(([value, name]) => [value, name]), this.colour, (value) => { this.colour = value; });
    for (const button of palette?.children ?? []) button.style.setProperty("--swatch", button.dataset.value);
    palette?.classList.add("palette");
    const file = h("input", { type: "file", accept: "image/*", onchange: () => this.loadFile(file.files[0]) });
    return h("div", { class: "tools" }, palette, field("Brush", size),
      h("button", { type: "button", onclick: () => (this.masks ? this.unmask() : this.wipe()) }, this.masks ? "Clear the mask" : "Clear"),
      field("Or a picture of your own (drop it here, too)", file));
  }

  listen() {
    const at = (event) => {
      const box = this.screen.getBoundingClientRect();
      return [((event.clientX - box.left) / box.width) * this.width, ((event.clientY - box.top) / box.height) * this.height];
    };
    this.screen.addEventListener("pointerdown", (event) => {
      this.screen.setPointerCapture(event.pointerId);
      this.stroke(this.last = at(event), this.last);
    });
    this.screen.addEventListener("pointermove", (event) => {
      if (event.buttons) this.stroke(this.last, this.last = at(event));
    });
    this.screen.addEventListener("keydown", (event) => this.key(event));
    this.screen.addEventListener("blur", () => { this.cursor = null; this.refresh(); });
    this.screen.addEventListener("dragover", (event) => event.preventDefault());
    this.screen.addEventListener("drop", (event) => { event.preventDefault(); this.loadFile(event.dataTransfer.files[0]); });
  }

  /** A first drawing, so that there is one: a yellow disc on black. */
  sketch() {
    const context = this.paper.getContext("2d");
    context.fillStyle = "#1a1c24";
    context.fillRect(0, 0, this.width, this.height);
    context.fillStyle = "#fcd424";
    context.beginPath();
    context.arc(0.5 * this.width, 0.55 * this.height, 0.3 * Math.min(this.width, this.height), 0, 2 * Math.PI);
    context.fill();
    this.refresh();
  }

  key(event) {
    const far = event.shiftKey ? 4 : 1;
    const step = { ArrowLeft: [-2, 0], ArrowRight: [2, 0], ArrowUp: [0, -2], ArrowDown: [0, 2], " ": [0, 0] }[event.key];
    if (!step) return;
    event.preventDefault();
    const [x, y] = this.cursor ?? [this.width / 2, this.height / 2];
    this.cursor = [Math.min(Math.max(x + far * step[0], 0), this.width), Math.min(Math.max(y + far * step[1], 0), this.height)];
    if (event.key === " ") this.stroke(this.cursor, this.cursor);
    else this.refresh();
  }

  stroke([x0, y0], [x1, y1]) {
    const context = (this.masks ? this.mask : this.paper).getContext("2d");
    Object.assign(context, { strokeStyle: this.masks ? MARK : this.colour, lineWidth: 2 * this.radius, lineCap: "round" });
    context.beginPath();
    context.moveTo(x0, y0);
    context.lineTo(x1 + 0.01, y1);
    context.stroke();
    this.refresh();
  }

  wipe() {
    const context = this.paper.getContext("2d");
    context.fillStyle = "white";
    context.fillRect(0, 0, this.width, this.height);
    this.unmask();
  }

  unmask() {
    this.mask.getContext("2d").clearRect(0, 0, this.width, this.height);
    this.refresh();
  }

  refresh() {
    const context = this.screen.getContext("2d");
    context.drawImage(this.paper, 0, 0);
    context.globalAlpha = 0.6;
    context.drawImage(this.mask, 0, 0);
    context.globalAlpha = 1;
    if (!this.cursor) return;
    context.strokeStyle = "black";
    context.lineWidth = 1;
    context.beginPath();
    context.arc(...this.cursor, this.radius, 0, 2 * Math.PI);
    context.stroke();
  }

  /** Show a picture: its middle, in the size of the model's. */
  async loadFile(file) {
    if (!file?.type.startsWith("image/")) return;
    const bitmap = await createImageBitmap(file);
    const side = Math.min(bitmap.width / this.width, bitmap.height / this.height);
    const [w, h_] = [side * this.width, side * this.height];
    const context = this.paper.getContext("2d");
    context.imageSmoothingQuality = "high";
    context.drawImage(bitmap, (bitmap.width - w) / 2, (bitmap.height - h_) / 2, w, h_, 0, 0, this.width, this.height);
    this.refresh();
  }

  load(picture) {
    this.paper.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(picture.rgba), picture.width, picture.height), 0, 0);
    this.refresh();
  }

  picture() {
    return this.pixels(this.paper, (rgba) => rgba);
  }

  /** Red is 255 where to repaint. */
  maskPicture() {
    return this.pixels(this.mask, (rgba) => rgba.map((_, i) => (rgba[4 * Math.floor(i / 4) + 3] > 127 ? 255 : 0)));
  }

  pixels(canvas, change) {
    const { data } = canvas.getContext("2d").getImageData(0, 0, this.width, this.height);
    return { width: this.width, height: this.height, rgba: change(data) };
  }
}
