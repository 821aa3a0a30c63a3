// What happened to one device, newest first, by days, with a band that shows when it was awake.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life } from "../dom.js";
import { noteError } from "../dialog.js";
import { clockTime, duration, eventWords, shown, when } from "../format.js";
import { currentLanguage, t } from "../i18n.js";
import * as store from "../store.js";
import { KINDS } from "./events.js";

const PAGE = 100;
const QUIET = ["value", "send"];

export class TimelinePanel {
  #life = new Life();
  #name;
  #events = []; // newest first
  #next = null;
  #kind = "";
  #body = h("div", { class: "panel-body padded timeline" }, h("div", { class: "empty" }, h("span", { class: "spinner large" })));
  #more = button(t("timeline.earlier"), () => this.#earlier(), { icon: "down" });

  constructor(name, { close }) {
    this.#name = name;
    const kinds = h("select", { class: "input", "aria-label": t("events.kind"), onchange: (event) => {
      this.#kind = event.target.value;
      this.#draw();
    } }, h("option", { value: "" }, t("events.all")), h("option", { value: "quiet" }, t("timeline.withoutvalues")), Object.keys(KINDS).map((kind) => h("option", { value: kind }, t(`event.${kind}`))));
    this.element = h("section", { class: "panel", "aria-label": t("device.journal") },
      h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, iconButton("left", t("back"), close, { class: "phone-only" }), h("div", { class: "panel-names" }, h("span", { class: "panel-device" }, name), h("h2", {}, t("device.journal"))), iconButton("close", t("close.panel"), close, { class: "wide-only" })), h("div", { class: "panel-tools" }, kinds)),
      this.#body);
    store.on("events", () => this.#arrived(), this.#life);
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      this.#take(await api.timeline(this.#name, undefined, PAGE));
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      fill(this.#body, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.#load(), { icon: "refresh" })));
    }
  }

  async #earlier() {
    try {
      this.#take(await api.timeline(this.#name, this.#next, PAGE));
    } catch (error) {
      noteError(error);
    }
  }

  #take(page) {
    if (this.#life.ended) return;
    const oldest = this.#events.at(-1)?.seq ?? Infinity;
    this.#events.push(...page.events.filter((event) => event.seq < oldest));
    this.#next = page.next;
    this.#arrived();
    this.#draw();
  }

  #arrived() {
    const newest = this.#events[0]?.seq ?? -1;
    const fresh = store.state.events.filter((event) => event.seq > newest && event.endpoint_name === this.#name);
    if (!fresh.length) return;
    this.#events.unshift(...fresh);
    this.#draw();
  }

  #draw() {
    const chosen = this.#events.filter((event) => !this.#kind || (this.#kind === "quiet" ? !QUIET.includes(event.kind) : event.kind === this.#kind));
    const days = [];
    const dayName = new Intl.DateTimeFormat(currentLanguage() === "xx" ? "en" : currentLanguage(), { dateStyle: "full" });
    for (const event of chosen) {
      const name = dayName.format(Date.parse(event.at));
      if (days.at(-1)?.name !== name) days.push({ name, events: [] });
      days.at(-1).events.push(event);
    }
    fill(this.#body, this.#band(),
      days.map(({ name, events }) => h("section", { class: "timeline-day" }, h("h3", {}, name), h("ol", { class: "timeline-list" }, events.map(line)))),
      chosen.length ? null : h("div", { class: "empty small" }, icon("clock", "icon hero"), h("p", {}, t("events.none"))),
      this.#next === null ? null : h("div", { class: "list-foot" }, this.#more));
  }

  /** Awake and asleep from the oldest of these events to now: each visit of a sleeper is a bar. */
  #band() {
    const turns = this.#events.filter((event) => event.kind === "awake" || event.kind === "asleep").reverse();
    if (turns.length < 2) return null;
    const from = Date.parse(turns[0].at);
    const to = Math.max(api.gatewayNow(), Date.parse(turns.at(-1).at));
    const place = (time) => `${((100 * (time - from)) / Math.max(1, to - from)).toFixed(2)}%`;
    const bars = [];
    turns.forEach((turn, index) => {
      if (turn.kind !== "awake") return;
      const end = turns[index + 1] ? Date.parse(turns[index + 1].at) : to;
      const start = Date.parse(turn.at);
      bars.push(h("span", { class: "awake-bar", title: `${when(turn.at)} – ${clockTime(new Date(end).toISOString())}`, style: { insetInlineStart: place(start), inlineSize: `max(3px, ${((100 * (end - start)) / Math.max(1, to - from)).toFixed(2)}%)` } }));
    });
    const visits = bars.length;
    return h("figure", { class: "awake-band" }, h("figcaption", {}, t("timeline.visits", { n: visits, time: duration(Math.round((to - from) / 1000)) })), h("div", { class: "awake-track", "aria-hidden": "true" }, bars),
      h("div", { class: "awake-scale", "aria-hidden": "true" }, h("span", {}, when(turns[0].at)), h("span", {}, t("age.now"))));
  }
}

function line(event) {
  const bad = ["refused", "expired"].includes(event.kind) || event.ok === false || ["failed", "expired", "unknown"].includes(event.state);
  return h("li", { class: `timeline-row kind-${event.kind} ${bad ? "bad" : ""}` },
    h("span", { class: "timeline-mark" }, icon(KINDS[event.kind] ?? "info")),
    h("div", { class: "grow" }, h("div", { class: "timeline-head" }, h("strong", {}, t(`event.${event.kind}`)), h("time", { class: "event-time", datetime: event.at, title: when(event.at) }, clockTime(event.at))), h("p", { class: "timeline-words" }, sentence(event))));
}

function sentence(event) {
  const [first, ...others] = event.values ?? [];
  if (first) {
    const { text, unit } = shown(first);
    return `${first.name ? `${first.name} ` : ""}${first.path} = ${text}${unit ? ` ${unit}` : ""}${others.length ? ` ${t("event.more", { n: others.length })}` : ""}`;
  }
  const what = event.operation ? `${t(`operation.${event.operation}`)} ${event.path ?? ""}${event.kind === "task" ? `: ${t(`task.${event.state}`)}` : ""}` : event.path ?? "";
  const told = eventWords(event) || (event.reason ?? "");
  return (told.includes(what) && what ? told : [what, told].filter(Boolean).join(" – ")) || t(`event.${event.kind}.words`);
}
