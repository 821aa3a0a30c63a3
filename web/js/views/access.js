// Who may come in: the password of the account, and tokens for programs.

import * as api from "../api.js";
import { button, fill, h, icon, Life } from "../dom.js";
import { confirm, dialog, note, noteError } from "../dialog.js";
import { age, ageElement, when } from "../format.js";
import { t } from "../i18n.js";
import { field, passwordField } from "../fields.js";
import { copyText } from "../operate.js";
import * as store from "../store.js";

const LIFETIMES = { "": null, day: 86_400, month: 30 * 86_400, year: 365 * 86_400 };

export class AccessPage {
  #life = new Life();
  #tokens = h("div", { class: "token-list" });

  constructor() {
    const { session } = store.state;
    const admin = session?.scopes.includes("admin");
    this.element = h("div", { class: "page access" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.access")), h("p", { class: "summary" }, t("access.summary", { name: session?.account ?? "" })))),
      h("div", { class: "card-grid" }, this.#passwordCard(session), admin ? this.#tokenCard() : null));
    if (admin) this.#load();
  }

  end() {
    this.#life.end();
  }

  #passwordCard(session) {
    const current = passwordField(t("password.current"), "current-password");
    const next = passwordField(t("password.new"), "new-password", t("password.hint"));
    const again = passwordField(t("password.again"), "new-password");
    const error = h("div", { class: "form-error", role: "alert" });
    const say = (text, nextStep = "") => fill(error, icon("warning"), h("p", {}, h("strong", {}, text), nextStep ? ` ${nextStep}` : ""));
    const send = h("button", { type: "submit", class: "button primary" }, h("span", {}, t("password.change")));
    const form = h("form", { novalidate: true, onsubmit: async (event) => {
      event.preventDefault();
      fill(error);
      if (!current.input.value) return say(t("password.missing"));
      if ([...next.input.value].length < 8) return say(t("password.short"));
      if (next.input.value !== again.input.value) return say(t("password.differs"));
      send.disabled = true;
      try {
        await api.changePassword(session.account, current.input.value, next.input.value);
        form.reset();
        note(t("password.changed"));
      } catch (failure) {
        const { message, nextStep } = store.describe(failure);
        say(message, nextStep);
      }
      send.disabled = false;
      return undefined;
    } }, h("input", { type: "text", autocomplete: "username", value: session?.account ?? "", hidden: true, "aria-hidden": "true", tabindex: "-1" }), current.element, next.element, again.element, error, h("div", { class: "card-actions" }, send));
    return h("section", { class: "card" }, h("h2", {}, t("password.change")), h("p", { class: "prose" }, t("password.change.text")), form);
  }

  #tokenCard() {
    return h("section", { class: "card" },
      h("div", { class: "card-title" }, h("h2", {}, t("tokens")), button(t("token.create"), () => this.#create(), { icon: "plus", kind: "primary" })),
      h("p", { class: "prose" }, t("tokens.text")), this.#tokens);
  }

  async #load() {
    try {
      const { tokens } = await api.tokens();
      if (this.#life.ended) return;
      fill(this.#tokens, tokens.length ? tokens.map((token) => this.#row(token)) : h("div", { class: "empty small" }, icon("key", "icon hero"), h("p", {}, t("tokens.none"))));
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      fill(this.#tokens, h("p", { class: "warning-line" }, icon("warning"), h("span", {}, `${message} ${nextStep}`)));
    }
  }

  #row(token) {
    return h("div", { class: "token-row" }, icon("key"),
      h("div", { class: "grow" }, h("strong", {}, token.name), h("div", { class: "token-meta" }, token.scopes.map((scope) => h("span", { class: "badge plain" }, t(`scope.${scope}`))),
        h("span", { class: "muted" }, token.last_used_at ? [t("token.used"), " ", ageElement(token.last_used_at)] : t("token.unused")),
        h("span", { class: "muted" }, token.expires_at ? t("token.expires", { when: when(token.expires_at) }) : t("token.forever")))),
      button(t("token.revoke"), () => this.#revoke(token), { kind: "danger-outline small" }));
  }

  async #create() {
    const made = await dialog(t("token.create"), (close) => {
      const name = field(t("token.name"), { maxlength: 64, autocomplete: "off", placeholder: t("token.name.example") });
      const scope = h("select", { class: "input", id: "token-scope" }, ["read", "operate", "admin"].map((one) => h("option", { value: one }, t(`scope.${one}.long`))));
      const lifetime = h("select", { class: "input", id: "token-lifetime" }, Object.keys(LIFETIMES).map((one) => h("option", { value: one, selected: one === "year" }, t(`lifetime.${one || "forever"}`))));
      const error = h("div", { class: "form-error", role: "alert" });
      const say = (text, nextStep = "") => fill(error, icon("warning"), h("p", {}, h("strong", {}, text), nextStep ? ` ${nextStep}` : ""));
      return {
        body: [name.element, h("div", { class: "field" }, h("label", { for: "token-scope" }, t("token.scope")), scope), h("div", { class: "field" }, h("label", { for: "token-lifetime" }, t("token.lifetime")), lifetime), error],
        focus: () => name.input,
        submit: async () => {
          if (!name.input.value.trim()) return say(t("name.missing"));
          try {
            const lifetimeS = LIFETIMES[lifetime.value];
            close(await api.createToken({ name: name.input.value.trim(), scopes: [scope.value], ...(lifetimeS ? { lifetime_s: lifetimeS } : {}) }));
          } catch (failure) {
            const { message, nextStep } = store.describe(failure);
            say(message, nextStep);
          }
          return undefined;
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, h("span", {}, t("token.create")))],
      };
    });
    if (!made) return;
    this.#load();
    await dialog(t("token.made"), (close) => ({
      body: [h("p", { class: "prose" }, t("token.once")), h("div", { class: "with-button" }, h("input", { class: "input mono", readOnly: true, value: made.token, "aria-label": t("token"), onfocus: (event) => event.target.select() }), button(t("copy"), () => copyText(made.token), { icon: "copy" })),
        h("p", { class: "hint" }, t("token.usage")), h("code", { class: "address" }, `Authorization: Bearer …`)],
      actions: [button(t("token.kept"), () => close(), { kind: "primary" })],
    }));
  }

  async #revoke(token) {
    if (!(await confirm(t("confirm.token"), t("confirm.token.text", { name: token.name, used: token.last_used_at ? age(token.last_used_at) : t("age.never") }), t("token.revoke")))) return;
    try {
      await api.revokeToken(token.id);
      note(t("token.revoked", { name: token.name }));
      this.#load();
    } catch (error) {
      noteError(error);
    }
  }
}
