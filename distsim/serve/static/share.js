// Links that carry what the page shows: deflated JSON in base64, in the fragment, which no server sees.
const MARK = "#s=";
const MOST = 1_000_000;

const through = async (bytes, stream, most) => {
  const reader = new Blob([bytes]).stream().pipeThrough(stream).getReader();
  const parts = [];
  let size = 0;
  for (;;) {
    const { done, value } = await reader.read();
    if (done) break;
    size += value.length;
    if (size > most) {
      await reader.cancel();
      throw new Error("the link holds too much");
    }
    parts.push(value);
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
};

export const encode = async (state) => {
  const packed = await through(new TextEncoder().encode(JSON.stringify(state)), new CompressionStream("deflate-raw"), MOST);
  let text = "";
  for (const byte of packed) text += String.fromCharCode(byte);
  return MARK + btoa(text).replaceAll("+", "-").replaceAll("/", "_").replace(/=+$/, "");
};

const side = (given) =>
  given && typeof given === "object" && typeof given.scenario === "string"
    ? { scenario: given.scenario, base: typeof given.base === "string" ? given.base : "" }
    : null;

const texts = (given) => (Array.isArray(given) ? given.filter((t) => typeof t === "string").slice(0, 64) : []);

// Returns what a fragment carries, null where it carries nothing, and throws where it is broken.
export const decode = async (fragment) => {
  if (!fragment.startsWith(MARK)) return null;
  const text = atob(fragment.slice(MARK.length).replaceAll("-", "+").replaceAll("_", "/"));
  const bytes = Uint8Array.from(text, (letter) => letter.charCodeAt(0));
  const found = JSON.parse(new TextDecoder().decode(await through(bytes, new DecompressionStream("deflate-raw"), MOST)));
  const a = side(found.a);
  if (!a) throw new Error("the link holds no scenario");
  const sweep = found.sweep && typeof found.sweep === "object" ? found.sweep : {};
  return {
    a,
    b: side(found.b),
    tab: ["predict", "compare", "sweep"].includes(found.tab) ? found.tab : "predict",
    sweep: { devices: typeof sweep.devices === "string" ? sweep.devices : "", vary: texts(sweep.vary), weak: sweep.weak === true },
  };
};
