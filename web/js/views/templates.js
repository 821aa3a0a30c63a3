// Templates of observations: what is observed of every device that fits, now and in future.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life, setText, uniqueId } from "../dom.js";
import { confirm, dialog, note, noteError } from "../dialog.js";
import { field } from "../fields.js";
import { count } from "../format.js";
import { t } from "../i18n.js";
import { canOperate } from "../operate.js";
import * as store from "../store.js";
import { attributeBadges, attributeFields } from "./attributes.js";
import { readPaths } from "./composite.js";
import { FieldError } from "./write.js";

const PATTERN = /^\/\d{1,5}(\/(\d{1,5}|\*)(\/\d{1,5}){0,2})?$/;

/** Whether a name fits a shell pattern (* ? [a-z] [!a-z]), as the gateway reads it. */
export function fits(pattern, name) {
  const source = pattern.replace(/\*|\?|\[!?\]?[^\]]*\]|[\\^$.+()[\]{}|/]/g, (part) => {
    if (part === "*") return ".*";
    if (part === "?") return ".";
    if (part.length === 1) return `\\${part}`;
    const inside = part.slice(1, -1).replace(/[\\[\]^]/g, "\\$&");
    return inside.startsWith("!") ? `[^${inside.slice(1)}]` : `[${inside}]`;
  });
  try {
    return new RegExp(`^${source}$`, "su").test(name);
  } catch {
    return false; // a range the wrong way round, say, fits nothing
  }
}

export class TemplatesPage {
  #life = new Life();
  #templates = [];
  #summary = h("p", { class: "summary", role: "status" }, t("loading"));
  #list = h("div", { class: "template-grid" });

