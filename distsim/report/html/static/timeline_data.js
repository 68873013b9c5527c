// Spans as columns: each lane is a stretch of them, in order of their start and without overlap.
const unpack = (text, Type) => {
  const raw = atob(text);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i += 1) bytes[i] = raw.charCodeAt(i);
  return new Type(bytes.buffer);
};

const COLUMNS = { start_s: Float64Array, duration_s: Float32Array, exposed_s: Float32Array, label: Int32Array, kind: Uint8Array, microbatch: Int32Array, transfer: Int32Array, critical: Uint8Array };

class Spans {
  constructor(given) {
    Object.assign(this, { count: given.count, end: given.end_s, kinds: given.kinds, names: given.names, costs: given.costs, bytes: given.bytes });
    for (const [name, Type] of Object.entries(COLUMNS)) this[name] = unpack(given.columns[name], Type);
    const l = given.lanes;
    this.lanes = l.name.map((name, at) => ({ name, stage: l.stage[at], rank: l.rank[at], ranks: l.ranks[at], first: l.first[at], last: l.first[at + 1] })).filter((lane) => lane.last > lane.first);
    this.laneOf = (at) => this.lanes.findIndex((lane) => at >= lane.first && at < lane.last);
    const p = given.parts;
    this.parts = { whole: p.whole, names: p.names, kinds: p.kinds, first: unpack(p.first, Int32Array), which: unpack(p.which, Int32Array), duration_s: unpack(p.duration_s, Float32Array) };
  }

  // The first span of a lane that ends after an instant.
  after(lane, instant) {
    let [low, high] = [lane.first, lane.last];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.start_s[middle] + this.duration_s[middle] > instant) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  // The span of a lane at an instant, or the one nearest to it within some time; -1 for none.
  at(lane, instant, near) {
    const next = this.after(lane, instant);
    let [best, least] = [-1, near];
    for (const at of [next - 1, next, next + 1]) {
      if (at < lane.first || at >= lane.last) continue;
      const away = Math.max(this.start_s[at] - instant, instant - this.start_s[at] - this.duration_s[at], 0);
      if (away <= least && (best < 0 || away < least)) [best, least] = [at, away];
    }
    return best;
  }

  name(at) {
    const label = this.label[at];
    return label >= 0 ? this.names[label] : this.kinds[this.kind[at]];
  }

  // The kind that gives the colour: kernels by direction.
  tone(at) {
    const kind = this.kinds[this.kind[at]];
    if (kind !== "compute") return kind;
    const name = this.name(at);
    return name[0] === "F" && name[1] === " " ? "forward" : name[0] === "W" ? "weight" : "backward";
  }

  short(at) {
    const micro = this.microbatch[at];
    const kind = this.kinds[this.kind[at]];
    return (kind === "compute" ? this.name(at).split(" ")[0] : kind) + (micro >= 0 ? ` ${micro}` : "");
  }

  // Operators of a span with their part of its time, in order.
  operators(at) {
    const label = this.label[at];
    if (label < 0) return [];
    const { first, which, duration_s, names, kinds } = this.parts;
    const out = [];
    let total = 0;
    for (let i = first[label]; i < first[label + 1]; i += 1) total += duration_s[i];
    let begin = this.start_s[at];
    const stretch = total > 0 ? this.duration_s[at] / total : 0;
    for (let i = first[label]; i < first[label + 1]; i += 1) {
      out.push({ name: names[which[i]], kind: this.kinds[kinds[which[i]]], begin, length: duration_s[i] * stretch });
      begin += duration_s[i] * stretch;
    }
    return out;
  }

  details(at) {
    const lane = this.lanes[this.laneOf(at)];
    const length = this.duration_s[at];
    const s = format.seconds;
    const rows = [
      ["where", `stage ${lane.stage}, rank ${lane.rank}${lane.ranks > 1 ? ` (stands for ${format.count(lane.ranks)} ranks)` : ""}, ${lane.name}`],
      ["from, to", `${s(this.start_s[at], 6)} to ${s(this.start_s[at] + length, 6)}`],
      ["lasts", s(length)],
    ];
    if (this.microbatch[at] >= 0) rows.push(["micro batch", String(this.microbatch[at])]);
    if (this.transfer[at] >= 0) {
      rows.push(["bytes on a link", format.bytes(this.bytes[this.transfer[at]])]);
    }
    const kind = this.kinds[this.kind[at]];
    if (kind !== "compute" && kind !== "optimizer") {
      const exposed = this.exposed_s[at];
      const hidden = Math.max(length - exposed, 0);
      const how = exposed <= length * 0.001 ? "hidden behind kernels" : hidden <= length * 0.001 ? "exposed" : `${s(exposed)} exposed, ${s(hidden)} hidden behind kernels`;
      rows.push(["exposure", how]);
    }
    const costs = this.label[at] >= 0 ? this.costs[this.label[at]] : null;
    if (costs) {
      const named = ["kernels", "exposed tensor communication", "exposed context communication", "exposed expert communication", "waiting for the host"];
      const alone = costs.reduce((sum, v) => sum + v, 0);
      const inside = costs.map((v, i) => (v > 0 ? `${named[i]} ${s(v)}` : "")).filter(Boolean);
      if (length > alone * 1.0001) inside.push(`slowed by transfers beside it ${s(length - alone)}`);
      rows.push(["inside", inside.join(", ")]);
    }
    if (this.critical[at]) rows.push(["critical path", "yes: the step is shorter if this is"]);
    return rows;
  }

  // The operators of a span that take longest, summed by name.
  largest(at, most) {
    const sums = new Map();
    for (const { name, length } of this.operators(at)) {
      const [n, sum] = sums.get(name) || [0, 0];
      sums.set(name, [n + 1, sum + length]);
    }
    return [...sums].sort((a, b) => b[1][1] - a[1][1]).slice(0, most);
  }
}
