// Requests: JSON in, and out JSON or events one after another.

// What the server says is wrong; `problem` has code, text, line and the rest.
export class Refused extends Error {
  constructor(problem) {
    super(problem.text);
    this.problem = problem;
  }
}

const unreachable = () =>
  new Refused({ code: "", text: "The server does not answer. Is distsim serve still running?", line: 0, status: 0 });

const asked = async (path, body, signal) => {
  const how = body ? { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) } : {};
  let response;
  try {
    response = await fetch(path, { ...how, signal });
  } catch (error) {
    throw error.name === "AbortError" ? error : unreachable();
  }
  if (response.ok) return response;
  let problem;
  try {
    problem = (await response.json()).error;
  } catch {
    throw unreachable();
  }
  throw new Refused(problem);
};

export const get = async (path) => (await asked(path)).json();

export const post = async (path, body, signal) => (await asked(path, body, signal)).json();

// Calls `on` with name and data of each event until the last; a failure on the way is thrown.
export const stream = async (path, body, signal, on) => {
  const response = await asked(path, body, signal);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let [name, data, line, ended] = ["", "", [], false];
  const take = (text) => {
    if (text.startsWith("event: ")) name = text.slice(7);
    else if (text.startsWith("data: ")) data = text.slice(6);
    else if (name === "done") ended = true;
    else if (name === "error") throw new Refused(JSON.parse(data));
    else on(name, JSON.parse(data));
  };
  try {
    while (!ended) {
      const { done, value } = await reader.read();
      if (done) throw unreachable();
      const pieces = value.split("\n");
      // A line comes in as many pieces as its bytes did.
      for (const piece of pieces.slice(0, -1)) {
        take([...line, piece].join(""));
        line = [];
      }
      line.push(pieces[pieces.length - 1]);
    }
  } catch (error) {
    throw error instanceof TypeError && !signal.aborted ? unreachable() : error;
  } finally {
    reader.cancel().catch(() => {});
  }
};
