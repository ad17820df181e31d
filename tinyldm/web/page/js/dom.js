// Making the page's elements.

/** An element: h("button", {onclick: f, "aria-pressed": "true"}, "text", child). Functions become listeners. */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key.replace(/^on/, ""), value);
    else if (value === true) element.setAttribute(key, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** The same, made once and then filled anew. */
export const fill = (element, ...children) => element.replaceChildren(...children.flat().filter(Boolean));

/** A canvas that shows a picture, enlarged without smoothing; alt says what is on it ("" for decoration). */
export function show(picture, alt, className = "picture") {
  const canvas = h("canvas", { width: picture.width, height: picture.height, class: className });
  if (alt) canvas.setAttribute("role", "img");
  canvas.setAttribute(alt ? "aria-label" : "aria-hidden", alt || "true");
  paint(canvas, picture);
  return canvas;
}

/** Paint a picture on a canvas, which takes its size. */
export function paint(canvas, { width, height, rgba }) {
  Object.assign(canvas, { width, height });
  canvas.getContext("2d").putImageData(new ImageData(new Uint8ClampedArray(rgba), width, height), 0, 0);
}

/** Text for screen readers alone. */
export const heard = (text) => h("span", { class: "heard" }, text);

/** A figure: a canvas with a line below it. */
export const figure = (picture, alt, caption) => h("figure", {}, show(picture, alt), h("figcaption", {}, caption));

/** A labelled control. */
export function field(label, control, hint) {
  control.id ||= `field-${++field.count}`;
  const described = hint && h("span", { class: "hint", id: `${control.id}-hint` }, hint);
  if (described) control.setAttribute("aria-describedby", described.id);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, described);
}
field.count = 0;

/** A dial with its number beside it. onChange gets the number. */
export function dial(label, { min, max, step, value, onChange, format = String }) {
  const output = h("output", {}, format(value));
  const range = h("input", {
    type: "range", min, max, step, value,
    oninput: () => {
      output.textContent = format(Number(range.value));
      range.setAttribute("aria-valuetext", output.textContent);
      onChange?.(Number(range.value));
    },
  });
  range.setAttribute("aria-valuetext", output.textContent);
  const element = field(label, range);
  element.classList.add("dial");
  element.append(output);
  element.range = range;
  element.set = (number) => {
    range.value = number;
    output.textContent = format(Number(range.value));
    range.setAttribute("aria-valuetext", output.textContent);
  };
  return element;
}

/** A drop-down list. options: [value, text] pairs. */
export function choice(label, options, value, onChange) {
  const select = h("select", { onchange: () => onChange?.(select.value) },
    options.map(([key, text]) => h("option", { value: key, selected: key === value }, text)));
  const element = field(label, select);
  element.select = select;
  return element;
}

/** Buttons of which one is pressed. options: [value, text] pairs; onChange gets the value. */
export function oneOf(label, options, value, onChange) {
  const group = h("div", { role: "group", "aria-label": label, class: "one-of" });
  const press = (chosen) => {
    for (const button of group.children) button.setAttribute("aria-pressed", String(button.dataset.value === String(chosen)));
  };
  group.append(...options.map(([key, text]) =>
    h("button", { type: "button", "data-value": key, onclick: () => { press(key); onChange(key); } }, text)));
  press(value);
  group.press = press;
  return group;
}

/** Let the browser save something under a name. */
export function download(url, name) {
  h("a", { href: url, download: name }).click();
}
