// The controls: what is picked changes one value of the scenario, and the scenario fills them in.
import { format, make } from "/static/report.js";

const GROUPS = [
  ["Model and cluster", [
    { key: "model", label: "Model", wide: true, from: "models" },
    { key: "cluster.topology", label: "Cluster", wide: true, from: "topologies" },
    { key: "cluster.devices", label: "Devices", number: true },
    { key: "cluster.device", label: "Device", from: "devices", none: "of the cluster" },
  ]],
  ["Batch", [
    { key: "batch.global_size", label: "Global", number: true, third: true },
    { key: "batch.micro_size", label: "Micro", number: true, third: true },
    { key: "batch.sequence_length", label: "Tokens", number: true, third: true, none: "of the model" },
  ]],
  ["Plan", [
    { key: "plan.tp", label: "Tensor", number: true, third: true },
    { key: "plan.pp", label: "Pipeline", number: true, third: true },
    { key: "plan.cp", label: "Context", number: true, third: true },
    { key: "plan.ep", label: "Expert", number: true, third: true },
    { key: "plan.virtual_stages", label: "Virtual stages", number: true, third: true },
    { key: "plan.dp", label: "Data", derived: true, third: true },
    { key: "plan.schedule", label: "Schedule", from: "schedules", none: "default" },
    { key: "plan.zero_stage", label: "ZeRO", from: "zero" },
    { key: "plan.recompute", label: "Recompute", from: "recompute" },
    { key: "plan.sequence_parallel", label: "Sequence parallel", check: true },
  ]],
  ["Software", [
    { key: "precision", label: "Precision", from: "precisions" },
    { key: "optimizer", label: "Optimizer", from: "optimizers" },
    { key: "stack", label: "Stack", wide: true, from: "stacks", none: "default" },
  ]],
];

// Longer than between two digits.
const WAIT_MS = 200;
const OWN = "\u0000own";

const at = (values, key) => key.split(".").reduce((block, part) => (block === null || typeof block !== "object" ? undefined : block[part]), values);

const option = (value, text) => make.html("option", { value }, text);

// Options of a control, in groups where a list has them.
const optionsOf = (field, catalogue) => {
  const none = field.none ? [option("", field.none)] : [];
  if (field.from === "zero") return [0, 1, 2, 3].map((n) => option(n, ["0, none", "1, optimizer", "2, gradients", "3, parameters"][n]));
  const list = catalogue[field.from];
  if (field.from === "models") {
    const families = [...new Set(list.map((m) => m.family))];
    return families.map((f) => make.html("optgroup", { label: f.replaceAll("_", " ") }, list.filter((m) => m.family === f).map((m) => option(m.name, `${m.name} (${format.count(m.parameters, 3)})`))));
  }
  return [...none, ...list.map((one) => option(one.name || one, one.name || one))];
};

export const scenarioPicker = (catalogue, onPick) => {
  const top = catalogue.scenarios.filter((n) => !n.includes("/"));
  const below = catalogue.scenarios.filter((n) => n.includes("/"));
  const select = make.html("select", { id: "start", onchange: () => { if (select.value) onPick(select.value); } },
    option("", "choose a scenario"),
    make.html("optgroup", { label: "scenarios" }, top.map((n) => option(n, n))),
    make.html("optgroup", { label: "textbook" }, below.map((n) => option(n, n.split("/")[1]))));
  return select;
};

// Doubles or halves a degree: what a plan is tried with.
const stepped = (event) => {
  const by = { ArrowUp: 2, ArrowDown: 0.5 }[event.key];
  if (!by || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const value = Number(event.target.value) || 1;
  const next = by > 1 ? value * 2 : Math.max(Math.floor(value / 2), 1);
  if (next === value) return;
  event.target.value = String(next);
  event.target.dispatchEvent(new Event("input", { bubbles: true }));
};

// What else has to change with a value for it to make sense.
const together = (key, value, values, catalogue) => {
  const chunks = (name) => (catalogue.schedules.find((s) => s.name === name) || {}).chunks;
  if (key === "plan.schedule" && value) {
    const virtual = at(values, "plan.virtual_stages") || 1;
    if (chunks(value) !== null && virtual > 1) return ["plan.virtual_stages=1"];
    if (chunks(value) === null && virtual === 1) return ["plan.virtual_stages=2"];
  }
  const schedule = at(values, "plan.schedule");
  if (key === "plan.virtual_stages" && schedule) {
    if (Number(value) > 1 && chunks(schedule) !== null) return ["plan.schedule=interleaved"];
    if (Number(value) === 1 && schedule === "interleaved") return ["plan.schedule=1f1b"];
  }
  return [];
};

// Returns the form and what fills it in. `onSet` is told changes as of --set.
export const makeForm = (catalogue, onSet) => {
  const controls = new Map();
  let values = {};
  let timer = 0;
  const set = (field, value) => onSet([`${field.key}=${value === "" ? "null" : value}`, ...together(field.key, value, values, catalogue)]);
  const later = (field, input) => {
    clearTimeout(timer);
    timer = setTimeout(() => { if (input.value ? input.checkValidity() : field.none) set(field, input.value); }, WAIT_MS);
  };
  const control = (field) => {
    const id = make.id("field");
    let node;
    if (field.derived) node = make.html("output", { id });
    else if (field.check) node = make.html("input", { id, type: "checkbox", onchange: (e) => set(field, e.target.checked) });
    else if (field.number) {
      node = make.html("input", { id, type: "number", min: 1, max: 1_000_000_000, step: 1, inputmode: "numeric", placeholder: field.none, title: "Up and down double and halve", onkeydown: stepped, oninput: (e) => later(field, e.target) });
    } else node = make.html("select", { id, onchange: (e) => { if (e.target.value !== OWN) set(field, e.target.value); } }, optionsOf(field, catalogue));
    controls.set(field, node);
    const classes = `field${field.wide ? " wide" : field.third ? " third" : ""}${field.check ? " check" : ""}`;
    return make.html("div", { class: classes }, make.html("label", { for: id }, field.label), node);
  };
  const groups = GROUPS.map(([name, fields]) => make.html("fieldset", null, make.html("legend", null, name), make.html("div", { class: "fields" }, fields.map(control))));
  const several = make.html("p", { class: "faint", hidden: true }, "The scenario holds several jobs: change it as YAML below.");
  const form = make.html("form", { class: "form", onsubmit: (e) => e.preventDefault() }, several, groups);

  const fillSelect = (field, select, value) => {
    for (const old of select.querySelectorAll("option[data-own]")) old.remove();
    const shown = value === null || value === undefined ? (field.none ? "" : OWN) : typeof value === "object" ? OWN : String(value);
    const known = [...select.options].some((o) => o.value === shown);
    if (!known) {
      const text = shown === OWN ? (value ? "as written below" : "not stated") : shown;
      const own = option(shown, text);
      own.dataset.own = "yes";
      select.prepend(own);
    }
    select.value = shown;
  };
  const fill = (found) => {
    values = found;
    const jobs = Array.isArray(found.jobs);
    several.hidden = !jobs;
    groups.forEach((g) => { g.hidden = jobs; });
    for (const [field, node] of controls) {
      const value = at(found, field.key);
      if (field.derived) node.textContent = value === undefined || value === null ? "\u2013" : format.count(value);
      else if (field.check) node.checked = value === true;
      else if (field.number) {
        const text = typeof value === "number" ? String(value) : "";
        if (document.activeElement !== node || Number(node.value) !== value) node.value = text;
      } else fillSelect(field, node, value);
    }
  };
  return { form, fill };
};
