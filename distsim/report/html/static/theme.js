// Light or dark: as the system says, until the reader chooses. Storage may be forbidden for files.
const theme = (() => {
  const key = "distsim-theme";
  const root = document.documentElement;
  const stored = () => {
    try {
      return localStorage.getItem(key);
    } catch {
      return null;
    }
  };
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const now = () => root.dataset.theme || (dark.matches ? "dark" : "light");
  const redraw = () => redraws.forEach((draw) => draw());
  const set = (name) => {
    root.dataset.theme = name;
    redraw();
  };
  const before = stored();
  if (before === "light" || before === "dark") root.dataset.theme = before;
  dark.addEventListener("change", redraw);
  let screen;
  addEventListener("beforeprint", () => {
    screen = root.dataset.theme;
    printing = true;
    set("light");
  });
  addEventListener("afterprint", () => {
    printing = false;
    if (screen) set(screen);
    else {
      delete root.dataset.theme;
      redraw();
    }
  });
  const text = () => (now() === "dark" ? "Light" : "Dark");
  const switcher = () => {
    const button = make.button(text(), "Switch between light and dark", () => {
      set(now() === "dark" ? "light" : "dark");
      button.textContent = text();
      try {
        localStorage.setItem(key, now());
      } catch {
        // Then it is not remembered.
      }
    });
    button.id = "theme";
    button.removeAttribute("aria-label");
    return button;
  };
  return { switcher };
})();
