// Who knocked and was not let in: accept, ignore or block.

import { button, fill, h, icon, iconButton, Life, setText } from "../../dom.js";
import { confirm, note, noteError } from "../../dialog.js";
import { ageElement, count, when } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import { go } from "../../router.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { failed, none, place, waiting } from "./parts.js";

const STATES = ["waiting", "ignored", "blocked"];
const MARKS = { waiting: "clock", ignored: "moonlit", blocked: "close" };

export class QuarantineView {
  #life = new Life();
  #all = null;
  #state = "waiting";
  #drawn = "";
  #chips = h("div", { class: "chips", role: "group", "aria-label": t("trust.show") });
  #list = h("div", { class: "stranger-list" }, waiting());

  constructor() {
    for (const state of STATES) this.#chips.append(h("button", { type: "button", class: "chip", "data-state": state, onclick: () => {
      this.#state = state;
      this.#draw();
    } }, h("span", {}, t(`trust.stranger.${state}`)), h("span", { class: "chip-count" })));
    this.element = h("div", { class: "trust-view" }, h("p", { class: "prose page-text" }, t("trust.quarantine.text")), this.#chips, h("div", { class: "card-body scrolling" }, this.#list));
    store.on("strangers", () => this.#load(), this.#life);
    this.#life.every(5000, () => this.#load());
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    if (document.hidden) return;
    try {
      const { strangers } = await api.strangers();
      if (this.#life.ended) return;
      store.noteStrangers(strangers);
      this.#all = strangers.sort((a, b) => b.last_seen_at.localeCompare(a.last_seen_at));
      this.#draw();
    } catch (error) {
      if (!this.#all) fill(this.#list, failed(error, () => this.#load()));
    }
  }

  #draw() {
    if (!this.#all) return;
    for (const chip of this.#chips.children) {
      chip.setAttribute("aria-pressed", String(chip.dataset.state === this.#state));
      setText(chip.querySelector(".chip-count"), count(this.#all.filter((one) => one.state === chip.dataset.state).length));
    }
    const shown = this.#all.filter((one) => one.state === this.#state);
    const drawn = JSON.stringify([this.#state, shown]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    fill(this.#list, shown.length ? shown.map((one) => this.#row(one)) : none("shield", t(`trust.strangers.none.${this.#state}`), t("trust.strangers.none.hint")));
  }

  #row(one) {
    const name = one.endpoint_name || one.identity || one.address;
    const admin = canAdmin();
    return h("article", { class: `stranger ${one.state}`, "aria-label": name },
      h("div", { class: "stranger-mark" }, icon(MARKS[one.state])),
      h("div", { class: "grow" },
        h("div", { class: "stranger-head" }, h("strong", {}, name), h("span", { class: "badge bearer" }, one.bearer), one.identity ? name === one.identity ? null : h("span", { class: "badge plain mono" }, one.identity) : h("span", { class: "badge nosec" }, icon("unlock"), "NoSec")),
        h("p", { class: "stranger-reason" }, one.reason),
        h("p", { class: "stranger-meta" }, h("span", { class: "mono" }, one.address), " · ", t("trust.knocked", { n: one.count, count: count(one.count) }), " · ", ageElement(one.last_seen_at), h("span", { class: "muted" }, ` · ${t("trust.since", { when: when(one.first_seen_at) })}`))),
      admin ? h("div", { class: "stranger-actions" },
        button(t("trust.accept"), () => this.#accept(one, name), { icon: "check", kind: "primary small", "aria-label": t("trust.accept.of", { name }) }),
        one.state === "ignored" ? null : button(t("trust.ignore"), () => this.#act(one, "ignore", t("trust.ignored.note", { name })), { icon: "moonlit", kind: "small", "aria-label": t("trust.ignore.of", { name }) }),
        one.state === "blocked" ? null : button(t("trust.block"), () => this.#block(one, name), { icon: "close", kind: "danger-outline small", "aria-label": t("trust.block.of", { name }) }),
        iconButton("trash", t("trust.forget.of", { name }), () => this.#act(one, null, t("trust.forgotten", { name })))) : null);
  }

  /** What came with a key that nobody here knows needs that key first: the wizard asks for it. */
  async #accept(one, name) {
    if (!one.can_accept) {
      const query = new URLSearchParams({ endpoint_name: one.endpoint_name || (one.identity ?? "").replace(/^\w+:/, "") });
      if (one.identity?.startsWith("psk:")) query.set("psk_identity", one.identity.slice(4));
      go(`${place("add")}?${query}`);
      return;
    }
    if (!one.identity && !(await confirm(t("trust.accept.open"), t("trust.accept.open.text", { name }), t("trust.nosec.allow")))) return;
    await this.#act(one, "accept", t("trust.accepted", { name }));
  }

  async #block(one, name) {
    if (await confirm(t("trust.block"), t("trust.block.text", { name }), t("trust.block"))) await this.#act(one, "block", t("trust.blocked.note", { name }));
  }

  async #act(one, what, done) {
    try {
      if (what) await api.decide(one.id, what);
      else await api.forgetStranger(one.id);
      note(done);
    } catch (error) {
      noteError(error);
    }
    store.loadStrangers();
    await this.#load();
  }
}
