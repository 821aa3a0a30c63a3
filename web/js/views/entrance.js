// The two pages before the house: the first account, and the login.

import * as api from "../api.js";
import { describe } from "../store.js";
import { fill, h, icon } from "../dom.js";
import { field, passwordField } from "../fields.js";
import { chooseLanguage, currentLanguage, LANGUAGES, t } from "../i18n.js";

function wordmark() {
  return h("div", { class: "wordmark" }, h("img", { src: "icon.svg", alt: "", width: "44", height: "44" }), h("div", {}, h("strong", {}, "homard"), h("span", {}, t("tagline"))));
}

function languages() {
  return h("div", { class: "languages", role: "group", "aria-label": t("language") }, Object.entries(LANGUAGES).map(([code, name]) =>
    h("button", { type: "button", lang: code, "aria-pressed": String(code === currentLanguage()), onclick: () => chooseLanguage(code) }, name)));
}

function page(title, intro, fields, action, submit, message = "") {
  const error = h("div", { class: "form-error", role: "alert" });
  const send = h("button", { type: "submit", class: "button primary wide" }, h("span", {}, action));
  const say = (text, nextStep = "") => fill(error, text ? [icon("warning"), h("p", {}, h("strong", {}, text), nextStep ? ` ${nextStep}` : "")] : []);
  const form = h("form", { novalidate: true, onsubmit: async (event) => {
    event.preventDefault();
    say("");
    const complaint = fields.map((one) => one.check?.()).find(Boolean);
    if (complaint) return say(complaint);
    send.disabled = true;
    send.classList.add("busy");
    try {
      await submit();
    } catch (failure) {
      const { message: text, nextStep } = describe(failure);
      say(text, nextStep);
      send.disabled = false;
      send.classList.remove("busy");
    }
    return undefined;
  } }, fields.map((one) => one.element), error, send);
  if (message) say(message);
  requestAnimationFrame(() => (fields.find((one) => !one.input.value) ?? fields[0]).input.focus());
  return h("main", { class: "entrance" }, h("section", { class: "entrance-card" }, wordmark(), h("h1", {}, title), intro ? h("p", { class: "prose" }, intro) : null, form, languages()));
}

export function loginPage(open, message) {
  const name = field(t("name"), { autocomplete: "username", required: true, maxlength: 64 });
  const password = passwordField(t("password"), "current-password");
  name.check = () => (name.input.value.trim() ? "" : t("name.missing"));
  password.check = () => (password.input.value ? "" : t("password.missing"));
  return page(t("login"), "", [name, password], t("login.action"), async () => open(await api.login(name.input.value.trim(), password.input.value)), message);
}

export function setupPage(open) {
  const code = field(t("setup.code"), { autocomplete: "one-time-code", required: true, maxlength: 64, class: "input mono" }, t("setup.code.hint"));
  const name = field(t("name"), { autocomplete: "username", required: true, value: "admin", maxlength: 64 });
  const password = passwordField(t("password.choose"), "new-password", t("password.hint"));
  const again = passwordField(t("password.again"), "new-password");
  code.check = () => (code.input.value.trim() ? "" : t("setup.code.missing"));
  name.check = () => (name.input.value.trim() ? "" : t("name.missing"));
  password.check = () => ([...password.input.value].length >= 8 ? "" : t("password.short"));
  again.check = () => (again.input.value === password.input.value ? "" : t("password.differs"));
  return page(t("setup"), t("setup.intro"), [code, name, password, again], t("setup.action"), async () => {
    await open(await api.setup(code.input.value.trim(), name.input.value.trim(), password.input.value));
  });
}
