// On paper nothing can be unfolded: open every answer before printing.
addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll("details:not(.live)")) details.open = true;
});
