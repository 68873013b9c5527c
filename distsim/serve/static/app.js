// The page: a scenario on one side, what it comes to on the other.
import { codeActions, make, theme } from "/static/report.js";
import { get, post, Refused, stream } from "/static/api.js";
import { makeCompare } from "/static/compare.js";
import { makeEditor, save } from "/static/editor.js";
import { makeForm, scenarioPicker } from "/static/form.js";
import { makeResults } from "/static/results.js";
import { decode, encode } from "/static/share.js";
import { asked, carried, makeState, sideOf } from "/static/state.js";
import { makeSweep } from "/static/sweep.js";

const FIRST = "gpt3-175b-1024xa100";
const TABS = [["predict", "Prediction"], ["compare", "Compare"], ["sweep", "Sweep"]];

const state = makeState();
const catalogue = await get("/api/catalogue").catch((error) => ({ failed: error }));

// What is wrong, in the words of the command line.
const problem = make.html("div", { class: "problem", role: "alert", hidden: true });
const status = make.html("p", { class: "status", role: "status" });
const tell = (text) => {
  status.textContent = text;
  if (text !== "comparing" && text !== "predicting") clear();
};
// On a phone what is wrong may be out of sight of what was changed.
const wrong = make.html("button", { type: "button", class: "wrong", hidden: true, onclick: () => problem.scrollIntoView({ block: "center" }) });
const clear = () => {
  wrong.hidden = true;
  problem.hidden = true;
  problem.replaceChildren();
};
const fail = (error) => {
  const found = error instanceof Refused ? error.problem : { text: error.message, line: 0, file: "" };
  const parts = [make.html("pre", null, found.text)];
  if (found.line && found.file.endsWith(".yaml")) {
    const side = { "A.yaml": "a", "B.yaml": "b" }[found.file];
    parts.push(make.html("button", { type: "button", onclick: () => {
      if (side && state.active !== side) choose(side);
      yaml.closest(".panel").open = true;
      yaml.open = true;
      editor.goTo(found.line);
    } }, `Go to line ${found.line}`));
  }
  if (found.code && state.tab === "predict" && results.sections.children.length) parts.push(make.html("p", null, "Below is the last scenario that could be predicted."));
  problem.replaceChildren(...parts);
  problem.hidden = false;
  wrong.hidden = false;
  wrong.textContent = `${found.code || "Error"}: see what is wrong`;
  status.textContent = "";
};

const results = makeResults("What was predicted");
let predicting = null;
const predict = async () => {
  if (predicting) predicting.abort();
  const own = (predicting = new AbortController());
  tell("predicting");
  results.begin();
  try {
    await stream("/api/page", asked(sideOf(state)), own.signal, (name, data) => {
      if (name === "preview") results.preview(data);
      else if (name === "page") results.page(data);
      else results.section(data.at, data.section);
    });
    tell(`Predicted in ${results.end().toFixed(2)} s.`);
  } catch (error) {
    results.stop();
    if (error.name !== "AbortError") fail(error);
  } finally {
    if (predicting === own) predicting = null;
  }
};

const compare = makeCompare({ state, tell, fail });
const refresh = async () => {
  remember();
  if (state.tab === "predict") await predict();
  if (state.tab === "compare") await compare.run();
  document.documentElement.dataset.ready = "yes";
};

// The link to what is shown stands in the address bar all the time.
let hash = "";
const remember = async () => {
  const found = await encode(carried(state));
  if (found === hash) return;
  hash = found;
  history.replaceState(null, "", hash);
};

const editor = makeEditor((text) => {
  sideOf(state).scenario = text;
  fillForm();
  refresh();
});
let filling = null;
const fillForm = async () => {
  if (filling) filling.abort();
  const own = (filling = new AbortController());
  try {
    const found = await post("/api/scenario", asked(sideOf(state)), own.signal);
    form.fill(found.values);
  } catch {
    // What is wrong is said by whoever predicts it.
  }
};
const set = async (changes) => {
  if (filling) filling.abort();
  const own = (filling = new AbortController());
  const side = sideOf(state);
  try {
    const found = await post("/api/scenario", asked(side, changes), own.signal);
    side.scenario = found.scenario;
    form.fill(found.values);
    editor.show(found.scenario);
    refresh();
  } catch (error) {
    if (error.name !== "AbortError") fail(error);
  }
};

