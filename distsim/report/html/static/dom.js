// What draws each kind of section.
const views = {};

// Elements are made by name and filled with text, never with markup: whatever a name holds, it stays
// a name.
const make = (() => {
  const filled = (node, attributes, children) => {
    for (const [key, value] of Object.entries(attributes || {})) {
      if (value === null || value === undefined || value === false) continue;
      if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
      else if (key === "style") for (const [name, v] of Object.entries(value)) node.style.setProperty(name, v);
      else node.setAttribute(key, value === true ? "" : value);
    }
    for (const child of children.flat(2)) {
      if (child !== null && child !== undefined) node.append(child);
    }
    return node;
  };
  const html = (tag, attributes, ...children) => filled(document.createElement(tag), attributes, children);
  const svg = (tag, attributes, ...children) =>
    filled(document.createElementNS("http://www.w3.org/2000/svg", tag), attributes, children);
  const button = (text, label, onclick) => html("button", { type: "button", "aria-label": label, title: label, onclick }, text);
  let number = 0;
  const id = (prefix) => `${prefix}-${(number += 1)}`;
  return { html, svg, button, id };
})();

// Draws again when the place of a drawing changes its width, the theme changes, or the page is printed.
const redraws = new Map();
// Width of a drawing on paper: an A4 page without its margins.
const PAPER = 680;
let printing = false;
const onLayout = (host, draw) => {
  let width = -1;
  const again = () => draw(printing ? PAPER : Math.max(host.clientWidth, 200));
  new ResizeObserver(() => {
    if (printing || host.clientWidth === width) return;
    width = host.clientWidth;
    again();
  }).observe(host);
  redraws.set(host, again);
};
// Lets go of the drawings inside of a part of the page that is taken away.
const forget = (part) => {
  for (const host of redraws.keys()) if (part.contains(host)) redraws.delete(host);
};

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Marks that differ in shape as well as in colour.
const shapes = [
  (x, y, r) => `M${x - r},${y}a${r},${r} 0 1,0 ${2 * r},0a${r},${r} 0 1,0 ${-2 * r},0z`,
  (x, y, r) => `M${x - r * 0.9},${y - r * 0.9}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`,
  (x, y, r) => `M${x},${y - 1.25 * r}l${1.25 * r},${1.25 * r}l${-1.25 * r},${1.25 * r}l${-1.25 * r},${-1.25 * r}z`,
  (x, y, r) => `M${x},${y - 1.2 * r}l${1.15 * r},${2 * r}h${-2.3 * r}z`,
  (x, y, r) => `M${x},${y + 1.2 * r}l${1.15 * r},${-2 * r}h${-2.3 * r}z`,
  (x, y, r) => `M${x - r},${y - 0.35 * r}h${0.65 * r}v${-0.65 * r}h${0.7 * r}v${0.65 * r}h${0.65 * r}v${0.7 * r}h${-0.65 * r}v${0.65 * r}h${-0.7 * r}v${-0.65 * r}h${-0.65 * r}z`,
];
const TONES = 7;
const toneOf = (at, tone) => (tone === -1 ? "tg" : `t${(tone === null || tone === undefined ? at : tone) % TONES}`);
const shapeOf = (at) => shapes[(at + Math.floor(at / TONES)) % shapes.length];
