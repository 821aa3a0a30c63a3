// Bootstrap: the plans by which devices are given their servers and keys, and how each session went.

import { button, fill, h, icon, iconButton, Life } from "../../dom.js";
import { confirm, note, noteError } from "../../dialog.js";
import { count } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin, canOperate } from "../../operate.js";
import { go } from "../../router.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { moveDevices, withBootstrapKey } from "./move.js";
import { failed, MODES, place, waiting } from "./parts.js";
import { sessionRow } from "./session-row.js";

export class BootstrapView {
  #life = new Life();
  #plans = h("div", { class: "plan-grid" }, waiting());
  #sessions = h("div", {}, waiting());
  #drawn = "";
  #timer = 0;

  constructor() {
    this.element = h("div", { class: "trust-view scrolling" },
      h("section", {}, h("div", { class: "card-title section-title" }, h("h2", {}, t("trust.plans.title")), canAdmin() ? button(t("trust.plan.new"), () => go(place("plan", "new")), { icon: "plus", kind: "primary" }) : null), h("p", { class: "prose page-text" }, t("trust.plans.text")), this.#plans),
      h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.sessions")), canOperate() ? h("div", { class: "button-row" }, button(t("trust.withdraw.more"), () => this.#withdraw()), button(t("trust.move"), () => this.#ask(), { icon: "refresh" })) : null), this.#sessions));
    store.on("events", () => {
      this.#timer ||= setTimeout(() => {
        this.#timer = 0;
        this.#loadSessions();
      }, 1000);
    }, this.#life);
    this.#life.add(() => clearTimeout(this.#timer));
    this.#life.every(4000, () => this.#loadSessions());
    this.#loadPlans();
    this.#loadSessions();
  }

  end() {
    this.#life.end();
  }

  async #loadPlans() {
    try {
      const { plans } = await api.plans();
      if (!this.#life.ended) fill(this.#plans, plans.map((one) => this.#card(one)));
    } catch (error) {
      fill(this.#plans, failed(error, () => this.#loadPlans()));
    }
  }

  async #loadSessions() {
    if (document.hidden) return;
    try {
      const { sessions } = await api.sessions("", 50);
      const drawn = JSON.stringify(sessions);
      if (this.#life.ended || drawn === this.#drawn) return;
      this.#drawn = drawn;
      fill(this.#sessions, sessions.length ? h("ul", { class: "session-list" }, sessions.map((one) => sessionRow(one, { named: true }))) : h("p", { class: "muted" }, t("trust.sessions.none")));
    } catch (error) {
      if (!this.#drawn) fill(this.#sessions, failed(error, () => this.#loadSessions()));
    }
  }

  #card(plan) {
    const writes = Object.keys(plan.writes ?? {});
    return h("section", { class: "card plan-card", "aria-label": plan.name },
      h("div", { class: "card-title" }, h("h3", {}, h("a", { href: place("plan", plan.id) }, plan.name)), plan.built_in ? h("span", { class: "badge plain" }, t("trust.plan.builtin")) : null),
      plan.description ? h("p", { class: "prose" }, plan.description) : null,
      h("ul", { class: "plan-servers" }, plan.servers.map((one) => h("li", {}, icon("send"), h("span", { class: "grow" }, h("strong", {}, t("trust.server.ssid", { id: one.short_server_id ?? 1 })), " ", h("span", { class: "mono" }, one.uri === "$uri" || !one.uri ? t("trust.uri.own") : one.uri)),
        h("span", { class: `badge ${one.security === "nosec" ? "nosec" : "plain"}` }, one.security === "nosec" ? icon("unlock") : null, { ...MODES, est: "X.509 · EST" }[one.security] ?? t("trust.security.auto")), h("span", { class: "badge plain" }, t(`trust.key.${one.key ?? "fresh"}`))))),
      h("p", { class: "plan-facts" }, [t("trust.plan.deletes", { paths: (plan.deletes ?? []).join(" ") || "–" }), writes.length ? t("trust.plan.writes", { paths: writes.join(" ") }) : "", plan.access_control?.length ? t("trust.plan.acl", { n: plan.access_control.length }) : ""].filter(Boolean).join(" · ")),
      h("div", { class: "card-actions" }, canAdmin() && !plan.built_in ? iconButton("trash", t("trust.plan.remove.of", { name: plan.name }), () => this.#remove(plan)) : null,
        canAdmin() ? iconButton("copy", t("trust.plan.copy.of", { name: plan.name }), () => go(`${place("plan", "new")}?from=${encodeURIComponent(plan.id)}`)) : null,
        h("a", { class: "button", href: place("plan", plan.id) }, icon(canAdmin() ? "pencil" : "eye"), h("span", {}, t(canAdmin() ? "trust.edit" : "trust.look")))));
  }

  async #remove(plan) {
    if (!(await confirm(t("trust.plan.remove"), t("trust.plan.remove.text", { name: plan.name }), t("trust.remove")))) return;
    try {
      await api.removePlan(plan.id);
      note(t("trust.plan.removed", { name: plan.name }));
    } catch (error) {
      noteError(error);
    }
    await this.#loadPlans();
  }

  async #ask() {
    try {
      const { devices } = await api.devices();
      await moveDevices(devices, withBootstrapKey(devices), "trust.rebootstrap.all");
    } catch (error) {
      noteError(error);
    }
  }

  /** Those that were asked to bootstrap and did not yet: they are left alone. */
  async #withdraw() {
    try {
      const asked = (await api.devices()).devices.filter((one) => one.rebootstrap_asked_at).map((one) => one.endpoint_name);
      if (!asked.length) return note(t("trust.withdraw.nobody"));
      const counted = { n: asked.length, count: count(asked.length) };
      if (!(await confirm(t("trust.withdraw.title"), t("trust.withdraw.text", counted), t("trust.withdraw"), { danger: false }))) return;
      const { withdrawn } = await api.withdrawRebootstrap(asked);
      note(t("trust.withdrawn", { n: withdrawn, count: count(withdrawn) }));
    } catch (error) {
      noteError(error);
    }
  }
}
