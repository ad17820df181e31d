// The words of the model's world, to click into a caption.

import { field, fill, h } from "./dom.js";

const MANY = 30; // more words of a kind are looked for by their letters

export function wordsAtHand({ words, told, examples }, caption) {
  if (!words) return null;
  const replace = (text) => { caption.value = text; caption.dispatchEvent(new Event("input")); };
  const button = (text, onclick) => h("button", { type: "button", class: "word", onclick }, text);
  const groups = Object.entries(words).map(([kind, all]) => {
    const buttons = (some) => some.map((word) => button(word, () => insert(caption, word)));
    const group = h("div", { role: "group", "aria-label": kind, class: "words" }, buttons(spread(all)));
    if (all.length <= MANY) return group;
    const letters = h("input", { type: "search", autocomplete: "off", oninput: () => {
      const wanted = letters.value.trim().toLowerCase();
      fill(group, buttons(wanted ? all.filter((word) => word.includes(wanted)).slice(0, MANY) : spread(all)));
    } });
    return h("div", {}, field(`Find one of ${all.length} ${kind}`, letters), group);
  });
  return h("details", { class: "panel", open: true }, h("summary", {}, "Words that this model knows"),
    h("p", { class: "hint" }, told), groups,
    h("p", { class: "hint" }, "Or a whole caption:"),
    h("div", { role: "group", "aria-label": "Examples", class: "words" }, examples.map((example) => button(example, () => replace(example)))));
}

/** All words, or some from everywhere in a long list. */
const spread = (all) => (all.length <= MANY ? all : Array.from({ length: MANY }, (_, i) => all[Math.floor((i * all.length) / MANY)]));

/** Put a word where the cursor is. */
function insert(caption, word) {
  const at = caption.selectionStart ?? caption.value.length;
  const [before, after] = [caption.value.slice(0, at).trimEnd(), caption.value.slice(caption.selectionEnd ?? at).trimStart()];
  caption.value = [before, word, after].filter(Boolean).join(" ");
  const end = [before, word].filter(Boolean).join(" ").length;
  caption.setSelectionRange(end, end);
  caption.dispatchEvent(new Event("input"));
}
