"""What a page in a browser may not do, at any width: scripts that return what is wrong."""

from __future__ import annotations

#: Elements that hold text and stick out of the page, or whose text is wider than they are.
CUT = """() => {
  const out = [];
  const wide = document.documentElement.clientWidth;
  const free = '.scroll, pre, .hidden, svg, option, script, style';
  for (const e of document.querySelectorAll('body *')) {
    if (e.closest(free) || !e.getClientRects().length) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.textContent.trim())) continue;
    const box = e.getBoundingClientRect();
    const said = e.outerHTML.slice(0, 90);
    if (box.left < -0.5 || box.right > wide + 0.5) out.push('sticks out: ' + said);
    const inline = getComputedStyle(e).display === 'inline';
    if (!inline && e.scrollWidth > e.clientWidth + 1) out.push('cut: ' + said);
  }
  return out;
}"""

#: Whether two boxes share more than an edge.
MEET = """const meet = (a, b, x, y) =>
  a.left + x < b.right && b.left + x < a.right && a.top + y < b.bottom && b.top + y < a.bottom;"""

#: Words of a drawing that stick out of it, and labels of an axis that lie on one another.
DRAWN = (
    f"() => {{{MEET}"
    + """
  const out = [];
  for (const svg of document.querySelectorAll('.chart svg')) {
    const f = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map((t) => [t, t.getBoundingClientRect()]);
    for (const [t, b] of boxes) {
      const inside = b.left > f.left - 1 && b.right < f.right + 1 && b.bottom < f.bottom + 1;
      if (!inside || b.top < f.top - 1) out.push('out: ' + t.textContent);
    }
    const ticks = boxes.filter(([t]) => t.classList.contains('tick'));
    const said = ticks.map(([t]) => t.getAttribute('text-anchor') + t.textContent);
    if (new Set(said).size < said.length) out.push('twice: ' + said);
    ticks.forEach(([t, a], i) => ticks.slice(i + 1).forEach(([u, b]) => {
      if (meet(a, b, 0, 3)) out.push(`on one another: ${t.textContent} / ${u.textContent}`);
    }));
  }
  return out;
}"""
)

#: Parts of the page that overlap although they follow one another.
OVERLAPS = (
    f"(groups) => {{{MEET}"
    + """
  const out = [];
  for (const group of groups) {
    const boxes = [...document.querySelectorAll(group)]
      .filter((e) => e.getClientRects().length && !e.matches('.hidden'))
      .map((e) => [e, e.getBoundingClientRect()]);
    boxes.forEach(([e, a], i) => boxes.slice(i + 1).forEach(([f, b]) => {
      if (e.parentNode !== f.parentNode || !meet(a, b, 1, 1)) return;
      out.push(e.outerHTML.slice(0, 60) + ' / ' + f.outerHTML.slice(0, 60));
    }));
  }
  return out;
}"""
)

#: Parts that follow one another on every page.
GROUPS = [
    *("main > *", "section > *", ".view > *", ".controls > *", ".numbers > div", "header > *"),
    ".legend > li",
]
