// Search in pages that are opened from the disk. Browsers allow no Worker there, so the worker's
// script runs in a hidden frame. Its name tells the theme not to load such a script from elsewhere.
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      const frame = document.createElement("iframe")
      frame.hidden = true
      document.body.append(frame)
      const inner = frame.contentWindow
      const load = source => new Promise((done, failed) => {
        const script = inner.document.createElement("script")
        Object.assign(script, { src: source, onload: done, onerror: failed })
        inner.document.body.append(script)
      })
      inner.importScripts = (...sources) => Promise.all(sources.map(load))
      inner.postMessage = data => this.dispatchEvent(new MessageEvent("message", { data }))
      this.ready = load(url)
      this.postMessage = data =>
        this.ready.then(() => inner.dispatchEvent(new inner.MessageEvent("message", { data })))
    }
    set onmessage(handler) { this.addEventListener("message", handler) }
    set onerror(handler) { this.addEventListener("error", handler) }
  }
}
