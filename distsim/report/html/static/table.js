// Tables that can be sorted by any column and filtered by words or by the values of a column, unless
// they are plain.
const MOST_ROWS = 100;

views.table = (section, host) => drawTable(host, section);

const drawTable = (host, { title, columns, rows, sort, chosen, plain }) => {
  const writers = columns.map((c) => format.writer(c.unit));
  const text = (row, at) => (row[at] === null || row[at] === undefined ? "" : typeof row[at] === "number" ? writers[at](row[at]) : typeof row[at] === "boolean" ? (row[at] ? "yes" : "no") : String(row[at]));
  const words = rows.map((row) => columns.map((_, at) => text(row, at)));
  let by = sort === undefined || sort === null ? null : sort < 0 ? -sort - 1 : sort;
  let falling = sort !== undefined && sort !== null && sort < 0;
  let limit = MOST_ROWS;
  const picks = new Map();
  let query = "";
  const body = make.html("tbody");
  const more = make.html("button", { type: "button", class: "more", onclick: () => { limit = Infinity; fill(); } });
  const count = make.html("p", { class: "count", "aria-live": "polite" });
  const heads = columns.map((c, at) => {
    const button = make.html("button", { type: "button", onclick: () => { falling = by === at ? !falling : Boolean(c.number); by = at; fill(); } }, c.label);
    return make.html("th", { scope: "col", class: c.number ? "number" : null }, button);
  });
  const classes = columns.map((c, at) => (c.number ? "number" : words.some((w) => w[at].length > 40) ? "words" : null));
  const compare = (a, b) => {
    const [x, y] = [rows[a][by], rows[b][by]];
    if (x === y) return a - b;
    if (x === null || x === undefined) return 1;
    if (y === null || y === undefined) return -1;
    const order = typeof x === "number" && typeof y === "number" ? x - y : String(x).localeCompare(String(y), "en", { numeric: true });
    return falling ? -order : order;
  };
  const fill = () => {
    let found = rows.map((_, at) => at).filter((at) => {
      if (query && !words[at].some((w) => w.toLowerCase().includes(query))) return false;
      return [...picks].every(([column, value]) => words[at][column] === value);
    });
    if (by !== null) found.sort(compare);
    const total = found.length;
    found = found.slice(0, limit);
    body.replaceChildren(...found.map((at) => {
      const cells = columns.map((c, n) => make.html(n ? "td" : "th", { class: classes[n], scope: n ? null : "row" }, words[at][n] || "\u2013"));
      return make.html("tr", { class: chosen && chosen.includes(at) ? "chosen" : null }, cells);
    }));
    heads.forEach((h, at) => (by === at ? h.setAttribute("aria-sort", falling ? "descending" : "ascending") : h.removeAttribute("aria-sort")));
    more.hidden = total <= limit;
    more.textContent = `Show all ${format.count(total)} rows`;
    count.textContent = total === rows.length ? `${format.count(total)} rows` : `${format.count(total)} of ${format.count(rows.length)} rows`;
  };
  const controls = filters({ columns, words, onQuery: (q) => { query = q; fill(); }, onPick: (at, value) => { if (value === null) picks.delete(at); else picks.set(at, value); fill(); } });
  if (rows.length > 6 && !plain) host.append(make.html("div", { class: "controls" }, controls, count));
  const grid = make.html("table", null, make.html("caption", { class: "hidden" }, title), make.html("thead", null, make.html("tr", null, heads)), body);
  host.append(make.html("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": title }, grid), more);
  fill();
};

const filters = ({ columns, words, onQuery, onPick }) => {
  const out = [make.html("label", null, "Search ", make.html("input", { type: "search", oninput: (e) => onQuery(e.target.value.trim().toLowerCase()) }))];
  columns.forEach((c, at) => {
    if (!c.filter) return;
    const values = [...new Set(words.map((w) => w[at]))].sort((a, b) => a.localeCompare(b, "en", { numeric: true }));
    if (values.length < 2 || values.length > 60) return;
    const options = [make.html("option", { value: "-1" }, "all"), ...values.map((v, n) => make.html("option", { value: n }, v || "\u2013"))];
    const select = make.html("select", { onchange: (e) => onPick(at, e.target.value === "-1" ? null : values[Number(e.target.value)]) }, options);
    out.push(make.html("label", null, `${c.label} `, select));
  });
  return out;
};
