// The scenario as YAML, to be edited, copied and saved.
import { make } from "/static/report.js";

const WAIT_MS = 350;

export const makeEditor = (onText) => {
  let timer = 0;
  const area = make.html("textarea", {
    id: "yaml", rows: 22, spellcheck: "false", autocomplete: "off", autocapitalize: "off", wrap: "off",
    oninput: () => {
      clearTimeout(timer);
      timer = setTimeout(() => onText(area.value), WAIT_MS);
    },
  });
  const show = (text) => {
    if (area.value === text) return;
    clearTimeout(timer);
    const [from, to, top] = [area.selectionStart, area.selectionEnd, area.scrollTop];
    area.value = text;
    if (document.activeElement === area) area.setSelectionRange(from, to);
    area.scrollTop = top;
  };
  // Puts the cursor on a line and selects it.
  const goTo = (line) => {
    const lines = area.value.split("\n");
    const begin = lines.slice(0, line - 1).reduce((sum, l) => sum + l.length + 1, 0);
    area.focus();
    area.setSelectionRange(begin, begin + (lines[line - 1] || "").length);
    area.scrollTop = (area.scrollHeight / lines.length) * Math.max(line - 4, 0);
  };
  return { area, show, goTo };
};

export const save = (text, name) => {
  const file = `${(name || "scenario").replace(/[^\w.-]+/g, "-").slice(0, 80) || "scenario"}.yaml`;
  const link = make.html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/yaml" })), download: file });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};
