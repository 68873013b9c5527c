// Numbers as people read them: four significant digits, and a unit that suits the size.
const format = (() => {
  const digits = (value, n = 4) => {
    if (!Number.isFinite(value)) return String(value);
    const text = Number(value.toPrecision(n));
    const size = Math.abs(text);
    if (size !== 0 && (size >= 1e15 || size < 1e-6)) return text.toExponential();
    return text.toLocaleString("en", { maximumSignificantDigits: n, useGrouping: size >= 1e4 });
  };
  const stepped = (value, steps, suffix, n) => {
    if (value === 0) return `0 ${steps.find(([factor]) => factor === 1)[1]}${suffix}`.trim();
    const size = Math.abs(value);
    let chosen = steps[0];
    for (const step of steps) if (Number(size.toPrecision(n)) >= step[0] * (step[2] || 1)) chosen = step;
    return `${digits(value / chosen[0], n)} ${chosen[1]}${suffix}`.trim();
  };
  const times = [[1e-9, "ns"], [1e-6, "µs"], [1e-3, "ms"], [1, "s"], [60, "min", 2], [3600, "h", 2], [86400, "d", 2]];
  const sizes = [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "G"], [1e12, "T"], [1e15, "P"], [1e18, "E"]];
  const counts = [[1, ""], [1e6, "M"], [1e9, "B"], [1e12, "T"]];
  // Less than a femtosecond is what rounding leaves.
  const seconds = (v, n = 4) => stepped(Math.abs(v) < 1e-15 ? 0 : v, times, "", n);
  const bytes = (v, n = 4) => stepped(v, sizes, "B", n);
  const rate = (unit) => (v, n = 4) => stepped(v, sizes, unit, n);
  const percent = (v, n = 3) => `${digits(100 * v, n)} %`;
  const signed = (v) => `${v > 0 ? "+" : ""}${(100 * v).toFixed(1)} %`;
  const count = (v, n = 4) => (Math.abs(v) < 1e6 ? digits(v, Math.max(n, Number.isInteger(v) ? 6 : n)) : stepped(v, counts, "", n).replace(" ", ""));
  const writers = {
    "": count,
    text: String,
    s: seconds,
    d: (v, n = 4) => `${digits(v, n)} d`,
    B: bytes,
    "B/s": rate("B/s"),
    "FLOP/s": rate("FLOP/s"),
    "%": percent,
    "+%": signed,
    x: (v) => v.toFixed(3),
    year: (v) => String(v),
  };
  const writer = (unit) => {
    if (unit.startsWith("money")) return (v, n = 4) => `${stepped(v, [[1, ""], [1e3, "k"], [1e6, "M"], [1e9, "B"]], "", n).replace(" ", "")} ${unit.slice(6)}`;
    if (unit.startsWith("/s")) return (v, n = 4) => `${count(v, n)} ${unit.slice(3)}/s`;
    return writers[unit] || ((v, n = 4) => `${digits(v, n)} ${unit}`);
  };
  return { digits, seconds, bytes, percent, count, writer };
})();
