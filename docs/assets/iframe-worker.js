// A page that is opened from a file may start no worker, and the search runs in one. Here it runs in
// a hidden frame instead, with the same messages to and fro. Over HTTP the browser's own is left alone.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super();
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "search";
      (document.body || document.documentElement).append(frame);
      const inside = frame.contentWindow;
      const tell = (data) => this.dispatchEvent(new MessageEvent("message", { data }));
      inside.postMessage = tell;
      // Only languages other than English would load more.
      inside.importScripts = () => {};
      this.inside = inside;
      this.ready = new Promise((resolve) => {
        const script = inside.document.createElement("script");
        script.src = new URL(url, location.href).href;
        script.onload = resolve;
        inside.document.documentElement.append(script);
      });
    }

    async postMessage(data) {
      await this.ready;
      this.inside.dispatchEvent(new MessageEvent("message", { data }));
    }
  };
}