  constructor() {
    this.element = h("div", { class: "page templates" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("templates")), this.#summary), h("div", { class: "tools" }, canOperate() ? button(t("template.new"), () => this.#edit(null), { icon: "plus", kind: "primary" }) : null)),
      h("p", { class: "prose page-text" }, t("templates.text")), this.#list);
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      this.#templates = (await api.templates()).templates;
      if (!this.#life.ended) this.#draw();
    } catch (error) {
      setText(this.#summary, "");
      const { message, nextStep } = store.describe(error);
      fill(this.#list, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.#load(), { icon: "refresh" })));
    }
  }

  #draw() {
    setText(this.#summary, t("templates.summary", { n: this.#templates.length, count: count(this.#templates.length) }));
    fill(this.#list, this.#templates.length ? this.#templates.map((one) => this.#card(one)) : h("div", { class: "empty" }, icon("template", "icon hero"), h("h2", {}, t("templates.none")), h("p", {}, t("templates.none.hint"))));
  }

  #card(template) {
    const { endpoint, object } = template.match;
    const toggle = h("input", { type: "checkbox", role: "switch", class: "switch", checked: template.enabled, disabled: !canOperate(), "aria-label": t("template.enabled.of", { name: template.name }), onchange: () => this.#put(template.id, { ...template, enabled: toggle.checked }) });
    return h("section", { class: `card template-card ${template.enabled ? "" : "off"}`, "aria-label": template.name },
      h("div", { class: "card-title" }, h("h2", {}, template.name), h("label", { class: "switch-line" }, toggle, h("span", { class: "switch-word" }, t(template.enabled ? "template.on" : "template.off")))),
      h("dl", { class: "facts" },
        h("dt", {}, t("template.match")), h("dd", {}, [endpoint ? h("span", { class: "mono" }, endpoint) : t("template.anyname"), object === null || object === undefined ? null : [" · ", t("template.withobject", { id: object })]]),
        h("dt", {}, t("template.paths")), h("dd", { class: "mono path-list" }, template.paths.join("  ")),
        h("dt", {}, t("attributes")), h("dd", {}, Object.keys(template.attributes).length ? h("span", { class: "badges" }, attributeBadges(template.attributes)) : t("template.noattributes")),
        h("dt", {}, t("template.how")), h("dd", {}, t(template.composite ? "template.asone" : "template.onebyone"))),
      canOperate() ? h("div", { class: "card-actions" }, iconButton("trash", t("template.remove.of", { name: template.name }), () => this.#remove(template)), button(t("template.edit"), () => this.#edit(template), { icon: "pencil" })) : null);
  }

  async #put(id, { name, match, paths, attributes, composite, enabled }) {
    try {
      await api.putTemplate(id, { name, match, paths, attributes, composite, enabled });
      note(t("template.kept", { name }));
    } catch (error) {
      noteError(error);
    }
    await this.#load();
  }

  async #remove(template) {
    if (!(await confirm(t("template.remove"), t("template.remove.text", { name: template.name }), t("template.remove.action")))) return;
    try {
      await api.removeTemplate(template.id);
      note(t("template.removed", { name: template.name }));
    } catch (error) {
      noteError(error);
    }
    await this.#load();
  }

  async #edit(template) {
    const made = await dialog(t(template ? "template.edit" : "template.new"), (close) => {
      const name = field(t("name"), { maxlength: 64, autocomplete: "off", value: template?.name ?? "", placeholder: t("template.name.example") });
      const endpoint = field(t("template.endpoint"), { maxlength: 255, autocomplete: "off", value: template?.match.endpoint ?? "", placeholder: "meter-*", oninput: () => say() }, t("template.endpoint.hint"));
      const object = field(t("template.object"), { inputmode: "numeric", autocomplete: "off", value: template?.match.object ?? "", placeholder: "3303", oninput: () => say() }, t("template.object.hint"));
      const id = uniqueId("paths");
      const paths = h("textarea", { id, class: "input mono", rows: "3", spellcheck: "false", autocapitalize: "none", placeholder: "/3303/*/5700" });
      paths.value = template?.paths.join("\n") ?? "";
      const attributes = attributeFields({ single: true }, {});
      for (const [key, value] of Object.entries(template?.attributes ?? {})) {
        const input = attributes.element.querySelector(`[data-attribute="${key}"]`);
        if (!input || value === null) continue;
        input.value = value;
        input.closest("details")?.setAttribute("open", "");
      }
      const composite = h("input", { type: "checkbox", checked: template?.composite ?? false });
      const reach = h("p", { class: "state-line", role: "status" });
      const complaint = h("div", { class: "form-error", role: "alert" });
      const complain = (text, next = "") => void fill(complaint, icon("warning"), h("p", {}, h("strong", {}, text), next ? ` ${next}` : ""));
      // The objects of every device are not known here: of a named object only those behind the pattern are counted.
      const say = () => {
        const pattern = endpoint.input.value.trim();
        const n = [...store.state.devices.keys()].filter((one) => !pattern || fits(pattern, one)).length;
        fill(reach, icon("devices"), h("span", {}, t(object.input.value.trim() ? "template.reach.object" : "template.reach", { n, count: count(n) })));
      };
      say();
      return {
        body: [name.element, h("h3", { class: "form-part" }, t("template.match")), h("div", { class: "field-pair" }, endpoint.element, object.element), reach,
          h("h3", { class: "form-part" }, t("template.what")), h("div", { class: "field" }, h("label", { for: id }, t("template.paths")), paths, h("p", { class: "hint" }, t("template.paths.hint"))),
          h("label", { class: "choice" }, composite, h("span", {}, t("template.composite"))), h("h3", { class: "form-part" }, t("attributes")), attributes.element, complaint],
        focus: () => name.input,
        submit: async () => {
          fill(complaint);
          if (!name.input.value.trim()) return complain(t("name.missing"));
          let list;
          try {
            list = readPaths(paths.value, PATTERN);
          } catch (error) {
            if (!(error instanceof FieldError)) throw error;
            return complain(error.message);
          }
          const number = object.input.value.trim();
          if (number && (!/^\d{1,5}$/.test(number) || Number(number) > 65534)) return complain(t("id.bad"));
          const given = attributes.read();
          if (!given) return undefined;
          const body = { name: name.input.value.trim(), match: { endpoint: endpoint.input.value.trim() || null, object: number ? Number(number) : null }, paths: list, attributes: given, composite: composite.checked, enabled: template?.enabled ?? true };
          try {
            close(await api.putTemplate(template?.id, body));
          } catch (error) {
            const { message, nextStep } = store.describe(error);
            complain(message, nextStep);
          }
          return undefined;
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("template.keep")))],
      };
    });
    if (!made) return;
    note(t("template.kept", { name: made.name }));
    await this.#load();
  }
}
