// The sweep: what varies, a bar of how far it is, and its result.
import { format, make } from "/static/report.js";
import { stream } from "/static/api.js";
import { asked } from "/static/state.js";
import { makeResults } from "/static/results.js";

const KEYS = [
  "plan.tp", "plan.pp", "plan.cp", "plan.ep", "plan.virtual_stages", "plan.zero_stage", "plan.recompute", "plan.schedule",
  "batch.micro_size", "batch.global_size", "batch.sequence_length", "precision", "optimizer", "cluster.topology", "cluster.device", "model",
];
const MOST_ROWS = 6;

export const makeSweep = ({ state, side, changed, tell, fail }) => {
  const results = makeResults("What varied");
  let running = null;
  const keys = make.html("datalist", { id: "keys" }, KEYS.map((k) => make.html("option", { value: k })));
  const devices = make.html("input", { id: "sweep-devices", type: "text", placeholder: "64:4096", spellcheck: "false", oninput: () => read() });
  const scaling = make.html("select", { id: "sweep-scaling", onchange: () => read() }, make.html("option", { value: "strong" }, "strong: the batch stays"), make.html("option", { value: "weak" }, "weak: the batch grows"));
  const rows = make.html("div", { class: "vary" });
  const add = make.html("button", { type: "button", onclick: () => { row("", ""); rows.lastChild.querySelector("input").focus(); } }, "Add a key");
  const start = make.html("button", { type: "submit", class: "primary" }, "Run the sweep");
  const stop = make.html("button", { type: "button", hidden: true, onclick: () => running && running.abort() }, "Cancel");
  const bar = make.html("progress", { "aria-label": "Progress of the sweep", max: 1, value: 0 });
  const said = make.html("p", { class: "said", role: "status" });
  const progress = make.html("div", { class: "progress", hidden: true }, bar, said);

  const read = () => {
    const vary = [...rows.children].map((r) => [...r.querySelectorAll("input")].map((i) => i.value.trim())).filter(([k, v]) => k || v).map(([k, v]) => `${k}=${v}`);
    state.sweep = { devices: devices.value.trim(), vary, weak: scaling.value === "weak" };
    changed();
  };
  const row = (key, values) => {
    const ids = [make.id("key"), make.id("values")];
    const node = make.html("div", { class: "vary-row" },
      make.html("div", { class: "field" }, make.html("label", { for: ids[0] }, "Key"), make.html("input", { id: ids[0], type: "text", list: "keys", value: key, placeholder: "plan.tp", spellcheck: "false", oninput: read })),
      make.html("div", { class: "field" }, make.html("label", { for: ids[1] }, "Values"), make.html("input", { id: ids[1], type: "text", value: values, placeholder: "1,2,4,8", spellcheck: "false", oninput: read })),
      make.html("button", { type: "button", class: "small", "aria-label": "Remove this key", title: "Remove this key", onclick: () => { node.remove(); read(); add.hidden = false; add.focus(); } }, "\u00d7"));
    rows.append(node);
    add.hidden = rows.children.length >= MOST_ROWS;
  };
  const fill = () => {
    devices.value = state.sweep.devices;
    scaling.value = state.sweep.weak ? "weak" : "strong";
    rows.replaceChildren();
    for (const text of state.sweep.vary) {
      const cut = text.indexOf("=");
      row(cut < 0 ? text : text.slice(0, cut), cut < 0 ? "" : text.slice(cut + 1));
    }
    if (!rows.children.length) row("", "");
  };

  const shows = (found, begun) => {
    bar.max = Math.max(found.total, 1);
    bar.value = found.done;
    const spent = (performance.now() - begun) / 1000;
    const fresh = found.done - found.known;
    const left = fresh > 4 && found.done < found.total ? `, about ${format.seconds(Math.max((spent / fresh) * (found.total - found.done), 0.1), 2)} left` : "";
    said.textContent = `${format.count(found.done)} of ${format.count(found.total)}: ${format.count(found.ok)} fit, ${format.count(found.does_not_fit)} do not fit, ${format.count(found.not_possible)} not possible${left}`;
  };
  const run = async () => {
    if (running) return;
    read();
    running = new AbortController();
    const begun = performance.now();
    start.disabled = true;
    stop.hidden = false;
    progress.hidden = false;
    said.textContent = "starting";
    bar.removeAttribute("value");
    tell("");
    results.begin();
    try {
      const { devices: counts, vary, weak } = state.sweep;
      const body = { ...asked(side()), vary, weak, ...(counts ? { devices: counts } : {}) };
      await stream("/api/sweep", body, running.signal, (name, data) => {
        if (name === "progress") shows(data, begun);
        else results.page(data);
      });
      results.end();
      tell("");
    } catch (error) {
      results.stop();
      progress.hidden = error.name !== "AbortError";
      if (error.name === "AbortError") said.textContent = `Cancelled. ${said.textContent}`;
      else fail(error);
    } finally {
      running = null;
      start.disabled = false;
      stop.hidden = true;
    }
  };
  const form = make.html("form", { class: "form sweep-form", onsubmit: (e) => { e.preventDefault(); run(); } },
    make.html("h1", null, "Sweep"),
    make.html("p", { class: "about" }, "Every combination of some values of the scenario: lists as 1,2,4 and ranges as 64:4096 (doubling), 8:64:+8. Each is evaluated; what cannot be or does not fit says why."),
    make.html("div", { class: "fields" },
      make.html("div", { class: "field" }, make.html("label", { for: "sweep-devices" }, "Devices"), devices),
      make.html("div", { class: "field" }, make.html("label", { for: "sweep-scaling" }, "Scaling"), scaling)),
    rows, keys,
    make.html("div", { class: "controls" }, start, stop, add), progress);
  const view = make.html("div", { class: "sweep" }, form, results.warnings, results.numbers, results.facts, results.nav, results.sections);
  return { view, fill, stop: () => running && running.abort() };
};
