// The live channel: server-sent events read through fetch, so that keep-alives count as life and the id of the
// last event goes with every attempt. When the stream cannot be had, the journal is polled.

import * as api from "./api.js";

const SILENCE_MS = 16_000; // keep-alives come every 10 s
const STALE_MS = 10_000;
const POLL_MS = 5_000;
const FIRST_RETRY_MS = 500;
const LONGEST_RETRY_MS = 15_000;

/** Events out of the text of a stream, in whatever pieces it arrives (HTML Standard §9.2.6). */
export class EventText {
  #rest = "";
  #data = [];
  #kind = "";
  lastId = null;

  feed(text) {
    const found = [];
    const lines = (this.#rest + text).split(/\r\n|\n|\r/);
    this.#rest = lines.pop();
    for (const line of lines) {
      if (line === "") {
        if (this.#data.length) found.push({ id: this.lastId, kind: this.#kind, data: this.#data.join("\n") });
        this.#data = [];
        this.#kind = "";
        continue;
      }
      if (line.startsWith(":")) continue;
      const colon = line.indexOf(":");
      const field = colon < 0 ? line : line.slice(0, colon);
      const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
      if (field === "data") this.#data.push(value);
      else if (field === "event") this.#kind = value;
      else if (field === "id") this.lastId = value;
    }
    return found;
  }
}

/** States told to `onState`: "live", "polling", "waiting" (cut, less than 10 s) and "stale". */
export class Stream {
  #lastSeq;
  #onEvent;
  #onState;
  #state = "waiting";
  #cutAt = performance.now();
  #heardAt = 0;
  #failures = 0;
  #abort = null;
  #closed = false;
  #retry = null;
  #watch;
  #wake;
  // A page that is kept for "back" would hold one of the gateway's streams and of the browser's six connections.
  #leave = () => this.#abort?.abort();

  constructor(after, onEvent, onState) {
    this.#lastSeq = after;
    this.#onEvent = onEvent;
    this.#onState = onState;
    this.#watch = setInterval(() => this.#check(), 1000);
    this.#wake = () => this.#hurry();
    addEventListener("online", this.#wake);
    addEventListener("pagehide", this.#leave);
    addEventListener("pageshow", this.#wake);
    document.addEventListener("visibilitychange", this.#wake);
    this.#run();
  }

  close() {
    this.#closed = true;
    clearInterval(this.#watch);
    clearTimeout(this.#retry?.timer);
    this.#abort?.abort();
    removeEventListener("online", this.#wake);
    removeEventListener("pagehide", this.#leave);
    removeEventListener("pageshow", this.#wake);
    document.removeEventListener("visibilitychange", this.#wake);
  }

  async #run() {
    while (!this.#closed) {
      const refused = await this.#read();
      if (this.#closed) return;
      if (this.#state === "live") {
        this.#cutAt = performance.now();
        this.#tell("waiting");
      }
      this.#failures += 1;
      if (refused || this.#failures >= 3) await this.#poll();
      if (this.#closed) return;
      const wait = this.#state === "polling" ? POLL_MS : Math.min(LONGEST_RETRY_MS, FIRST_RETRY_MS * 2 ** (this.#failures - 1));
      await this.#pause(wait);
    }
  }

  /** Read until the stream ends. True when the gateway answered and refused. */
  async #read() {
    this.#abort = new AbortController();
    this.#heardAt = performance.now();
    try {
      const headers = { Accept: "text/event-stream" };
      if (this.#lastSeq !== null) headers["Last-Event-ID"] = String(this.#lastSeq);
      const response = await fetch(api.streamAddress(this.#lastSeq), { headers, cache: "no-store", credentials: "same-origin", signal: this.#abort.signal });
      if (!response.ok || !response.body) return true;
      this.#failures = 0;
      this.#heardAt = performance.now();
      this.#tell("live");
      const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
      const text = new EventText();
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return false;
        this.#heardAt = performance.now();
        for (const event of text.feed(value)) this.#take(JSON.parse(event.data));
      }
    } catch {
      return false; // cut, aborted or garbled: the next attempt asks from the last event taken
    }
  }

  async #poll() {
    try {
      for (;;) {
        const { events } = await api.events(this.#lastSeq ?? undefined, 500);
        for (const event of events) this.#take(event);
        if (events.length < 500) break;
      }
      this.#cutAt = performance.now();
      this.#tell("polling");
    } catch {
      if (this.#state === "polling") this.#tell("waiting");
    }
  }

  #take(event) {
    if (event.kind === "ready" || event.kind === "reset") {
      // Not of the journal: where the stream begins, or that events were missed.
      this.#lastSeq = event.seq;
      if (event.kind === "reset") this.#onEvent(event);
      return;
    }
    if (this.#lastSeq !== null && event.seq <= this.#lastSeq) return; // told before the cut
    this.#lastSeq = event.seq;
    this.#onEvent(event);
  }

  #check() {
    const now = performance.now();
    if (this.#state === "live" && now - this.#heardAt > SILENCE_MS) this.#abort?.abort();
    if (this.#state === "waiting" && now - this.#cutAt > STALE_MS) this.#tell("stale");
  }

  #pause(milliseconds) {
    return new Promise((resolve) => {
      this.#retry = { resolve, timer: setTimeout(resolve, milliseconds) };
    });
  }

  #hurry() {
    if (document.visibilityState === "hidden" || !this.#retry) return;
    clearTimeout(this.#retry.timer);
    this.#retry.resolve();
  }

  #tell(state) {
    if (state === this.#state) return;
    this.#state = state;
    this.#onState(state);
  }
}
