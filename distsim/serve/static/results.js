// The views of a result: drawn as they arrive, each in the place of the one before.
import { drawSection, factsOf, forget, make, numbersOf } from "/static/report.js";

// A preview is worth showing only where the rest takes a while.
const PATIENCE_MS = 350;
const SHORT = { "step time": "step", "memory peak": "memory", "step time of A": "A", "step time of B": "B", "B against A": "" };

export const makeResults = (about) => {
  const title = make.html("h1", null, "\u00a0");
  const numbers = make.html("div", { class: "numbers-host" });
  const warnings = make.html("div", { class: "warnings-host" });
  const facts = make.html("details", { class: "facts-host", hidden: true }, make.html("summary", null, about));
  const nav = make.html("nav", { "aria-label": "Sections", hidden: true });
  const sections = make.html("div", { class: "sections" });
  const mini = make.html("p", { class: "mini", "aria-hidden": "true", hidden: true });
  const shown = new Map();
  let fresh = new Set();
  let begun = 0;
  let timer = 0;

  const place = (at, section) => {
    const [node, draw] = drawSection(section);
    node.dataset.at = String(at);
    const old = shown.get(section.id);
    if (old) {
      forget(old);
      old.replaceWith(node);
    } else {
      const next = [...sections.children].find((other) => Number(other.dataset.at) > at);
      sections.insertBefore(node, next || null);
    }
    shown.set(section.id, node);
    fresh.add(section.id);
    draw();
  };
  const ordered = () => {
    const nodes = [...sections.children];
    const sorted = [...nodes].sort((a, b) => a.dataset.at - b.dataset.at);
    if (sorted.some((node, at) => node !== nodes[at])) sections.append(...sorted);
  };
  const listed = () => {
    const items = [...sections.children].map((node) => make.html("li", null, make.html("a", { href: `#${node.id}`, onclick: (e) => { e.preventDefault(); node.scrollIntoView(); node.querySelector("h2").focus(); } }, node.querySelector("h2").textContent)));
    for (const node of sections.children) node.querySelector("h2").tabIndex = -1;
    nav.replaceChildren(make.html("ul", null, items));
    nav.hidden = items.length < 2;
  };
  const short = (list) => {
    mini.hidden = false;
    mini.replaceChildren(...list.slice(0, 3).map(([name, value]) => make.html("span", null, name ? `${name} ` : "", make.html("strong", null, value))));
  };

  // Begins a result; what is there stays until it is replaced.
  const begin = () => {
    fresh = new Set();
    begun = performance.now();
    clearTimeout(timer);
  };
  const preview = (found) => {
    const show = () => {
      const note = "longest path; transfers that share links follow";
      numbers.replaceChildren(numbersOf(found.numbers.map(([label, value], n) => ({ label, value, note: n ? "" : note, tone: "" }))));
      short(found.numbers.map(([name, value]) => [SHORT[name] || name, value]));
    };
    timer = setTimeout(show, PATIENCE_MS);
  };
  const page = (found) => {
    clearTimeout(timer);
    title.textContent = found.title;
    numbers.replaceChildren(numbersOf(found.numbers));
    const short3 = ["step time", "MFU", "memory peak"].map((name) => found.numbers.find((n) => n.label === name)).filter(Boolean);
    short((short3.length === 3 ? short3 : found.numbers).map((n) => [SHORT[n.label] ?? n.label, n.value]));
    warnings.replaceChildren();
    if (found.warnings.length) warnings.append(make.html("ul", { class: "warnings", "aria-label": "Warnings" }, found.warnings.map((w) => make.html("li", null, w))));
    facts.hidden = !found.facts.length;
    facts.replaceChildren(facts.firstChild, factsOf(found.facts));
    found.sections.forEach((section, at) => place(at, section));
  };
  // Ends a result: sections that it has not are taken away. Returns its seconds.
  const end = () => {
    clearTimeout(timer);
    for (const [id, node] of shown) {
      if (fresh.has(id)) continue;
      forget(node);
      node.remove();
      shown.delete(id);
    }
    ordered();
    listed();
    return (performance.now() - begun) / 1000;
  };
  const stop = () => clearTimeout(timer);
  return { title, numbers, warnings, facts, nav, sections, mini, begin, preview, page, section: place, end, stop };
};
