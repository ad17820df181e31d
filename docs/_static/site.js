// What scrolls by itself can be scrolled with the keyboard.
function letKeysScroll() {
  for (const table of document.querySelectorAll(".bd-content table")) {
    if (table.scrollWidth > table.clientWidth) table.tabIndex = 0;
    else table.removeAttribute("tabindex");
  }
}
letKeysScroll();
addEventListener("resize", letKeysScroll);

// On paper nothing can be unfolded: open every answer before printing.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.live)")) details.open = true;
});
