// Object models: what is known, what each says, and the user's own.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { confirm, note, noteError } from "../dialog.js";
import { count, units } from "../format.js";
import { t } from "../i18n.js";
import { go, parse } from "../router.js";
import * as store from "../store.js";
import { VirtualList } from "../virtual.js";

const canAdmin = () => store.state.session?.scopes.includes("admin");

export class ModelsPage {
  #life = new Life();
  #models = [];
  #list;
  #search = "";
  #ownOnly = false;
  #route;
  #summary = h("p", { class: "summary", role: "status" }, t("loading"));
  #detail = h("section", { class: "model-detail", "aria-label": t("model") });
  #empty = h("div", { class: "empty", hidden: true }, icon("search", "icon hero"), h("h2", {}, t("models.nomatch")), h("p", {}, t("models.nomatch.hint")));

  constructor(route) {
    this.#route = route;
    const scroller = h("div", { class: "model-scroller", role: "list", "aria-label": t("nav.models") });
    this.#list = new VirtualList(scroller, { rowHeight: 52, key: (row) => String(row.id), make: (row) => this.#make(row), update: (element, row) => element.update(row), open: (row) => go(`#/models/${row.id}`) }, this.#life);
    const search = h("input", { class: "input", type: "search", placeholder: t("models.search"), "aria-label": t("models.search"), autocomplete: "off", oninput: (event) => {
      this.#search = event.target.value.trim().toLocaleLowerCase();
      this.#choose();
    } });
    const file = h("input", { type: "file", accept: ".xml,application/xml,text/xml", class: "visually-hidden", tabindex: "-1", "aria-label": t("models.upload"), multiple: true, onchange: () => this.#upload(file) });
    const own = h("button", { type: "button", class: "chip", "aria-pressed": "false", onclick: () => {
      this.#ownOnly = !this.#ownOnly;
      own.setAttribute("aria-pressed", String(this.#ownOnly));
      this.#choose();
    } }, t("models.own"));
    this.element = h("div", { class: "page models" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.models")), this.#summary), h("div", { class: "tools" }, own, h("div", { class: "search" }, icon("search"), search), button(t("profiles"), async () => (await import("./profiles.js")).profilesDialog(), { icon: "link" }), canAdmin() ? [button(t("models.upload"), () => file.click(), { icon: "upload", kind: "primary" }), file] : null)),
      h("div", { class: "model-body" }, h("div", { class: "card-body" }, scroller, this.#empty), this.#detail));
    this.#load();
    this.#show();
  }

  show(route) {
    this.#route = route;
    this.#list.refresh();
    this.#show();
    return true;
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      this.#models = (await api.models()).models;
      this.#choose();
    } catch (error) {
      setText(this.#summary, "");
      noteError(error);
    }
  }

  #choose() {
    const found = this.#models.filter((row) => (!this.#ownOnly || row.own.length) && (!this.#search || row.name.toLocaleLowerCase().includes(this.#search) || String(row.id).startsWith(this.#search)));
    this.#list.items = found;
    this.#empty.hidden = found.length > 0;
    setText(this.#summary, t("models.summary", { n: found.length, count: count(found.length) }));
  }

  #make(first) {
    const name = h("span", { class: "model-name" });
    const versions = h("span", { class: "model-versions" });
    const element = h("div", { class: "model-row", role: "listitem", onclick: () => go(`#/models/${first.id}`) }, h("span", { class: "model-id" }, String(first.id)), name, versions);
    element.update = (row) => {
      setText(name, row.name);
      fill(versions, row.own.length ? h("span", { class: "badge own" }, t("models.own")) : null, h("span", { class: "muted" }, [...row.versions, ...row.own].join(", ")));
      if (this.#route.id === row.id) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
    };
    return element;
  }

  async #show() {
    const { id, version } = this.#route;
    this.element.classList.toggle("at-model", id !== null);
    if (id === null) {
      fill(this.#detail, h("div", { class: "empty" }, icon("cube", "icon hero"), h("h2", {}, t("models.choose")), h("p", {}, t("models.choose.hint"))));
      return;
    }
    try {
      const model = await api.model(id, version);
      if (this.#route.id !== id || this.#life.ended) return;
      const row = this.#models.find((one) => one.id === id) ?? (await api.models()).models.find((one) => one.id === id);
      const versions = [...(row?.versions ?? []), ...(row?.own ?? [])];
      const select = h("select", { class: "input", "aria-label": t("models.version"), onchange: (event) => go(`#/models/${id}?version=${event.target.value}`) }, versions.map((one) => h("option", { value: one, selected: one === model.version }, one)));
      fill(this.#detail,
        h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, h("h2", {}, model.name), h("span", { class: "panel-id" }, `\\${model.id}`), iconButton("close", t("close"), () => go("#/models"))),
          h("div", { class: "panel-tools" }, versions.length > 1 ? select : h("span", { class: "badge plain" }, `v${model.version}`), h("span", { class: "badge plain" }, t(model.multiple ? "model.multiple" : "model.single")), row?.own.includes(model.version) && canAdmin() ? button(t("models.remove"), () => this.#remove(model), { icon: "trash", kind: "danger-outline small" }) : null)),
        h("div", { class: "panel-body table-scroll" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["id", "name", "operations", "type", "range", "units"].map((one) => h("th", { scope: "col" }, t(`model.${one}`))))),
          h("tbody", {}, model.resources.map((one) => h("tr", {}, h("td", { class: "mono" }, String(one.id)), h("td", {}, one.name, one.mandatory ? h("span", { class: "badge plain" }, t("mandatory")) : null, one.multiple ? h("span", { class: "badge plain" }, t("several")) : null), h("td", {}, one.operations || "–"), h("td", {}, t(`type.${one.type}`)), h("td", {}, one.range || "–"), h("td", {}, units(one.units) || "–")))))));
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      fill(this.#detail, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep)));
    }
  }

  async #upload(input) {
    for (const file of input.files) {
      try {
        const model = await api.addModel(await file.arrayBuffer());
        note(t("models.added", { name: model.name, id: model.id, version: model.version }));
        await this.#load();
        go(`#/models/${model.id}?version=${model.version}`);
      } catch (error) {
        error.message = `${file.name}: ${error.message}`;
        noteError(error);
      }
    }
    input.value = "";
  }

  async #remove(model) {
    if (!(await confirm(t("confirm.model"), t("confirm.model.text", { name: model.name, id: model.id, version: model.version }), t("models.remove")))) return;
    try {
      await api.removeModel(model.id, model.version);
      note(t("models.removed", { name: model.name }));
      await this.#load();
      if (parse(location.hash).version) go(`#/models/${model.id}`);
      else go("#/models");
    } catch (error) {
      noteError(error);
    }
  }
}
