// The timeline: a window of time over the lanes, moved and scaled by mouse, fingers and keys.
views.timeline = (section, host) => {
  const spans = new Spans(section);
  const still = matchMedia("(prefers-reduced-motion: reduce)");
  const canvas = make.html("canvas", {
    tabindex: "0",
    role: "application",
    "aria-label": `Timeline of ${format.count(spans.count)} spans on ${spans.lanes.length} streams. Left and right move, plus and minus zoom, up and down choose a stream, comma and period go from span to span, Enter zooms to it, C follows the critical path, Home shows all.`,
  });
  const spacer = make.html("div", { class: "spacer" });
  const scroller = make.html("div", { class: "lanes" }, canvas, spacer);
  const details = make.html("div", { class: "details", "aria-live": "polite" }, make.html("p", { class: "faint" }, "Point at a span, or press the period key, to see what it is."));
  const view = { from: 0, to: spans.end || 1, chosen: -1, hovered: -1, lane: 0, width: 0, height: 0, gutter: 0, scroll: 0 };
  const g = canvas.getContext("2d");
  let colours = palette();
  let waiting = false;

  const paint = () => {
    waiting = false;
    view.scroll = scroller.scrollTop;
    g.setTransform(devicePixelRatio, 0, 0, devicePixelRatio, 0, 0);
    canvas.dataset.drawn = drawLanes(g, spans, view, colours);
    canvas.dataset.from = view.from;
    canvas.dataset.to = view.to;
  };
  const redraw = () => {
    if (!waiting) requestAnimationFrame(paint);
    waiting = true;
  };
  const resize = (width) => {
    const full = AXIS + spans.lanes.length * ROW;
    const seen = printing ? 880 : Math.max(220, Math.round(Math.min(innerHeight * 0.6, 560)));
    const height = Math.min(full, seen);
    Object.assign(view, { width, height, gutter: width < 600 ? 84 : 150 });
    scroller.style.height = `${height}px`;
    spacer.style.height = `${full - height}px`;
    Object.assign(canvas, { width: Math.round(width * devicePixelRatio), height: Math.round(height * devicePixelRatio) });
    Object.assign(canvas.style, { width: `${width}px`, height: `${height}px` });
    colours = palette();
    paint();
  };

  // Moves the window, within the step and not below a billionth of it.
  const look = (from, to) => {
    const least = spans.end * 1e-8 || 1;
    const length = Math.min(Math.max(to - from, least), spans.end || 1);
    const middle = (from + to) / 2;
    view.from = Math.min(Math.max(middle - length / 2, 0), (spans.end || 1) - length);
    view.to = view.from + length;
    redraw();
  };
  const glide = (from, to) => {
    if (still.matches) return look(from, to);
    const [a, b, begin] = [view.from, view.to, performance.now()];
    const step = (now) => {
      const f = Math.min(Math.max((now - begin) / 150, 0), 1);
      look(a + (from - a) * f, b + (to - b) * f);
      if (f < 1) requestAnimationFrame(step);
    };
    requestAnimationFrame(step);
  };
  const timeAt = (x) => view.from + ((x - view.gutter) / (view.width - view.gutter)) * (view.to - view.from);
  const zoom = (factor, x = (view.gutter + view.width) / 2, move = look) => {
    const middle = timeAt(x);
    move(middle - (middle - view.from) * factor, middle + (view.to - middle) * factor);
  };
  const pan = (share) => look(view.from + share * (view.to - view.from), view.to + share * (view.to - view.from));

  const choose = (at) => {
    if (at < 0) return;
    view.chosen = at;
    view.lane = spans.laneOf(at);
    const y = view.lane * ROW;
    if (y < scroller.scrollTop || y + ROW > scroller.scrollTop + view.height - AXIS) scroller.scrollTop = y - view.height / 2;
    const [a, b] = [spans.start_s[at], spans.start_s[at] + spans.duration_s[at]];
    const length = view.to - view.from;
    if (b < view.from || a > view.to) look((a + b) / 2 - length / 2, (a + b) / 2 + length / 2);
    tell(at);
    redraw();
  };
  const tell = (at) => {
    const rows = spans.details(at).flatMap(([k, v]) => [make.html("dt", null, k), make.html("dd", null, v)]);
    const most = spans.largest(at, 6);
    if (most.length > 1) {
      rows.push(make.html("dt", null, "largest"), make.html("dd", null, most.map(([name, [n, sum]]) => `${name}${n > 1 ? ` × ${n}` : ""} ${format.seconds(sum, 3)}`).join(", ")));
    }
    details.replaceChildren(make.html("h3", null, spans.name(at)), make.html("dl", null, rows));
  };
  const neighbour = (by) => {
    const lane = spans.lanes[view.lane];
    if (!lane) return;
    const now = view.chosen >= lane.first && view.chosen < lane.last ? view.chosen + by : spans.after(lane, view.from);
    choose(Math.min(Math.max(now, lane.first), lane.last - 1));
  };
  const critical = (by) => {
    const order = (section.criticalOrder ||= [...spans.critical.keys()].filter((at) => spans.critical[at]).sort((a, b) => spans.start_s[a] - spans.start_s[b]));
    const found = order.indexOf(view.chosen);
    choose(order[Math.min(Math.max(found < 0 ? 0 : found + by, 0), order.length - 1)]);
  };
  const toLane = (by) => {
    view.lane = Math.min(Math.max(view.lane + by, 0), spans.lanes.length - 1);
    const middle = view.chosen >= 0 ? spans.start_s[view.chosen] + spans.duration_s[view.chosen] / 2 : view.from;
    const lane = spans.lanes[view.lane];
    choose(Math.min(spans.after(lane, middle), lane.last - 1));
  };
  const toSpan = () => {
    if (view.chosen < 0) return;
    const [a, d] = [spans.start_s[view.chosen], spans.duration_s[view.chosen]];
    glide(a - d * 0.2, a + d * 1.2);
  };
  const all = () => glide(0, spans.end);

  const keys = {
    ArrowLeft: () => pan(-0.15), ArrowRight: () => pan(0.15), ArrowUp: () => toLane(-1), ArrowDown: () => toLane(1),
    "+": () => zoom(0.5), "=": () => zoom(0.5), "-": () => zoom(2), Home: all, 0: all, Enter: toSpan,
    ".": () => neighbour(1), ",": () => neighbour(-1), c: () => critical(1), C: () => critical(-1),
  };
  canvas.addEventListener("keydown", (event) => {
    if (!keys[event.key] || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    keys[event.key]();
  });
  pointers({ canvas, view, spans, look, zoom, redraw, choose, tell, timeAt });
  scroller.addEventListener("scroll", redraw);

  const b = make.button;
  const buttons = make.html("div", { class: "controls" },
    b("−", "Zoom out", () => zoom(2, undefined, glide)), b("+", "Zoom in", () => zoom(0.5, undefined, glide)),
    b("◀", "Earlier", () => pan(-0.3)), b("▶", "Later", () => pan(0.3)), b("Whole step", "Show the whole step", all),
    b("Critical path", "Next task of the critical path", () => critical(1)));
  const seen = new Set(spans.parts.kinds.map((k) => spans.kinds[k]));
  for (let at = 0; at < spans.count; at += 1) seen.add(spans.tone(at));
  const legend = make.html("ul", { class: "legend" }, Object.keys(KIND_NAMES).filter((k) => seen.has(k)).map((k) => make.html("li", null, make.html("span", { class: `key k-${k}` }), KIND_NAMES[k])),
    make.html("li", null, make.html("span", { class: "key k-mark" }), "critical path"));
  host.append(buttons, legend, make.html("div", { class: "timeline" }, scroller), details);
  onLayout(scroller.parentNode, resize);
};

// Hovering, dragging, pinching and the wheel.
const pointers = ({ canvas, view, spans, look, zoom, redraw, choose, tell, timeAt }) => {
  const down = new Map();
  let moved = 0;
  const place = (event) => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left, event.clientY - box.top];
  };
  const under = ([x, y]) => {
    if (x < view.gutter || y < AXIS) return -1;
    const lane = spans.lanes[Math.floor((y - AXIS + view.scroll) / ROW)];
    return lane ? spans.at(lane, timeAt(x), (3 * (view.to - view.from)) / (view.width - view.gutter)) : -1;
  };
  canvas.addEventListener("pointerdown", (event) => {
    down.set(event.pointerId, place(event));
    moved = 0;
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", (event) => {
    const now = place(event);
    const before = down.get(event.pointerId);
    if (!before) {
      const at = under(now);
      if (at === view.hovered) return;
      view.hovered = at;
      if (at >= 0) tell(at);
      else if (view.chosen >= 0) tell(view.chosen);
      return redraw();
    }
    const length = view.to - view.from;
    const perPixel = length / (view.width - view.gutter);
    const others = [...down].filter(([id]) => id !== event.pointerId);
    if (others.length) {
      const x = others[0][1][0];
      const factor = Math.max(Math.abs(before[0] - x), 10) / Math.max(Math.abs(now[0] - x), 10);
      zoom(factor, (x + now[0]) / 2);
    } else {
      const by = (before[0] - now[0]) * perPixel;
      look(view.from + by, view.to + by);
    }
    moved += Math.abs(now[0] - before[0]) + Math.abs(now[1] - before[1]);
    down.set(event.pointerId, now);
  });
  const up = (event) => {
    if (down.delete(event.pointerId) && moved < 5 && event.type === "pointerup") choose(under(place(event)));
  };
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
  canvas.addEventListener("pointerleave", () => {
    view.hovered = -1;
    redraw();
  });
  canvas.addEventListener("wheel", (event) => {
    const [x] = place(event);
    if (Math.abs(event.deltaX) > Math.abs(event.deltaY)) {
      const by = (event.deltaX / (view.width - view.gutter)) * (view.to - view.from);
      look(view.from + by, view.to + by);
    } else if (event.ctrlKey || event.metaKey || document.activeElement === canvas) zoom(Math.exp(event.deltaY * (event.ctrlKey ? 0.01 : 0.002)), x);
    else return;
    event.preventDefault();
  }, { passive: false });
};
