// Labelled inputs that several pages share.

import { h, iconButton, uniqueId } from "./dom.js";
import { t } from "./i18n.js";

export function field(label, attributes, hint = "") {
  const id = uniqueId("field");
  const input = h("input", { id, class: "input", autocapitalize: "none", spellcheck: "false", ...attributes, "aria-describedby": hint ? `${id}-hint` : null });
  const element = h("div", { class: "field" }, h("label", { for: id }, label), input, hint ? h("p", { class: "hint", id: `${id}-hint` }, hint) : null);
  return { element, input };
}

export function passwordField(label, autocomplete, hint = "") {
  const made = field(label, { type: "password", autocomplete, required: true, maxlength: 256 }, hint);
  const wrap = h("div", { class: "password" });
  const eye = iconButton("eye", t("password.show"), () => {
    const showing = made.input.type === "password";
    made.input.type = showing ? "text" : "password";
    eye.setAttribute("aria-pressed", String(showing));
  }, { "aria-pressed": "false" });
  made.input.replaceWith(wrap);
  wrap.append(made.input, eye);
  return made;
}
