// Charts of points, lines and bars in SVG: axes, and details of the point that is nearest.
const nice = (low, high, most) => {
  const raw = (high - low) / Math.max(most, 1) || 1;
  const base = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 2.5, 5, 10].map((f) => f * base).find((s) => s >= raw * 0.999);
  const ticks = [];
  for (let i = Math.ceil(low / step - 1e-9); i * step <= high + step * 1e-9; i += 1) ticks.push(i * step);
  return ticks;
};

const logTicks = (low, high, most) => {
  const decades = Math.log10(high / low);
  const factors = decades > most * 0.9 ? [1] : decades > 1.2 ? [1, 3] : decades > 0.5 ? [1, 2, 5] : [1, 1.5, 2, 3, 4, 5, 6, 7, 8];
  const every = Math.max(1, Math.ceil(decades / most));
  const ticks = [];
  for (let e = Math.floor(Math.log10(low)); e <= Math.ceil(Math.log10(high)); e += 1) {
    if (factors.length === 1 && ((e % every) + every) % every) continue;
    for (const f of factors) if (f * 10 ** e >= low * 0.999 && f * 10 ** e <= high * 1.001) ticks.push(f * 10 ** e);
  }
  return ticks;
};

const scaleOf = (axis, values, from, to) => {
  let low = Math.min(...values);
  let high = Math.max(...values);
  if (axis.log) {
    [low, high] = low === high ? [low / 2, high * 2] : [low / (high / low) ** 0.04, high * (high / low) ** 0.04];
    const span = Math.log(high / low);
    const at = (v) => from + (Math.log(v / low) / span) * (to - from);
    return { at, low, high, ticks: (most) => logTicks(low, high, most) };
  }
  if (axis.zero) [low, high] = [Math.min(low, 0), Math.max(high, 0)];
  if (low === high) [low, high] = [low - 1, high + 1];
  const pad = (high - low) * 0.05;
  if (!axis.zero || low < 0) low -= pad;
  if (!axis.tight) high += pad;
  const at = (v) => from + ((v - low) / (high - low)) * (to - from);
  return { at, low, high, ticks: (most) => nice(low, high, most) };
};

// Digits in which neighbouring numbers of an axis differ.
const digitsOf = (ticks) => {
  const step = Math.min(...ticks.slice(1).map((t, at) => t - ticks[at]));
  const size = Math.max(...ticks.map(Math.abs));
  return ticks.length > 1 && step > 0 && size > 0 ? Math.max(3, Math.ceil(Math.log10(size / step)) + 1) : 4;
};

// Axes with their grid. Returns the drawing and both scales.
const frame = (width, height, x, y, xs, ys) => {
  const write = format.writer(y.unit);
  const bottom = 44;
  const top = 26;
  const rough = scaleOf(y, ys, height - bottom, top);
  const ticksY = rough.ticks(Math.max(3, height / 60));
  const labels = ticksY.map((v) => write(v, digitsOf(ticksY)));
  const left = Math.max(...labels.map((t) => t.length), 3) * 7.2 + 14;
  const right = 18;
  const sy = rough;
  const sx = scaleOf(x, xs, left, width - right);
  const root = make.svg("svg", { width, height, viewBox: `0 0 ${width} ${height}`, "aria-hidden": "true", focusable: "false" });
  const writeX = format.writer(x.unit);
  let lastEnd = -Infinity;
  const most = Math.max(2, (width - left) / 90);
  const ticksX = x.ticks && x.ticks.length ? x.ticks : sx.ticks(most);
  for (const v of ticksX) {
    const text = writeX(v, digitsOf(ticksX));
    const half = text.length * 3.6;
    const px = sx.at(v);
    root.append(make.svg("line", { class: "grid", x1: px, x2: px, y1: top, y2: height - bottom }));
    if (px - half < lastEnd + 6 || px + half > width) continue;
    lastEnd = px + half;
    root.append(make.svg("text", { class: "tick", x: px, y: height - bottom + 16, "text-anchor": "middle" }, text));
  }
  ticksY.forEach((v, at) => {
    root.append(
      make.svg("line", { class: "grid", x1: left, x2: width - right, y1: sy.at(v), y2: sy.at(v) }),
      make.svg("text", { class: "tick", x: left - 6, y: sy.at(v) + 4, "text-anchor": "end" }, labels[at]),
    );
  });
  root.append(
    make.svg("text", { class: "label", x: (left + width - right) / 2, y: height - 6, "text-anchor": "middle" }, x.label),
    make.svg("text", { class: "label", x: 2, y: 14 }, y.label),
  );
  return { root, sx, sy, left, right: width - right, top, bottom: height - bottom };
};

const legendOf = (entries) =>
  make.html(
    "ul",
    { class: "legend" },
    entries.map(([name, tone, at, style]) => {
      const key = make.svg("svg", { width: 22, height: 12, "aria-hidden": "true" });
      if (style.line) key.append(make.svg("path", { class: `line ${tone}`, d: "M0,6h22", "stroke-dasharray": style.dashed ? "5 4" : null }));
      if (style.marks) key.append(make.svg("path", { class: `mark ${tone}${style.hollow ? " hollow" : ""}`, d: shapeOf(at)(11, 6, 4.5) }));
      if (style.bars) key.append(make.svg("rect", { class: `bar ${tone}`, x: 4, y: 1, width: 14, height: 10 }));
      return make.html("li", null, key, name);
    }),
  );