const show = () => {
  const both = state.tab === "compare";
  if (both && !state.sides.b) state.sides.b = { ...state.sides.a };
  if (!both && !state.sides[state.active]) state.active = "a";
  sides.hidden = !state.sides.b;
  for (const [name, button] of sideButtons) button.setAttribute("aria-pressed", String(state.active === name));
  for (const [name, button] of tabButtons) button.setAttribute("aria-pressed", String(state.tab === name));
  for (const [name, node] of panels) node.hidden = name !== state.tab;
  for (const [name, node] of minis) node.classList.toggle("away", name !== state.tab);
  editor.show(sideOf(state).scenario);
  picker.value = sideOf(state).base;
};
const choose = (name) => {
  state.active = name;
  show();
  fillForm();
  if (state.tab === "predict") refresh();
};
const open = (tab) => {
  if (tab === state.tab) return;
  compare.stop();
  if (predicting) predicting.abort();
  state.tab = tab;
  if (tab === "compare" && !state.sides.b) state.active = "b";
  clear();
  status.textContent = "";
  show();
  fillForm();
  refresh();
};
const load = async (name) => {
  try {
    const found = await get(`/api/scenarios/${name}`);
    state.sides[state.active] = { scenario: found.scenario, base: name };
    show();
    fillForm();
    await refresh();
  } catch (error) {
    fail(error);
  }
};
const take = (found) => {
  state.sides = { a: found.a, b: found.b };
  state.active = found.tab === "compare" && found.b ? "b" : "a";
  state.tab = found.tab;
  state.sweep = found.sweep;
  sweep.fill();
  show();
  fillForm();
  refresh();
};

const sweep = makeSweep({ state, side: () => sideOf(state), changed: () => remember(), tell, fail });
codeActions.push((text) => make.html("button", { type: "button", onclick: () => {
  state.sides[state.active] = { scenario: text, base: sideOf(state).base };
  open("predict");
} }, "Open as scenario"));

const share = make.html("button", { type: "button", onclick: async () => {
  await remember();
  try {
    await navigator.clipboard.writeText(location.href);
    status.textContent = "Link copied: it carries the scenario.";
  } catch {
    status.textContent = "The address bar has the link: it carries the scenario.";
  }
} }, "Share");
const nameOf = (text) => (/^name:\s*(.+)$/m.exec(text) || [null, "scenario"])[1].trim();
const download = make.html("button", { type: "button", onclick: () => save(sideOf(state).scenario, nameOf(sideOf(state).scenario)) }, "Download");

let picker = { value: "" };
let form = { form: null, fill: () => {} };
const sideButtons = ["a", "b"].map((name) => [name, make.html("button", { type: "button", onclick: () => choose(name) }, name.toUpperCase())]);
const single = make.html("button", { type: "button", class: "small", onclick: () => {
  state.sides.b = null;
  state.active = "a";
  if (state.tab === "compare") state.tab = "predict";
  show();
  fillForm();
  refresh();
} }, "Remove B");
const sides = make.html("div", { class: "sides", role: "group", "aria-label": "Which scenario is changed", hidden: true }, make.html("span", null, "Change"), sideButtons.map(([, b]) => b), single);
const tabButtons = TABS.map(([name, text]) => [name, make.html("button", { type: "button", onclick: () => open(name) }, text)]);
const predictView = make.html("div", { class: "predict" }, results.title, results.numbers, results.warnings, results.facts, results.nav, results.sections);
const panels = [["predict", predictView], ["compare", compare.view], ["sweep", sweep.view]];
const minis = [["predict", results.mini], ["compare", compare.mini]];
const yaml = make.html("details", { class: "yaml" }, make.html("summary", null, "YAML"), make.html("label", { class: "hidden", for: "yaml" }, "Scenario as YAML"), editor.area);

// The shipped scenario that a link names.
const named = () => (/^#start=([\w./-]+)$/.exec(location.hash) || [])[1];

const start = async () => {
  document.getElementById("app").replaceChildren();
  if (catalogue.failed) {
    document.getElementById("app").append(make.html("main", null, problem));
    return fail(catalogue.failed);
  }
  form = makeForm(catalogue, set);
  picker = scenarioPicker(catalogue, load);
  const wide = matchMedia("(min-width: 1000px)").matches;
  const panel = make.html("details", { class: "panel", open: wide }, make.html("summary", null, "Scenario"),
    sides,
    make.html("div", { class: "field wide start" }, make.html("label", { for: "start" }, "Start from"), picker),
    form.form, yaml);
  document.getElementById("app").append(
    make.html("header", { class: "bar" },
      make.html("p", { class: "brand" }, "distsim"),
      make.html("nav", { class: "tabs", "aria-label": "What is shown" }, tabButtons.map(([, b]) => b)),
      status,
      make.html("div", { class: "actions" }, share, download, theme.switcher())),
    make.html("div", { class: "under" }, minis.map(([, node]) => node), wrong),
    make.html("main", null,
      make.html("aside", { "aria-label": "Scenario" }, panel),
      make.html("div", { class: "content" }, problem, panels.map(([, node]) => node))),
    make.html("footer", null, `distsim ${catalogue.version}, on this machine. The page loads nothing from elsewhere.`));
  let broken = false;
  const opened = await decode(location.hash).catch(() => {
    broken = true;
    return null;
  });
  sweep.fill();
  if (opened) return take(opened);
  show();
  await load(named() || FIRST);
  if (broken) fail(new Error("The link is broken: it carries no scenario. Here is a shipped one."));
};
addEventListener("hashchange", async () => {
  if (location.hash === hash) return;
  try {
    const found = await decode(location.hash);
    if (found) take(found);
    else if (named()) load(named());
  } catch {
    fail(new Error("The link is broken: it carries no scenario."));
  }
});
await start();
