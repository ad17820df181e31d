// What scrolls by itself can be scrolled with the keyboard.
function letKeysScroll() {
  for (const part of document.querySelectorAll(".bd-content :is(table, div.math, mjx-container)")) {
    if (part.scrollWidth > part.clientWidth) part.tabIndex = 0;
    else part.removeAttribute("tabindex");
  }
}
letKeysScroll();
addEventListener("resize", letKeysScroll);
addEventListener("load", () => window.MathJax?.startup?.promise?.then(letKeysScroll)); // formulas have their size then

// On paper nothing can be unfolded: open every answer before printing.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.live)")) details.open = true;
});
