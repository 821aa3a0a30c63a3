// Who changed what: the audit log, and whether it is as it was written.

import { button, fill, h, icon, Life } from "../../dom.js";
import { when } from "../../format.js";
import { t } from "../../i18n.js";
import * as api from "./api.js";
import { failed, none, place, waiting } from "./parts.js";

const PAGE = 100;

export class AuditView {
  #life = new Life();
  #entries = [];
  #state = h("div", { role: "status" });
  #list = h("ol", { class: "audit-list" });
  #foot = h("div", { class: "audit-foot" });

  constructor() {
    this.element = h("div", { class: "trust-view scrolling" }, h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.audit")), button(t("trust.audit.reload"), () => this.#load(true), { icon: "refresh", kind: "small" })),
      h("p", { class: "prose" }, t("trust.audit.text")), this.#state, this.#list, this.#foot));
    this.#load(true);
  }

  end() {
    this.#life.end();
  }

  async #load(anew) {
    if (!this.#entries.length) fill(this.#foot, waiting());
    try {
      const { entries, sound, problems = [] } = await api.audit(anew ? undefined : this.#entries.at(-1).seq, PAGE);
      if (this.#life.ended) return;
      this.#entries = anew ? entries : [...this.#entries, ...entries];
      fill(this.#state, sound
        ? h("p", { class: "import-sum good" }, icon("check"), h("span", {}, h("strong", {}, t("trust.audit.sound")), " ", t("trust.audit.sound.text")))
        : h("div", { class: "import-sum bad" }, icon("warning"), h("div", {}, h("strong", {}, t("trust.audit.unsound")), " ", t("trust.audit.unsound.text"), h("ul", {}, problems.map((one) => h("li", {}, one))))));
      fill(this.#list, this.#entries.map((one) => h("li", {}, h("span", { class: "audit-seq" }, String(one.seq)),
        h("div", { class: "grow" }, h("span", { class: "audit-what" }, one.what), h("span", { class: "audit-meta" }, one.about ? [h("a", { href: place("device", one.about) }, one.about), " · "] : null, t("trust.audit.by", { by: one.by }))),
        h("time", { datetime: one.at }, when(one.at)))));
      fill(this.#foot, !this.#entries.length ? none("events", t("trust.audit.none"), "") : entries.length === PAGE && entries.at(-1).seq > 1 ? button(t("trust.audit.more"), () => this.#load(false), { icon: "down" }) : null);
    } catch (error) {
      if (!this.#life.ended) fill(this.#foot, failed(error, () => this.#load(anew)));
    }
  }
}
