// The parts of a page: numbers, facts, and sections that views draw.
const numbersOf = (numbers) =>
  make.html("dl", { class: "numbers" }, numbers.map((n) => make.html("div", { class: n.tone || null }, make.html("dt", null, n.label), make.html("dd", { class: "value" }, n.value), n.note ? make.html("dd", { class: "note" }, n.note) : null)));

const factsOf = (facts) => make.html("dl", { class: "facts" }, facts.flatMap(([k, v]) => [make.html("dt", null, k), make.html("dd", null, v)]));

// Returns the section, and what draws its view once it has a place.
const drawSection = (section) => {
  const heading = make.html("h2", { id: `${section.id}-title` }, section.title);
  const host = make.html("div", { class: "view" });
  const whole = make.html("section", { id: section.id, class: `section ${section.view}`, "aria-labelledby": heading.id }, heading, section.about ? make.html("p", { class: "about" }, section.about) : null, host);
  return [whole, () => views[section.view](section, host)];
};