// A chart in `host`. `pick` is called with a series and a point when one is chosen.
const drawChart = (host, given, pick) => {
  const all = given.series.flatMap((s, at) => s.points.map((p, n) => ({ s, at, n, p })));
  const points = all.filter((q) => q.s.marks || q.s.bars);
  const says = make.html("p", { class: "says", "aria-live": "polite" }, "\u00a0");
  const place = make.html("div", { class: "chart", tabindex: "0", role: "application", "aria-label": `${given.title || "Chart"}. Arrow keys go from point to point.` });
  if (given.series.length > 1 || given.series[0].points.length > 1) host.append(legendOf(given.series.map((s, at) => [s.name, toneOf(at, s.tone), at, s])));
  host.append(place, says);
  let spots = [];
  let ring;
  let chosen = -1;
  let view;
  const said = ({ s, p }) => p[2] || `${s.name}: ${format.writer(given.x.unit)(p[0])}, ${format.writer(given.y.unit)(p[1])}`;
  const show = (at, picked) => {
    if (at < 0 || at >= points.length) return;
    chosen = at;
    says.textContent = said(points[at]);
    const [x, y] = spots[at];
    ring.setAttribute("d", shapes[0](x, y, 10));
    if (picked && pick) pick(points[at].at, points[at].n);
  };
  const draw = (width) => {
    const height = Math.round(Math.min(420, Math.max(260, width * 0.5)));
    const xs = all.map((q) => q.p[0]).concat((given.lines || []).map((l) => l[0]));
    const ys = all.map((q) => q.p[1]);
    if (!xs.length) return;
    view = frame(width, height, given.x, given.y, xs, ys);
    const { root, sx, sy } = view;
    if (given.band) drawBand(view, given.band);
    given.series.forEach((s, at) => drawSeries(view, s, at));
    for (const [x, name] of given.lines || []) {
      const [px, left] = [sx.at(x), sx.at(x) + 8 * name.length > width];
      root.append(
        make.svg("line", { class: "rule", x1: px, x2: px, y1: view.top, y2: view.bottom }),
        make.svg("text", { class: "tick strong", x: px + (left ? -4 : 4), y: view.top + 10, "text-anchor": left ? "end" : "start" }, name),
      );
    }
    spots = points.map((q) => [sx.at(q.p[0]), sy.at(q.p[1])]);
    ring = make.svg("path", { class: "ring" });
    root.append(ring);
    place.replaceChildren(root);
    if (chosen >= 0) show(chosen, false);
  };
  const nearest = (event) => {
    const box = place.getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    let best = -1;
    let least = 40 ** 2;
    spots.forEach(([a, b], at) => {
      const d = points[at].s.bars ? (a - x) ** 2 : (a - x) ** 2 + (b - y) ** 2;
      if (d < least) [best, least] = [at, d];
    });
    return best;
  };
  place.addEventListener("pointermove", (event) => show(nearest(event), false));
  place.addEventListener("click", (event) => show(nearest(event), true));
  const order = () => points.map((_, at) => at).sort((a, b) => spots[a][0] - spots[b][0] || spots[a][1] - spots[b][1]);
  place.addEventListener("keydown", (event) => {
    const by = { ArrowRight: 1, ArrowUp: 1, ArrowLeft: -1, ArrowDown: -1 }[event.key];
    const sorted = order();
    if (by) show(sorted[Math.min(Math.max((chosen < 0 ? (by > 0 ? -1 : sorted.length) : sorted.indexOf(chosen)) + by, 0), sorted.length - 1)], true);
    else if (event.key === "Home") show(sorted[0], true);
    else if (event.key === "End") show(sorted[sorted.length - 1], true);
    else return;
    event.preventDefault();
  });
  onLayout(place, draw);
  return { show };
};

const drawBand = (view, [low, high]) => {
  const { root, sx, sy, left, right, top, bottom } = view;
  const [a, b] = [sx.low, sx.high];
  const steps = Array.from({ length: 41 }, (_, i) => a * (b / a) ** (i / 40));
  const edge = (f) => steps.map((x) => `${sx.at(x)},${sy.at(f * x)}`);
  // What leaves the axes is not drawn.
  const [width, height] = [right - left, bottom - top];
  const inside = make.svg("svg", { x: left, y: top, width, height, viewBox: `${left} ${top} ${width} ${height}` });
  inside.append(
    make.svg("path", { class: "band", d: `M${edge(low).join("L")}L${edge(high).reverse().join("L")}z` }),
    make.svg("path", { class: "line tg", d: `M${edge(1).join("L")}` }),
  );
  root.append(inside);
};

const drawSeries = ({ root, sx, sy, bottom }, s, at) => {
  const tone = toneOf(at, s.tone);
  const spots = s.points.map((p) => [sx.at(p[0]), sy.at(p[1])]);
  if (s.line && spots.length > 1) {
    root.append(make.svg("path", { class: `line ${tone}`, d: `M${spots.map((p) => p.join(",")).join("L")}`, "stroke-dasharray": s.dashed ? "6 5" : null }));
  }
  if (s.bars) {
    const half = Math.max((sx.at(s.width) - sx.at(0)) / 2 - 0.5, 0.5);
    for (const [x, y] of spots) root.append(make.svg("rect", { class: `bar ${tone}`, x: x - half, y, width: 2 * half, height: Math.max(bottom - y, 0) }));
  }
  if (s.marks) {
    spots.forEach(([x, y], n) => {
      const share = s.points[n][3];
      const r = share === undefined ? 4.5 : 3 + 9 * Math.sqrt(share);
      root.append(make.svg("path", { class: `mark ${tone}${s.hollow ? " hollow" : ""}`, d: shapeOf(at)(x, y, r) }));
    });
  }
};

views.chart = (section, host) => drawChart(host, section);
