// Plans of a search: a chart and a list in which one is chosen, and all about the one that is.
views.choices = (section, host) => {
  const detail = make.html("div", { class: "choice", "aria-live": "polite" });
  const flat = section.series.flatMap((s) => s.plans);
  const show = (at) => {
    const plan = section.plans[at];
    const facts = plan.facts.flatMap(([k, v]) => [make.html("dt", null, k), make.html("dd", null, v)]);
    const code = make.html("div");
    detail.replaceChildren(make.html("h3", null, plan.title), make.html("dl", null, facts), code);
    drawCode(code, plan.yaml, plan.file);
    select.value = String(at);
  };
  const options = [...new Set(flat)].map((at) => make.html("option", { value: at }, `${section.plans[at].title}: ${section.plans[at].facts[0][1]}`));
  const select = make.html("select", { onchange: () => show(Number(select.value)) }, options);
  drawChart(host, section, (s, n) => show(section.series[s].plans[n]));
  host.append(make.html("div", { class: "controls picker" }, make.html("label", null, "Plan ", select)), detail);
  show(section.first);
};
