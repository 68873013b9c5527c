// What the page is about: two scenarios, which of them is edited, and what is shown of them.
export const makeState = () => ({
  sides: { a: { scenario: "", base: "" }, b: null },
  active: "a",
  tab: "predict",
  sweep: { devices: "", vary: [], weak: false },
});

export const sideOf = (state) => state.sides[state.active];

// What a link carries.
export const carried = (state) => {
  const { a, b } = state.sides;
  const out = { a };
  if (b) out.b = b;
  if (state.tab !== "predict") out.tab = state.tab;
  const { devices, vary, weak } = state.sweep;
  if (devices || vary.length) out.sweep = { devices, vary, weak };
  return out;
};

// The body of a request for a side.
export const asked = (side, set = []) => ({
  scenario: side.scenario,
  ...(side.base ? { base: side.base } : {}),
  ...(set.length ? { set } : {}),
});
