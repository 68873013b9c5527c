// The page: numbers, facts, and the sections one after another.
const page = JSON.parse(document.getElementById("data").textContent);

const numbers = () =>
  make.html("dl", { class: "numbers" }, page.numbers.map((n) => make.html("div", { class: n.tone || null }, make.html("dt", null, n.label), make.html("dd", { class: "value" }, n.value), n.note ? make.html("dd", { class: "note" }, n.note) : null)));

const facts = () => make.html("dl", { class: "facts" }, page.facts.flatMap(([k, v]) => [make.html("dt", null, k), make.html("dd", null, v)]));

const drawSection = (section) => {
  const heading = make.html("h2", { id: `${section.id}-title` }, section.title);
  const host = make.html("div", { class: "view" });
  const whole = make.html("section", { id: section.id, class: `section ${section.view}`, "aria-labelledby": heading.id }, heading, section.about ? make.html("p", { class: "about" }, section.about) : null, host);
  return [whole, () => views[section.view](section, host)];
};

const start = () => {
  const sections = page.sections.map(drawSection);
  const nav = make.html("nav", { "aria-label": "Sections" }, make.html("ul", null, page.sections.map((s) => make.html("li", null, make.html("a", { href: `#${s.id}` }, s.title)))));
  const warnings = page.warnings.length ? make.html("ul", { class: "warnings", "aria-label": "Warnings" }, page.warnings.map((w) => make.html("li", null, w))) : null;
  document.getElementById("app").append(
    make.html("header", null, make.html("div", null, make.html("p", { class: "kind" }, `distsim ${page.kind}`), make.html("h1", null, page.title)), theme.switcher()),
    make.html("main", null, warnings, numbers(), page.facts.length ? facts() : null, nav, sections.map(([whole]) => whole)),
    make.html("footer", null, `distsim ${page.version}. This file loads nothing and sends nothing.`),
  );
  sections.forEach(([, draw]) => draw());
  document.documentElement.dataset.ready = "yes";
};

start();
