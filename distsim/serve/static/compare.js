// Two scenarios side by side, compared again whenever one of them changes.
import { make } from "/static/report.js";
import { stream } from "/static/api.js";
import { asked } from "/static/state.js";
import { makeResults } from "/static/results.js";

export const makeCompare = ({ state, tell, fail }) => {
  const results = makeResults("What was compared");
  const bar = make.html("progress", { "aria-label": "Progress of the comparison", max: 1 });
  const progress = make.html("div", { class: "progress", hidden: true }, bar, make.html("p", { class: "said" }, "evaluating each change"));
  let running = null;
  let compared = "";
  const run = async () => {
    const body = { a: asked(state.sides.a), b: asked(state.sides.b) };
    const key = JSON.stringify(body);
    if (key === compared) return;
    if (running) running.abort();
    const own = (running = new AbortController());
    tell("comparing");
    results.begin();
    const late = setTimeout(() => { progress.hidden = false; }, 400);
    try {
      await stream("/api/compare", body, own.signal, (name, data) => {
        if (name === "page") return results.page(data);
        bar.max = Math.max(data.total, 1);
        bar.value = data.done;
      });
      compared = key;
      tell(`Compared in ${results.end().toFixed(2)} s.`);
    } catch (error) {
      results.stop();
      if (error.name !== "AbortError") fail(error);
    } finally {
      clearTimeout(late);
      if (running === own) {
        running = null;
        progress.hidden = true;
      }
    }
  };
  const view = make.html("div", { class: "compare" }, results.title, results.numbers, progress, results.warnings, results.facts, results.nav, results.sections);
  return { view, run, stop: () => running && running.abort(), mini: results.mini };
};
