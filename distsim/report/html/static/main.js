// The page of a report: its data stands beside the scripts.
const page = JSON.parse(document.getElementById("data").textContent);

const start = () => {
  const sections = page.sections.map(drawSection);
  const nav = make.html("nav", { "aria-label": "Sections" }, make.html("ul", null, page.sections.map((s) => make.html("li", null, make.html("a", { href: `#${s.id}` }, s.title)))));
  const warnings = page.warnings.length ? make.html("ul", { class: "warnings", "aria-label": "Warnings" }, page.warnings.map((w) => make.html("li", null, w))) : null;
  document.getElementById("app").append(
    make.html("header", null, make.html("div", null, make.html("p", { class: "kind" }, `distsim ${page.kind}`), make.html("h1", null, page.title)), theme.switcher()),
    make.html("main", null, warnings, numbersOf(page.numbers), page.facts.length ? factsOf(page.facts) : null, nav, sections.map(([whole]) => whole)),
    make.html("footer", null, `distsim ${page.version}. This file loads nothing and sends nothing.`),
  );
  sections.forEach(([, draw]) => draw());
  document.documentElement.dataset.ready = "yes";
};

start();
