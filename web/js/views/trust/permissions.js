// Which account may do what with which group of devices.

import { button, fill, h, icon, iconButton, Life } from "../../dom.js";
import { confirm, dialog, note, noteError } from "../../dialog.js";
import { t } from "../../i18n.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { Complaint, failed, select, waiting } from "./parts.js";

const RIGHTS = ["read", "operate", "admin"];
const EVERY = "*";

export class PermissionsView {
  #life = new Life();
  #groups = [];
  #list = h("div", {}, waiting());

  constructor() {
    this.element = h("div", { class: "trust-view scrolling" }, h("section", { class: "card" }, h("h2", {}, t("trust.permissions")), h("p", { class: "prose" }, t("trust.permissions.text")), this.#list));
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      const [{ accounts }, { permissions }, { groups }] = await Promise.all([api.accounts(), api.permissions(), api.groups()]);
      if (this.#life.ended) return;
      this.#groups = groups;
      const given = new Map(permissions.map((one) => [one.account.toLowerCase(), one]));
      const rows = accounts.map((one) => ({ account: one.name, scopes: one.scopes, groups: given.get(one.name.toLowerCase())?.groups ?? null }));
      const known = new Set(accounts.map((one) => one.name.toLowerCase()));
      for (const one of permissions) if (!known.has(one.account.toLowerCase())) rows.push({ ...one, scopes: [], unknown: true });
      fill(this.#list, h("ul", { class: "permission-list" }, rows.map((one) => this.#row(one))));
    } catch (error) {
      if (!this.#life.ended) fill(this.#list, failed(error, () => this.#load()));
    }
  }

  #row(one) {
    const self = store.state.session?.account?.toLowerCase() === one.account.toLowerCase();
    const given = Object.entries(one.groups ?? {});
    return h("li", {}, icon("user"),
      h("div", { class: "grow" }, h("div", { class: "permission-head" }, h("strong", {}, one.account), one.scopes.map((scope) => h("span", { class: "badge plain" }, t(`scope.${scope}`))), one.unknown ? h("span", { class: "badge warn" }, t("trust.permission.gone")) : null),
        h("span", { class: "permission-what" }, one.groups === null ? t("trust.permission.all") : given.length ? given.map(([name, right]) => h("span", { class: "badge plain" }, `${name === EVERY ? t("trust.permission.every") : name}: ${t(`trust.permission.${right}`)}`)) : t("trust.permission.none")),
        self ? h("p", { class: "hint" }, t("trust.permission.self")) : null),
      self || one.unknown ? null : button(t("trust.permission.change"), () => this.#change(one), { icon: "pencil", kind: "small", "aria-label": t("trust.permission.change.of", { name: one.account }) }),
      one.groups === null || self ? null : iconButton("trash", t("trust.permission.lift.of", { name: one.account }), () => this.#lift(one)));
  }

  async #lift(one) {
    if (!(await confirm(t("trust.permission.lift"), t("trust.permission.lift.text", { name: one.account }), t("trust.permission.lift")))) return;
    await this.#act(() => api.removePermissions(one.account));
  }

  async #act(action) {
    try {
      await action();
      note(t("trust.permission.kept"));
    } catch (error) {
      noteError(error);
    }
    await this.#load();
  }

  async #change(one) {
    const names = [EVERY, ...new Set([...this.#groups, ...Object.keys(one.groups ?? {}).filter((name) => name !== EVERY)])];
    const kept = await dialog(t("trust.permission.change"), (close) => {
      const complaint = new Complaint();
      const choices = names.map((name) => [name, select([["", t("trust.permission.nothing")], ...RIGHTS.map((right) => [right, t(`trust.permission.${right}`)])], one.groups?.[name] ?? "", { "aria-label": name === EVERY ? t("trust.permission.every") : name })]);
      return {
        body: [h("p", { class: "prose" }, t("trust.permission.change.text", { name: one.account })), this.#groups.length ? null : h("p", { class: "muted" }, t("trust.permission.nogroups")),
          h("div", { class: "permission-choices" }, choices.map(([name, control]) => h("div", { class: "permission-choice" }, h("span", { "aria-hidden": "true" }, name === EVERY ? t("trust.permission.every") : name), control))), complaint.element].filter(Boolean),
        submit: async () => {
          complaint.clear();
          try {
            close(await api.putPermissions(one.account, Object.fromEntries(choices.map(([name, control]) => [name, control.value]).filter(([, right]) => right))));
          } catch (error) {
            complaint.error(error);
          }
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("trust.keep")))],
      };
    }, { subtitle: one.account });
    if (!kept) return;
    note(t("trust.permission.kept"));
    await this.#load();
  }
}
