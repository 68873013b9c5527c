// A text to copy or to save.
const copyText = async (text, node) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Files may have no clipboard: select the text and copy that.
    const range = document.createRange();
    range.selectNodeContents(node);
    const selection = getSelection();
    selection.removeAllRanges();
    selection.addRange(range);
    return document.execCommand("copy");
  }
};

// What else may be done with a text: functions that return a button for it.
const codeActions = [];

const drawCode = (host, text, file) => {
  const shown = make.html("code", null, text);
  const done = make.html("span", { class: "done", role: "status" });
  const copy = make.html("button", { type: "button", class: "copy", onclick: async () => {
    done.textContent = (await copyText(text, shown)) ? "Copied." : "Selected: press Ctrl+C.";
  } }, "Copy");
  const save = make.html("button", { type: "button", onclick: () => {
    const link = make.html("a", { href: URL.createObjectURL(new Blob([text], { type: "text/yaml" })), download: file });
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  } }, `Save as ${file}`);
  host.append(make.html("div", { class: "controls" }, copy, save, codeActions.map((action) => action(text)), done));
  host.append(make.html("pre", { tabindex: "0", role: "region", "aria-label": file }, shown));
};

views.code = (section, host) => drawCode(host, section.text, section.file);
