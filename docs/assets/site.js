// Two things that assistive technology needs and the theme leaves out: a name of the search dialog,
// and tables that can be scrolled by keyboard.
window.addEventListener("load", () => {
  document.querySelector(".md-search")?.setAttribute("aria-label", "Search");
  for (const table of document.querySelectorAll(".md-typeset__scrollwrap")) {
    table.tabIndex = 0;
  }
});
