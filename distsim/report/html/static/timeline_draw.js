// Draws the lanes that are in sight. A span narrower than a pixel is drawn with its neighbours: one
// search for each pixel, however many spans there are.
const ROW = 26;
const AXIS = 24;
const KIND_NAMES = { forward: "forward", backward: "backward", weight: "weight gradient", tensor: "tensor", pipeline: "pipeline", data: "data", context: "context", optimizer: "optimizer", host: "host", expert: "expert", offload: "offload" };

const palette = () => {
  const out = { ink: colour("--ink"), faint: colour("--faint"), line: colour("--line"), panel: colour("--panel"), mark: colour("--mark") };
  for (const name of Object.keys(KIND_NAMES)) out[name] = [colour(`--k-${name}`), colour(`--on-${name}`)];
  return out;
};

// Returns how many rectangles it drew.
const drawLanes = (g, spans, view, colours) => {
  const { width, height, gutter, scroll, from, to, chosen, hovered } = view;
  const scale = (width - gutter) / (to - from);
  const px = (t) => gutter + (t - from) * scale;
  let drawn = 0;
  g.clearRect(0, 0, width, height);
  g.textBaseline = "middle";
  g.font = "12px system-ui, sans-serif";
  drawTimes(g, view, colours, px);
  g.save();
  g.beginPath();
  g.rect(0, AXIS, width, height - AXIS);
  g.clip();
  const first = Math.max(Math.floor(scroll / ROW), 0);
  const last = Math.min(Math.ceil((scroll + height - AXIS) / ROW), spans.lanes.length);
  for (let n = first; n < last; n += 1) {
    const lane = spans.lanes[n];
    const y = AXIS + n * ROW - scroll;
    drawn += drawLane(g, spans, lane, { y, from, to, scale, px, gutter, width }, colours);
  }
  for (const at of [hovered, chosen]) if (at >= 0) outline(g, spans, at, { px, scroll, gutter, width }, colours, at === chosen);
  drawNames(g, spans, view, colours, first, last);
  g.restore();
  return drawn;
};

const drawTimes = (g, { width, height, gutter, from, to }, colours, px) => {
  g.fillStyle = colours.faint;
  g.strokeStyle = colours.line;
  g.lineWidth = 1;
  g.textAlign = "center";
  const ticks = nice(from, to, Math.max((width - gutter) / 110, 2));
  const step = ticks.length > 1 ? ticks[1] - ticks[0] : to - from;
  const places = Math.max(4, Math.ceil(Math.log10(Math.max(Math.abs(to), step) / step)) + 1);
  for (const t of ticks) {
    const x = Math.round(px(t)) + 0.5;
    g.beginPath();
    g.moveTo(x, AXIS - 5);
    g.lineTo(x, height);
    g.stroke();
    const text = t === 0 ? "0" : format.seconds(t, Math.min(places, 12));
    const half = g.measureText(text).width / 2;
    if (x - half > gutter && x + half < width) g.fillText(text, x, AXIS / 2);
  }
};

const drawLane = (g, spans, lane, { y, from, to, scale, px, gutter, width }, colours) => {
  let drawn = 0;
  let edge = gutter; // what is left of it is drawn
  let at = spans.after(lane, from);
  while (at < lane.last && spans.start_s[at] < to) {
    const begin = spans.start_s[at];
    const end = begin + spans.duration_s[at];
    const left = Math.max(px(begin), edge);
    const wide = Math.min(px(end), width) - left;
    const [fill, on] = colours[spans.tone(at)];
    const compute = spans.kind[at] === 0 || spans.kind[at] === 5;
    // What is hidden is half as high: it does not rest on colour alone.
    const shown = compute ? 1 : 0.45 + 0.55 * Math.min(spans.exposed_s[at] / (spans.duration_s[at] || 1), 1);
    const high = Math.round((ROW - 8) * shown);
    const top = y + 4 + (ROW - 8 - high);
    g.fillStyle = fill;
    if (wide < 1) {
      edge = Math.floor(left) + 1;
      const until = from + (edge - gutter) / scale;
      const next = Math.max(spans.after(lane, until), at + 1);
      g.fillRect(Math.floor(left), top, 1, high);
      let marked = spans.critical[at];
      if (next - at < 64) for (let i = at; i < next; i += 1) marked |= spans.critical[i];
      if (marked) mark(g, Math.floor(left), y, 1, colours);
      at = next;
      drawn += 1;
      continue;
    }
    const gap = wide > 4 ? 1 : 0;
    g.fillRect(left, top, wide - gap, high);
    if (wide > 160 && compute && inner(g, spans, at, { y, px, gutter, width, top, high }, colours)) drawn += 1;
    else if (wide > 26 && high > 12) word(g, spans.short(at), left + wide / 2, top + high / 2, wide - 6, on);
    if (spans.critical[at]) mark(g, left, y, wide - gap, colours);
    at += 1;
    drawn += 1;
  }
  return drawn;
};

