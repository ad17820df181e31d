const content = (selector) => document.querySelectorAll(`.bd-content ${selector}`);
const SMALLEST = 9.5; // pixels: a letter of a drawing that is made to fit

// Outputs and drawings of lines must not wrap. A drawing that is too wide gets smaller letters first.
for (const pre of content("pre")) {
  const drawn = pre.closest(".cell_output") || /[─│┌┐└┘├┤┬┴┼►▼]/.test(pre.textContent);
  if (drawn) pre.classList.add("as-drawn");
  if (pre.textContent.split("\n").length < 30) pre.classList.add("short"); // stays on one page of paper
}
function fitDrawings() {
  for (const pre of content("pre.as-drawn")) {
    pre.style.fontSize = "";
    if (pre.scrollWidth <= pre.clientWidth) continue;
    const size = parseFloat(getComputedStyle(pre).fontSize);
    const pad = parseFloat(getComputedStyle(pre).paddingLeft);
    const fits = size * (pre.clientWidth - 2 * pad) / (pre.scrollWidth - 2 * pad);
    pre.style.fontSize = `${Math.max(SMALLEST, Math.floor(fits * 10) / 10)}px`;
  }
}

// A table with many columns becomes a list of cards on a phone: its cells need the names of their columns.
for (const table of content("table")) {
  const names = [...table.querySelectorAll("thead th")].map((cell) => cell.textContent.trim());
  const words = (row) => row.textContent.trim().length;
  if (names.length < 3 || !names[0] || ![...table.querySelectorAll("tbody tr")].some((row) => words(row) > 90)) continue;
  table.classList.add("stacked");
  table.setAttribute("role", "table"); // "display: block" would take it away
  for (const [part, role] of [["thead, tbody", "rowgroup"], ["tr", "row"], ["th", "columnheader"], ["td", "cell"]]) {
    for (const element of table.querySelectorAll(part)) element.setAttribute("role", role);
  }
  for (const row of table.querySelectorAll("tbody tr")) {
    [...row.children].forEach((cell, index) => { cell.dataset.label = names[index] ?? ""; });
  }
}

// What scrolls by itself can be scrolled with the keyboard.
function letKeysScroll() {
  for (const part of content(":is(pre, table, div.math, mjx-container)")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}
function fit() {
  fitDrawings();
  letKeysScroll();
}
fit();
let width = innerWidth;
new ResizeObserver(([{ contentRect }]) => { // the window changes, or a sidebar opens
  if (contentRect.width !== width) fit();
  width = contentRect.width;
}).observe(document.querySelector(".bd-article") ?? document.body);
addEventListener("load", () => window.MathJax?.startup?.promise?.then(letKeysScroll)); // formulas have their size then

// On paper nothing can be unfolded, nothing loads late, and the ground is white.
let theme;
addEventListener("beforeprint", () => {
  theme = document.documentElement.dataset.theme;
  document.documentElement.dataset.theme = "light";
  for (const details of document.querySelectorAll("details:not(.live)")) details.open = true;
  for (const image of document.querySelectorAll("img[loading=lazy]")) image.loading = "eager";
});
addEventListener("afterprint", () => { document.documentElement.dataset.theme = theme; });
