// Bars one below the other: a waterfall where each begins at the end of the one above.
views.bars = (section, host) => {
  const write = format.writer(section.unit);
  const ends = section.rows.flatMap((r) => [r[1], r[2]]);
  const [low, high] = [Math.min(0, ...ends), Math.max(...ends)];
  const place = (v) => `${(100 * (v - low)) / (high - low || 1)}%`;
  const rows = section.rows.map(([name, begin, end, kind, share]) => {
    const bar = make.html("span", {
      class: `fill k-${kind}`,
      style: { left: place(Math.min(begin, end)), width: `max(1px, ${(100 * Math.abs(end - begin)) / (high - low || 1)}%)` },
    });
    return make.html(
      "tr",
      { class: kind === "total" || kind === "ideal" ? "strong" : null },
      make.html("th", { scope: "row" }, name),
      make.html("td", { class: "track" }, make.html("span", { class: "lane" }, bar)),
      make.html("td", { class: "number" }, write(end - begin)),
      make.html("td", { class: "number share" }, share === null ? "" : `${(100 * share).toFixed(1)} %`),
    );
  });
  const head = ["part", "", section.unit === "s" ? "time" : "", "share"].map((t) => make.html(t ? "th" : "td", t ? { scope: "col" } : null, t));
  host.append(make.html("table", { class: "bars" }, make.html("caption", { class: "hidden" }, section.title), make.html("thead", { class: "hidden" }, make.html("tr", null, head)), make.html("tbody", null, rows)));
};