const mark = (g, x, y, wide, colours) => {
  g.fillStyle = colours.mark;
  g.fillRect(x, y, wide, 4);
};

const word = (g, text, x, y, most, fill) => {
  if (g.measureText(text).width > most) return;
  g.fillStyle = fill;
  g.textAlign = "center";
  g.fillText(text, x, y + 0.5);
};

// Operators of a wide span; false where they are too narrow to be seen.
const inner = (g, spans, at, { px, gutter, width, top, high }, colours) => {
  if (!spans.parts.whole) return false;
  const label = spans.label[at];
  const count = label < 0 ? 0 : spans.parts.first[label + 1] - spans.parts.first[label];
  const whole = px(spans.start_s[at] + spans.duration_s[at]) - px(spans.start_s[at]);
  if (count < 2 || whole / count < 6) return false;
  for (const { name, kind, begin, length } of spans.operators(at)) {
    const left = Math.max(px(begin), gutter);
    const wide = Math.min(px(begin + length), width) - left;
    if (wide <= 0) continue;
    const [fill, on] = colours[kind === "compute" ? spans.tone(at) : kind];
    g.fillStyle = fill;
    g.fillRect(left, top, wide, high);
    g.fillStyle = colours.panel;
    g.fillRect(left + wide - 1, top, 1, high);
    if (wide > 30) word(g, name, left + wide / 2, top + high / 2, wide - 6, on);
  }
  return true;
};

const outline = (g, spans, at, { px, scroll, gutter, width }, colours, strong) => {
  const y = AXIS + spans.laneOf(at) * ROW - scroll;
  const left = Math.max(px(spans.start_s[at]), gutter);
  const right = Math.min(px(spans.start_s[at] + spans.duration_s[at]), width);
  if (right < gutter || left > width) return;
  g.strokeStyle = colours.ink;
  g.lineWidth = strong ? 2.5 : 1.5;
  g.strokeRect(left - 1, y + 3, Math.max(right - left, 2) + 1, ROW - 6);
};

const drawNames = (g, spans, { gutter, scroll, width }, colours, first, last) => {
  g.textAlign = "left";
  const narrow = gutter < 110;
  for (let n = first; n < last; n += 1) {
    const lane = spans.lanes[n];
    const before = spans.lanes[n - 1];
    const y = AXIS + n * ROW - scroll;
    g.fillStyle = colours.panel;
    g.fillRect(0, y, gutter - 1, ROW);
    const begins = !before || before.rank !== lane.rank;
    if (begins) {
      g.fillStyle = colours.line;
      g.fillRect(0, y, width, 1);
    }
    const stage = lane.stage < 0 ? `r${lane.rank}` : narrow ? `s${lane.stage}` : `stage ${lane.stage}`;
    g.fillStyle = begins || n === first ? colours.ink : colours.faint;
    const name = narrow ? lane.name.replace("compute", "comp").replace("send forward", "fwd").replace("send backward", "bwd").replace("receive", "recv") : lane.name;
    g.fillText(fitting(g, `${stage} ${name}`, gutter - 10), 4, y + ROW / 2);
  }
};

const fitting = (g, text, most) => {
  if (g.measureText(text).width <= most) return text;
  let cut = text;
  while (cut.length > 2 && g.measureText(`${cut}…`).width > most) cut = cut.slice(0, -1);
  return `${cut}…`;
};
