// Memory of a stage through the step, one category on another, against the capacity.
views.memory = (section, host) => {
  const select = make.html("select", null, section.stages.map((s, at) => make.html("option", { value: at }, `stage ${s.stage} (peak ${format.bytes(s.peak_bytes)})`)));
  const fullest = section.stages.reduce((best, s, at) => (s.peak_bytes > section.stages[best].peak_bytes ? at : best), 0);
  select.value = String(fullest);
  const says = make.html("p", { class: "says", "aria-live": "polite" }, "\u00a0");
  const legend = make.html("div");
  const place = make.html("div", { class: "chart", tabindex: "0", role: "application", "aria-label": "Memory over time. Arrow keys go from instant to instant." });
  host.append(make.html("div", { class: "controls" }, make.html("label", null, "Stage ", select)), legend, place, says);
  let view;
  let cursor;
  let at = -1;
  const stage = () => section.stages[Number(select.value)];
  const value = (part, n) => (typeof part === "number" ? part : part[n]);
  const show = (n) => {
    const s = stage();
    at = Math.min(Math.max(n, 0), s.times_s.length - 1);
    const held = Object.entries(s.parts).map(([name, part]) => [name, value(part, at)]).filter(([, v]) => v > 0);
    const total = held.reduce((sum, [, v]) => sum + v, 0);
    says.textContent = `At ${format.seconds(s.times_s[at])}: ${format.bytes(total)} (${held.map(([name, v]) => `${name} ${format.bytes(v, 3)}`).join(", ")})`;
    const x = view.sx.at(s.times_s[at]);
    cursor.setAttribute("x1", x);
    cursor.setAttribute("x2", x);
    cursor.removeAttribute("visibility");
  };
  const draw = (width) => {
    const s = stage();
    const height = Math.round(Math.min(360, Math.max(240, width * 0.4)));
    const y = { label: "memory of a rank", unit: "B", zero: true };
    const x = { label: "time in the step", unit: "s", zero: true, tight: true };
    view = frame(width, height, x, y, [0, section.end_s], [0, section.capacity_bytes, s.peak_bytes]);
    const { root, sx, sy } = view;
    let below = s.times_s.map(() => 0);
    const names = Object.keys(s.parts);
    names.forEach((name) => {
      const above = below.map((v, n) => v + value(s.parts[name], n));
      root.append(make.svg("path", { class: `area m-${name}`, d: area(s.times_s, below, above, sx, sy) }));
      below = above;
    });
    const c = sy.at(section.capacity_bytes);
    root.append(make.svg("line", { class: "capacity", x1: view.left, x2: view.right, y1: c, y2: c }));
    root.append(make.svg("text", { class: "tick strong", x: view.right - 4, y: c - 6, "text-anchor": "end" }, `capacity ${format.bytes(section.capacity_bytes)}`));
    cursor = make.svg("line", { class: "rule", y1: view.top, y2: view.bottom, visibility: "hidden" });
    root.append(cursor);
    place.replaceChildren(root);
    legend.replaceChildren(make.html("ul", { class: "legend" }, names.map((n) => make.html("li", null, make.html("span", { class: `key m-${n}` }), n))));
  };
  const nearest = (event) => {
    const s = stage();
    const px = event.clientX - place.getBoundingClientRect().left;
    let best = 0;
    s.times_s.forEach((t, n) => {
      if (Math.abs(view.sx.at(t) - px) < Math.abs(view.sx.at(s.times_s[best]) - px)) best = n;
    });
    return best;
  };
  place.addEventListener("pointermove", (event) => show(nearest(event)));
  place.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowLeft: -1, PageDown: 20, PageUp: -20 }[event.key];
    if (!by) return;
    event.preventDefault();
    show(at + by);
  });
  const peak = () => {
    const s = stage();
    says.textContent = `Stage ${s.stage} peaks at ${format.bytes(s.peak_bytes)} after ${format.seconds(s.peak_s)}${s.holds ? ` with ${s.holds}` : ""}; ${format.bytes(s.reserve_bytes)} of reserve.`;
  };
  select.addEventListener("change", () => {
    draw(place.clientWidth);
    peak();
  });
  onLayout(place, draw);
  peak();
};

// A stretch between two levels that change in steps.
const area = (times, below, above, sx, sy) => {
  const n = times.length;
  const up = [];
  const back = [];
  for (let i = 0; i < n; i += 1) {
    const right = sx.at(times[Math.min(i + 1, n - 1)]).toFixed(1);
    const left = sx.at(times[i]).toFixed(1);
    const [a, b] = [sy.at(above[i]).toFixed(1), sy.at(below[i]).toFixed(1)];
    up.push(`${left},${a}L${right},${a}`);
    back.push(`${right},${b}L${left},${b}`);
  }
  return `M${up.join("L")}L${back.reverse().join("L")}z`;
};
