// The page's side of the worker: each question is a promise.

/** Someone pressed Cancel: nothing went wrong. */
export class Cancelled extends Error {}

export class Client {
  /** onLoaded: (path, bytes) is told about each part of a file that has arrived. */
  constructor(onLoaded) {
    this.worker = new Worker(new URL("worker.js", import.meta.url), { type: "module" });
    this.waiting = new Map();
    this.count = 0;
    this.worker.onmessage = ({ data }) => (data.type === "loaded" ? onLoaded(data.path, data.bytes) : this.hear(data));
    this.worker.onerror = (event) => {
      for (const { reject } of this.waiting.values()) reject(new Error(event.message || "the model's thread ended"));
      this.waiting.clear();
    };
  }

  hear({ id, type, ...content }) {
    const { resolve, reject, onStep } = this.waiting.get(id) ?? {};
    if (!resolve) return;
    if (type === "step") return onStep?.(content);
    this.waiting.delete(id);
    if (type === "done") resolve(content);
    else reject(content.message === "cancelled" ? new Cancelled("cancelled") : new Error(content.message));
  }

  /** Ask for one of the things that the worker can do. signal: an AbortSignal. */
  ask(type, content = {}, { onStep, signal } = {}) {
    const id = ++this.count;
    return new Promise((resolve, reject) => {
      this.waiting.set(id, { resolve, reject, onStep });
      signal?.addEventListener("abort", () => this.worker.postMessage({ id, type: "cancel" }), { once: true });
      this.worker.postMessage({ id, type, ...content });
    });
  }

  draw = (content, options) => this.ask("draw", content, options);
}
