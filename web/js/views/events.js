// The journal as people read it: of all devices on its own page, of one device in a panel.

import * as api from "../api.js";
import { button, fill, h, icon, Life, setText } from "../dom.js";
import { clockTime, count, duration, eventWords, shown, when } from "../format.js";
import { t } from "../i18n.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { VirtualList } from "../virtual.js";

export const KINDS = { registered: "plus", updated: "refresh", deregistered: "minus", expired: "clock", value: "eye", operation: "play", observation: "eye", refused: "warning", removed: "trash", send: "upload", asleep: "moonlit", awake: "sun", task: "tasks" };
const LOOK_BACK = 2000; // rows of the journal that are read when a page opens
const KEPT = 500;

/** One line for an event: {before, strong, after}. */
function summary(event) {
  if (event.kind === "task") return { before: `${t(`operation.${event.operation}`)} ${event.path ?? ""}: `, strong: t(`task.${event.state}`), after: eventWords(event) ? ` – ${eventWords(event)}` : "" };
  if (event.values?.length || event.kind === "value") {
    const values = event.values ?? [];
    const first = values[0];
    if (!first) return plain(event.words ?? (event.gone?.length ? t("event.gone", { path: event.gone.join(", ") }) : ""));
    const { text, unit } = shown(first);
    const label = first.name ? `${first.name} ` : "";
    return { before: `${label}${first.path} = `, strong: unit ? `${text} ${unit}` : text, after: values.length > 1 ? ` ${t("event.more", { n: values.length - 1 })}` : "" };
  }
  if (event.kind === "operation") return { before: "", strong: `${t(`operation.${event.operation}`)} ${event.path ?? ""}`, after: ` → ${eventWords(event)}` };
  if (event.lifetime_s !== undefined && !event.words) {
    return plain([t(`event.${event.kind}.words`), event.version ? `LwM2M ${event.version}` : "", event.address, t("event.lifetime", { lifetime: duration(event.lifetime_s) })].filter(Boolean).join(" · "));
  }
  return plain([event.path, event.words ?? event.reason ?? event.state].filter(Boolean).join(" · ") || t(`event.${event.kind}.words`));
}

const plain = (text) => ({ before: text, strong: "", after: "" });

function isBad(event) {
  return event.kind === "refused" || event.kind === "expired" || event.ok === false || ["failed", "expired", "unknown"].includes(event.state);
}

async function lookBack(name) {
  const head = (await api.status()).journal_head ?? 0;
  const found = [];
  let after = Math.max(0, head - LOOK_BACK);
  for (;;) {
    const { events } = await api.events(after, 500, name);
    found.push(...events);
    if (events.length < 500 || !events.length) break;
    after = events.at(-1).seq;
  }
  return found.reverse();
}

/** A living list: what the journal holds, then what arrives. */
class EventList {
  #life;
  #name;
  #events = [];
  #kind = "";
  #held = null;
  #list;
  #onCount;
  element = h("div", { class: "event-scroller", role: "list", "aria-label": t("nav.events") });
  empty = h("div", { class: "empty" }, h("span", { class: "spinner large" }));

  constructor(life, name, onCount) {
    this.#life = life;
    this.#name = name;
    this.#onCount = onCount;
    this.#list = new VirtualList(this.element, {
      rowHeight: (width) => (width < 620 ? 72 : 44),
      key: (event) => String(event.seq),
      make: (event) => this.#make(event),
      update: () => {},
      open: (event) => go(deviceHash(event.endpoint_name)),
    }, life);
    store.on("events", () => this.#arrived(), life);
    this.element.hidden = true;
    this.#load();
  }

  async #load() {
    try {
      const events = await lookBack(this.#name);
      if (this.#life.ended) return;
      this.#events = events;
      this.#arrived();
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      fill(this.empty, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.#load(), { icon: "refresh" }));
    }
  }

  set kind(kind) {
    this.#kind = kind;
    this.#choose();
  }

  set paused(paused) {
    this.#held = paused ? this.#events : null;
    this.#choose();
  }

  #arrived() {
    const newest = this.#events[0]?.seq ?? -1;
    const fresh = store.state.events.filter((event) => event.seq > newest && (!this.#name || event.endpoint_name === this.#name));
    if (fresh.length) this.#events = [...fresh, ...this.#events].slice(0, LOOK_BACK);
    this.#choose();
  }

  #choose() {
    const all = this.#held ?? this.#events;
    const chosen = (this.#kind ? all.filter((event) => event.kind === this.#kind) : all).slice(0, KEPT);
    this.#list.items = chosen;
    this.element.hidden = chosen.length === 0;
    this.empty.hidden = chosen.length > 0;
    if (!chosen.length) fill(this.empty, icon("events", "icon hero"), h("h2", {}, t("events.none")), h("p", {}, t("events.none.hint")));
    this.#onCount?.(chosen.length);
  }

  #make(event) {
    const { before, strong, after } = summary(event);
    return h("div", { class: `event-row ${this.#name ? "of-device" : ""} ${isBad(event) ? "bad" : ""}`, role: "listitem" },
      h("time", { class: "event-time", datetime: event.at, title: when(event.at) }, clockTime(event.at)),
      h("span", { class: `event-kind kind-${event.kind}` }, icon(KINDS[event.kind] ?? "info"), h("span", {}, t(`event.${event.kind}`))),
      this.#name ? null : h("a", { class: "event-device", href: deviceHash(event.endpoint_name), tabindex: "-1" }, event.endpoint_name),
      h("span", { class: "event-words", title: before + strong + after }, before, strong ? h("strong", {}, strong) : null, after));
  }
}

function kindFilter(list) {
  return h("select", { class: "input", "aria-label": t("events.kind"), onchange: (event) => (list.kind = event.target.value) },
    h("option", { value: "" }, t("events.all")), Object.keys(KINDS).map((kind) => h("option", { value: kind }, t(`event.${kind}`))));
}

export class EventsPage {
  #life = new Life();

  constructor() {
    const summaryLine = h("p", { class: "summary" });
    const list = new EventList(this.#life, null, (n) => setText(summaryLine, t("events.summary", { n, count: count(n) })));
    let paused = false;
    const pause = button(t("events.pause"), () => {
      paused = !paused;
      list.paused = paused;
      pause.setAttribute("aria-pressed", String(paused));
      setText(pause.querySelector("span"), t(paused ? "events.resume" : "events.pause"));
    }, { "aria-pressed": "false" });
    this.element = h("div", { class: "page events" }, h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.events")), summaryLine), h("div", { class: "tools" }, kindFilter(list), pause)), h("div", { class: "card-body" }, list.element, list.empty));
  }

  end() {
    this.#life.end();
  }
}
