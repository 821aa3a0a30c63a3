// One bootstrap session, step by step, live while it runs; it can be played again.

import { button, fill, h, icon, iconButton, Life, setText } from "../../dom.js";
import { precise, when } from "../../format.js";
import { t } from "../../i18n.js";
import { canOperate } from "../../operate.js";
import { confirm, note, noteError } from "../../dialog.js";
import * as api from "./api.js";
import { failed, place, subHead, waiting } from "./parts.js";
import { sessionState } from "./session-row.js";

const ICONS = { Request: "devices", Discover: "discover", Delete: "trash", Write: "pencil", Read: "book", Finish: "check", Pack: "layers", Key: "key" };
const PLAY_MS = 700;
const LIVE_MS = 1200;

export class SessionView {
  #life = new Life();
  #id;
  #session = null;
  #drawn = "";
  #at = null; // how many steps are shown; null: all of them, and those to come
  #timer = 0;
  #list = h("ol", { class: "steps" });
  #words = h("p", { class: "visually-hidden", role: "status", "aria-live": "polite" });
  #slider = h("input", { type: "range", min: "0", class: "replay-range", "aria-label": t("trust.replay.position"), oninput: () => {
    this.#stop();
    this.#show(Number(this.#slider.value));
  } });
  #play = iconButton("play", t("trust.replay"), () => (this.#timer ? this.#stop() : this.#start()));
  #count = h("span", { class: "replay-count" });

  constructor(route) {
    this.#id = route.rest[0] ?? "";
    this.element = h("div", { class: "trust-view scrolling" }, waiting());
    this.#life.add(() => clearInterval(this.#timer));
    this.#life.every(LIVE_MS, () => {
      if (!document.hidden && this.#session?.state === "running") this.#load();
    });
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      const session = await api.session(this.#id);
      if (this.#life.ended) return;
      const drawn = JSON.stringify(session);
      if (drawn === this.#drawn) return;
      this.#drawn = drawn;
      const before = this.#session;
      this.#session = session;
      if (before && session.steps.length > before.steps.length) setText(this.#words, session.steps.at(-1).text);
      this.#draw();
    } catch (error) {
      if (!this.#session && !this.#life.ended) fill(this.element, subHead(place("bootstrap"), t("trust.sessions")), failed(error, () => this.#load()));
    }
  }

  #draw() {
    const session = this.#session;
    fill(this.element,
      subHead(place("bootstrap"), session.endpoint_name, t("trust.session.number", { id: session.id }),
        h("a", { class: "button", href: place("device", session.endpoint_name) }, icon("key"), h("span", {}, t("trust.tab.keys"))),
        canOperate() && session.state !== "running" ? button(t("trust.rebootstrap"), () => this.#again(), { icon: "refresh" }) : null),
      h("section", { class: "card session-card" },
        h("div", { class: `session-end ${session.state}` }, sessionState(session.state), h("span", {}, session.text)),
        h("dl", { class: "facts" }, h("dt", {}, t("trust.session.began")), h("dd", {}, when(session.started_at)), session.ended_at ? [h("dt", {}, t("trust.session.ended")), h("dd", {}, when(session.ended_at))] : null,
          session.plan ? [h("dt", {}, t("trust.plan")), h("dd", {}, h("a", { href: place("plan", session.plan.id) }, session.plan.name))] : null,
          session.address ? [h("dt", {}, t("trust.session.from")), h("dd", { class: "mono" }, `${session.address} ${session.bearer ?? ""}`)] : null,
          session.identity ? [h("dt", {}, t("trust.session.as")), h("dd", { class: "mono" }, session.identity)] : null),
        h("div", { class: "replay", role: "group", "aria-label": t("trust.replay") },
          iconButton("left", t("trust.replay.back"), () => this.#go(-1)), this.#play, iconButton("right", t("trust.replay.next"), () => this.#go(1)), this.#slider, this.#count),
        this.#list, this.#words));
    fill(this.#list, session.steps.map((step, index) => this.#step(step, index)));
    this.#slider.max = String(session.steps.length);
    this.#show(this.#at ?? session.steps.length, false);
  }

  #step(step, index) {
    const before = this.#session.steps[index - 1];
    const took = before ? Date.parse(step.at) - Date.parse(before.at) : 0;
    return h("li", { class: `step ${step.ok ? "good" : "bad"}`, "data-what": step.what },
      h("span", { class: "step-icon" }, icon(ICONS[step.what.split(/\W/)[0]] ?? "info")),
      h("div", { class: "grow" },
        h("div", { class: "step-head" }, h("strong", {}, step.what), step.path ? h("span", { class: "mono" }, step.path) : null,
          step.code ? h("span", { class: `step-code ${step.ok ? "good" : "bad"}` }, icon(step.ok ? "check" : "warning"), step.code) : !step.ok ? h("span", { class: "step-code bad" }, icon("warning"), t("trust.session.failed")) : null),
        h("p", { class: "step-text" }, step.text)),
      h("span", { class: "step-time" }, h("time", { datetime: step.at }, precise(step.at)), took > 0 ? h("span", {}, `+${took} ms`) : null));
  }

  #show(n, byHand = true) {
    const total = this.#session.steps.length;
    this.#at = n >= total ? null : n;
    [...this.#list.children].forEach((element, index) => {
      element.classList.toggle("to-come", index >= n);
      element.classList.toggle("now", byHand && index === n - 1);
      if (index >= n) element.setAttribute("aria-hidden", "true");
      else element.removeAttribute("aria-hidden");
    });
    this.#slider.value = String(n);
    setText(this.#count, t("trust.replay.at", { n, total }));
    if (byHand && n > 0) this.#list.children[n - 1]?.scrollIntoView({ block: "nearest" });
  }

  /** One step back or on, by hand. */
  #go(steps) {
    this.#stop();
    const total = this.#session.steps.length;
    const n = Math.min(total, Math.max(0, (this.#at ?? total) + steps));
    this.#show(n);
    setText(this.#words, this.#session.steps[n - 1]?.text ?? "");
  }

  #start() {
    let n = this.#at ?? 0;
    this.#mark(true);
    this.#show(n);
    this.#timer = setInterval(() => {
      n += 1;
      this.#show(n);
      setText(this.#words, this.#session.steps[n - 1]?.text ?? "");
      if (n >= this.#session.steps.length) this.#stop();
    }, PLAY_MS);
  }

  #stop() {
    clearInterval(this.#timer);
    this.#timer = 0;
    this.#mark(false);
  }

  #mark(playing) {
    fill(this.#play, icon(playing ? "pause" : "play"));
    for (const name of ["aria-label", "data-tooltip"]) this.#play.setAttribute(name, t(playing ? "trust.replay.stop" : "trust.replay"));
  }

  async #again() {
    const name = this.#session.endpoint_name;
    if (!(await confirm(t("trust.rebootstrap"), t("trust.rebootstrap.one", { name }), t("trust.rebootstrap.start"), { danger: false }))) return;
    try {
      await api.rebootstrap(name);
      note(t("trust.rebootstrap.asked", { n: 1, count: 1 }));
    } catch (error) {
      noteError(error);
    }
  }
}
