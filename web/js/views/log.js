// The protocol log, live: every CoAP message as it came and went, its payload in words beside its bytes.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life, setText, uniqueId } from "../dom.js";
import { count, precise, when } from "../format.js";
import { t } from "../i18n.js";
import { copyText } from "../operate.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { EventText } from "../stream.js";
import { VirtualList } from "../virtual.js";

const FIRST = 300;
const KEPT = 3000;
const RETRY_MS = 2000;
const NARROW = 700;
const ROW = 36;
const NARROW_ROW = 62;

export class LogPage {
  #life = new Life();
  #filters;
  #entries = []; // newest first
  #held = null; // what is shown while paused
  #chosen = null;
  #abort = new AbortController();
  #turn = 0;
  #scroller = h("div", { class: "log-scroller", role: "list", "aria-label": t("nav.log") });
  #list;
  #empty = h("div", { class: "empty" }, h("span", { class: "spinner large" }));
  #detail = h("section", { class: "log-detail", "aria-label": t("log.message") });
  #summary = h("p", { class: "summary", role: "status" }, t("loading"));
  #pause;
  #downloads = {};
  #timer = 0;

  constructor(route) {
    this.#filters = { endpoint_name: route.query?.get("endpoint_name") ?? "", direction: "", bearer: "", code: "", path: "", text: "" };
    this.#list = new VirtualList(this.#scroller, {
      rowHeight: (width) => (width < NARROW ? NARROW_ROW : ROW),
      key: (entry) => String(entry.seq),
      make: (entry) => this.#make(entry),
      update: (element, entry) => element.setAttribute("aria-current", String(this.#chosen?.seq === entry.seq)),
      open: (entry) => this.#choose(entry),
    }, this.#life);
    this.#pause = button(t("events.pause"), () => this.#setPaused(!this.#held), { icon: "pause", "aria-pressed": "false" });
    const download = (path, key) => (this.#downloads[path] = h("a", { class: "button", download: "" }, icon("download"), h("span", {}, t(key))));
    this.element = h("div", { class: "page log" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.log")), this.#summary), h("div", { class: "tools" }, this.#pause, download("/log.txt", "log.txt"), download("/log.pcap", "log.pcap"))),
      this.#filterForm(),
      h("div", { class: "log-body" }, h("div", { class: "card-body" }, this.#scroller, this.#empty), this.#detail));
    this.#showDetail();
    this.#life.add(() => {
      this.#abort.abort();
      clearTimeout(this.#timer);
    });
    this.#start();
  }

  show(route) {
    const name = route.query?.get("endpoint_name") ?? "";
    if (name === this.#filters.endpoint_name) return true;
    return false;
  }

  end() {
    this.#life.end();
  }

  #filterForm() {
    const names = uniqueId("names");
    const change = (name, value) => {
      this.#filters[name] = value.trim();
      clearTimeout(this.#timer);
      this.#timer = setTimeout(() => this.#start(), 300);
    };
    const box = (name, attributes = {}) => h("label", { class: "filter" }, h("span", {}, t(`log.${name}`)), h("input", { class: "input", value: this.#filters[name], autocomplete: "off", autocapitalize: "none", spellcheck: "false", ...attributes, oninput: (event) => change(name, event.target.value) }));
    const choice = (name, values) => h("label", { class: "filter" }, h("span", {}, t(`log.${name}`)), h("select", { class: "input", onchange: (event) => change(name, event.target.value) }, values.map((one) => h("option", { value: one }, one === "" ? t("log.any") : name === "direction" ? t(`log.${one}`) : one))));
    const wide = matchMedia("(width > 720px)").matches;
    return h("details", { class: "log-filters", open: wide }, h("summary", {}, icon("sliders"), t("log.filters")),
      h("div", { class: "filter-grid" },
        box("endpoint_name", { list: names }), h("datalist", { id: names }, [...store.state.devices.keys()].slice(0, 500).map((one) => h("option", { value: one }))),
        choice("direction", ["", "in", "out"]), choice("bearer", ["", "UDP", "TCP"]), box("code", { placeholder: "2.05" }), box("path", { placeholder: "/3303/0", pattern: "(/[^/]+)*/?" }), box("text", { type: "search" })));
  }

  /** From the newest on, with the filters of now. */
  async #start() {
    this.#abort.abort();
    this.#abort = new AbortController();
    const { signal } = this.#abort;
    this.#turn += 1;
    const turn = this.#turn;
    const filters = { ...this.#filters };
    if (filters.path && !filters.path.startsWith("/")) filters.path = `/${filters.path}`;
    for (const [path, link] of Object.entries(this.#downloads)) link.href = api.logAddress(path, filters);
    let next = null;
    while (!this.#life.ended && turn === this.#turn) {
      try {
        if (next === null) {
          const page = await api.log({ ...filters, limit: FIRST });
          if (turn !== this.#turn || this.#life.ended) return;
          this.#entries = page.entries.reverse();
          next = page.next;
          this.#draw();
        }
        next = await this.#follow(next, filters, signal);
      } catch (error) {
        if (signal.aborted || this.#life.ended) return;
        if (error instanceof api.ApiError && error.status) {
          const { message, nextStep } = store.describe(error);
          this.#scroller.hidden = true;
          this.#empty.hidden = false;
          setText(this.#summary, "");
          fill(this.#empty, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.#start(), { icon: "refresh" }));
          return;
        }
        setText(this.#summary, t("link.waiting"));
      }
      await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
    }
  }

  /** Read the live log until it is cut; gives where to go on. */
  async #follow(after, filters, signal) {
    let next = after;
    const response = await fetch(api.logAddress("/log/stream", { ...filters, after }), { headers: { Accept: "text/event-stream" }, cache: "no-store", credentials: "same-origin", signal });
    if (!response.ok || !response.body) throw new Error(t("error.status", { status: response.status }));
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    const text = new EventText();
    this.#say();
    try {
      for (;;) {
        const { done, value } = await reader.read();
        if (done) return next;
        const fresh = [];
        for (const event of text.feed(value)) {
          const entry = JSON.parse(event.data);
          next = entry.seq;
          if (event.kind === "entry") fresh.push(entry);
          else if (event.kind === "reset") fresh.push({ ...GAP, seq: entry.seq, at: new Date(api.gatewayNow()).toISOString(), summary: t("log.gap") });
        }
        if (fresh.length) this.#take(fresh);
      }
    } catch (error) {
      if (signal.aborted) throw error;
      return next; // cut: the next attempt goes on after the last message taken
    }
  }

  #take(fresh) {
    this.#entries = [...fresh.reverse(), ...this.#entries].slice(0, KEPT);
    if (this.#held) {
      this.#say();
      return;
    }
    // What somebody reads must not run away from under his eyes.
    const { scrollTop, clientWidth } = this.#scroller;
    this.#draw();
    if (scrollTop > 4) this.#scroller.scrollTop = scrollTop + fresh.length * (clientWidth < NARROW ? NARROW_ROW : ROW);
  }

  #draw() {
    const shown = this.#held ?? this.#entries;
    this.#scroller.hidden = shown.length === 0;
    this.#empty.hidden = shown.length > 0;
    if (!shown.length) fill(this.#empty, icon("log", "icon hero"), h("h2", {}, t("log.none")), h("p", {}, t(Object.values(this.#filters).some(Boolean) ? "log.none.filtered" : "log.none.hint")));
    this.#list.items = shown;
    this.#say();
  }

  #say() {
    const missed = this.#held ? this.#entries.findIndex((entry) => entry.seq === this.#held[0]?.seq) : 0;
    setText(this.#summary, this.#held ? t("log.paused", { n: missed < 0 ? this.#entries.length : missed }) : t("log.summary", { n: this.#entries.length, count: count(this.#entries.length) }));
  }

  #setPaused(paused) {
    this.#held = paused ? this.#entries : null;
    this.#pause.setAttribute("aria-pressed", String(paused));
    fill(this.#pause, icon(paused ? "play" : "pause"), h("span", {}, t(paused ? "events.resume" : "events.pause")));
    this.#draw();
  }

  #make(entry) {
    const inward = entry.direction === "in";
    return h("div", { class: `log-row ${entry.direction} ${bad(entry) ? "bad" : ""}`, role: "listitem", onclick: () => this.#choose(entry) },
      h("time", { class: "event-time", datetime: entry.at, title: when(entry.at) }, precise(entry.at)),
      h("span", { class: "log-direction", title: t(`log.${entry.direction}`) }, icon(inward ? "down" : "up"), h("span", { class: "visually-hidden" }, t(`log.${entry.direction}`))),
      h("span", { class: "log-device" }, entry.endpoint_name || entry.peer),
      h("span", { class: "log-code" }, [entry.type, entry.code].filter(Boolean).join(" ")),
      h("span", { class: "log-words", title: entry.summary }, entry.summary, entry.payload_text ? h("span", { class: "muted" }, ` · ${entry.payload_text.split("\n")[0]}`) : null));
  }

  #choose(entry) {
    this.#chosen = this.#chosen?.seq === entry.seq ? null : entry;
    this.#list.refresh();
    this.#showDetail();
    if (this.#chosen && innerWidth <= 900) this.#detail.querySelector("button")?.focus();
  }

  #showDetail() {
    const entry = this.#chosen;
    this.element?.classList.toggle("at-entry", Boolean(entry));
    if (!entry) {
      fill(this.#detail, h("div", { class: "empty" }, icon("log", "icon hero"), h("h2", {}, t("log.choose")), h("p", {}, t("log.choose.hint"))));
      return;
    }
    const facts = [
      ["log.at", `${when(entry.at)} (${precise(entry.at)})`], ["log.direction", t(`log.${entry.direction}`)], ["log.bearer", entry.bearer], ["log.peer", h("span", { class: "mono" }, entry.peer)],
      ["log.endpoint_name", entry.endpoint_name ? h("a", { href: deviceHash(entry.endpoint_name) }, entry.endpoint_name) : t("log.unknown")],
      ["log.type", [entry.type, entry.code].filter(Boolean).join(" ")], entry.mid === null ? null : ["log.mid", String(entry.mid)], entry.token ? ["log.token", h("span", { class: "mono" }, entry.token)] : null,
    ].filter(Boolean);
    fill(this.#detail,
      h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, h("h2", {}, entry.summary), iconButton("close", t("close"), () => this.#choose(entry)))),
      h("div", { class: "panel-body padded" },
        h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)])),
        entry.options.length ? [h("h3", {}, t("log.options")), h("ul", { class: "option-list mono" }, entry.options.map((one) => h("li", {}, one)))] : null,
        h("h3", {}, t("log.payload"), h("span", { class: "muted" }, ` · ${t("value.bytes", { n: entry.payload_bytes ?? 0 })}`)),
        payload(entry),
        entry.endpoint_name ? h("div", { class: "panel-foot" }, button(t("log.onlythis"), () => go(`#/log?endpoint_name=${encodeURIComponent(entry.endpoint_name)}`), { icon: "search" }), entry.payload_hex ? button(t("log.copyhex"), () => copyText(entry.payload_hex), { icon: "copy" }) : null) : null));
  }
}

const GAP = { direction: "in", bearer: "", peer: "", endpoint_name: "", type: null, code: "", mid: null, token: "", path: "", options: [], payload_bytes: 0, payload_text: "", payload_hex: "", hidden: false };

const bad = (entry) => /^[45]\./.test(entry.code) || entry.type === "RST";

/** What it says, beside its bytes. */
function payload(entry) {
  if (entry.hidden) return h("p", { class: "state-line" }, icon("lock"), h("span", {}, t("log.hidden")));
  if (!entry.payload_hex) return h("p", { class: "muted" }, t("log.nopayload"));
  return h("div", { class: "payload" },
    entry.payload_text ? h("pre", { class: "code", tabindex: "0", "aria-label": t("log.inwords") }, entry.payload_text) : null,
    h("pre", { class: "code hex", tabindex: "0", "aria-label": t("log.inbytes") }, dump(entry.payload_hex)));
}

function dump(hex) {
  const lines = [];
  for (let at = 0; at < hex.length; at += 16) {
    const pairs = hex.slice(at, at + 16).match(/../g) ?? [];
    const signs = pairs.map((pair) => parseInt(pair, 16)).map((byte) => (byte > 31 && byte < 127 ? String.fromCharCode(byte) : "·")).join("");
    lines.push(`${(at / 2).toString(16).padStart(4, "0")}  ${pairs.join(" ").padEnd(23)}  ${signs}`);
  }
  return lines.join("\n");
}
