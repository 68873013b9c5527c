// The drawing of a topology, its links in the colours of what they carry, and a table of them.
const INCH = 72;

views.topology = (section, host) => {
  const { width, height, boxes, lines, words } = section.drawing;
  const y = (v) => (height - v) * INCH;
  const root = make.svg("svg", { class: "drawing", viewBox: `0 0 ${width * INCH} ${height * INCH}`, width: width * INCH, height: height * INCH, role: "img", "aria-label": `Topology; ${section.classes.map((c) => `${c[0]} ${format.percent(c[5])}`).join(", ")}` });
  const roles = { "#D6E6F2": "device", "#F6E3D0": "adapter", "#EFEFEA": "switch", none: "empty" };
  const box = ([x, low, w, h, , fill, dashed]) => make.svg("rect", { class: `box ${roles[fill] || ""}${dashed ? " dashed" : ""}`, x: x * INCH, y: y(low + h), width: w * INCH, height: h * INCH, rx: 4 });
  const text = (x, low, said, size, bold, align, faint) => make.svg("text", { class: faint ? "faint" : null, x: x * INCH, y: y(low) + size * 0.35, "font-size": size, "font-weight": bold ? 700 : null, "text-anchor": { left: "start", center: "middle", right: "end" }[align] }, said);
  const path = (points, curved) => {
    const [first, ...rest] = points.map(([a, b]) => `${a * INCH},${y(b)}`);
    return `M${first}${curved ? `Q${rest.join(" ")}` : `L${rest.join("L")}`}`;
  };
  root.append(...boxes.filter((b) => b[7] < 2).map(box));
  root.append(...lines.map(([points, level, thick, curved]) => make.svg("path", { class: `link u${level}`, d: path(points, curved), "stroke-width": thick + 0.5 })));
  for (const b of boxes.filter((found) => found[7] >= 2)) {
    root.append(box(b));
    if (b[4]) {
      const label = text(b[0] + b[2] / 2, b[1] + b[3] / 2, b[4], 8.5, false, "center", false);
      label.classList.add("inside");
      root.append(label);
    }
  }
  root.append(...words.map(([x, low, said, size, bold, align, ink]) => text(x, low, said, size, bold, align, ink !== "#222222")));
  const steps = section.steps;
  const names = ["nothing", ...steps.map((s, at) => (at + 1 < steps.length ? `${at ? format.percent(s) : "up"} to ${format.percent(steps[at + 1])}` : `${format.percent(s)} and more`))];
  host.append(
    make.html("ul", { class: "legend" }, names.map((n, at) => make.html("li", null, make.html("span", { class: `key u${at}` }), n))),
    make.html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Drawing of the topology" }, root),
  );
  const columns = [["links", "text"], ["number", "", 1], ["bandwidth", "text", 1], ["bytes in all", "text", 1], ["mean", "%", 1], ["busiest", "%", 1], ["which", "text"]];
  drawTable(host, { title: "Use of links by class", columns: columns.map(([label, unit, number]) => ({ label, unit, number })), rows: section.classes });
};
