// Several paths as one request: read, write or observe them; sets of paths are kept in this browser.

import { button, fill, h, icon, iconButton, Life, uniqueId } from "../dom.js";
import { confirm, dialog, Fate, note } from "../dialog.js";
import { field } from "../fields.js";
import { milliseconds } from "../format.js";
import { t } from "../i18n.js";
import { canOperate, carryOut, sleepNotice } from "../operate.js";
import * as store from "../store.js";
import { attributeFields } from "./attributes.js";
import { valueTable } from "./tasks.js";
import { FieldError, valueField } from "./write.js";

const KEPT_AS = "homard.pathsets";
const MAX_SETS = 50;
const MAX_PATHS = 100;
const PATH = /^\/\d{1,5}(\/\d{1,5}){0,3}$/;

/** Paths as they were typed: one a line, or with spaces or commas between them. */
export function readPaths(text, pattern = PATH) {
  const found = [...new Set(text.split(/[\s,;]+/).filter(Boolean).map((one) => (one.startsWith("/") ? one : `/${one}`)))];
  const bad = found.find((one) => !pattern.test(one));
  if (bad) throw new FieldError(t("paths.bad", { path: bad }));
  if (!found.length) throw new FieldError(t("paths.none"));
  if (found.length > MAX_PATHS) throw new FieldError(t("paths.many", { n: MAX_PATHS }));
  return found;
}

function keptSets() {
  try {
    const sets = JSON.parse(localStorage.getItem(KEPT_AS) ?? "[]");
    return Array.isArray(sets) ? sets.filter((one) => typeof one?.name === "string" && Array.isArray(one.paths)) : [];
  } catch {
    return [];
  }
}

function keepSets(sets) {
  try {
    localStorage.setItem(KEPT_AS, JSON.stringify(sets));
    return true;
  } catch {
    return false;
  }
}

export class CompositePanel {
  #life = new Life();
  #name;
  #fate = new Fate();
  #sets = h("select", { class: "input", "aria-label": t("composite.sets") });
  #forget;
  #input;
  #complaint = h("div", { class: "form-error", role: "alert" });
  #count = h("p", { class: "hint", role: "status" });
  #result = h("div", { class: "composite-result" });
  #observed = h("div", {});
  #picker = h("select", { class: "input", "aria-label": t("composite.add") });
  #pickerKey = "";

  constructor(name, { close }) {
    this.#name = name;
    const id = uniqueId("paths");
    this.#input = h("textarea", { id, class: "input mono", rows: "5", spellcheck: "false", autocapitalize: "none", autocomplete: "off", placeholder: "/3303/0/5700\n/3/0/9", oninput: () => this.#say() });
    this.#forget = iconButton("trash", t("composite.forget"), () => this.#remove());
    this.#sets.addEventListener("change", () => {
      const set = keptSets().find((one) => one.name === this.#sets.value);
      if (set) this.#input.value = set.paths.join("\n");
      this.#forget.disabled = !set;
      this.#say();
    });
    this.#picker.addEventListener("change", () => {
      const lines = this.#input.value.split("\n").filter((line) => line.trim());
      if (this.#picker.value && !lines.includes(this.#picker.value)) this.#input.value = [...lines, this.#picker.value].join("\n");
      this.#picker.value = "";
      this.#say();
    });
    const act = (key, symbol, action, kind = "") => button(t(key), action, { icon: symbol, kind });
    this.element = h("section", { class: "panel", "aria-label": t("composite") },
      h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, iconButton("left", t("back"), close, { class: "phone-only" }), h("div", { class: "panel-names" }, h("span", { class: "panel-device" }, name), h("h2", {}, t("composite"))), iconButton("close", t("close.panel"), close, { class: "wide-only" })), this.#fate.element),
      h("div", { class: "panel-body padded composite" },
        h("p", { class: "prose" }, t("composite.text")),
        h("div", { class: "with-button" }, this.#sets, this.#forget),
        h("div", { class: "field" }, h("label", { for: id }, t("composite.paths")), this.#input, this.#count),
        this.#picker, this.#complaint,
        canOperate() ? h("div", { class: "button-row" },
          act("composite.read", "book", (event) => this.#read(event.currentTarget), "primary"), act("composite.write", "pencil", () => this.#write()), act("composite.observe", "eye", () => this.#observe()), act("composite.keep", "plus", () => this.#keep())) : null,
        this.#result, this.#observed));
    store.on("observations", () => this.#showObserved(), this.#life);
    this.#showSets("");
    this.update();
  }

  update() {
    this.#showPicker();
    this.#showObserved();
    this.#say();
  }

  end() {
    this.#life.end();
  }

  /** Names of the model beside their paths, so that nobody has to know numbers by heart. */
  #showPicker() {
    const objects = store.state.detail?.objects ?? [];
    const key = JSON.stringify(objects.map((one) => [one.id, one.instances]));
    if (key === this.#pickerKey) return;
    this.#pickerKey = key;
    fill(this.#picker, h("option", { value: "" }, t("composite.add")), objects.map((object) => object.instances.map((instance) => h("optgroup", { label: `${object.name ?? object.id} /${object.id}/${instance}` },
      h("option", { value: `/${object.id}/${instance}` }, t("composite.whole", { path: `/${object.id}/${instance}` })),
      object.resources.filter((one) => /[RW]/.test(one.operations)).map((one) => h("option", { value: `/${object.id}/${instance}/${one.id}` }, `${one.name} /${object.id}/${instance}/${one.id}`))))));
  }

  #showSets(chosen) {
    const sets = keptSets();
    fill(this.#sets, h("option", { value: "" }, t(sets.length ? "composite.choose" : "composite.nosets")), sets.map((one) => h("option", { value: one.name, selected: one.name === chosen }, `${one.name} (${one.paths.length})`)));
    this.#forget.disabled = !sets.some((one) => one.name === chosen);
  }

  #say() {
    const old = store.state.detail?.device?.version === "1.0";
    fill(this.#complaint, old ? [icon("info"), h("p", {}, t("composite.old"))] : []);
    const n = this.#input.value.split(/[\s,;]+/).filter(Boolean).length;
    fill(this.#count, n ? t("composite.count", { n }) : t("composite.hint"));
  }

  #paths() {
    try {
      fill(this.#complaint);
      return readPaths(this.#input.value);
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      fill(this.#complaint, icon("warning"), h("p", {}, error.message));
      this.#input.focus();
      return null;
    }
  }

  async #read(control) {
    const paths = this.#paths();
    if (!paths) return;
    const outcome = await carryOut(this.#name, { operation: "ReadComposite", paths }, this.#fate, control);
    if (!outcome || outcome.queued) return;
    const missing = paths.filter((path) => !outcome.values.some((value) => value.path === path || value.path.startsWith(`${path}/`)));
    fill(this.#result, outcome.values.length ? [h("h3", {}, t("composite.answer")), valueTable(outcome.values)] : [], outcome.ok && missing.length ? h("p", { class: "warning-line" }, icon("info"), h("span", {}, t("composite.missing", { paths: missing.join(", ") }))) : []);
  }

  async #write() {
    const paths = this.#paths();
    if (!paths) return;
    const chosen = paths.map((path) => ({ path, resource: resourceOf(path) })).filter(({ path, resource }) => path.split("/").length > 3 && (!resource || resource.operations.includes("W")));
    if (!chosen.length) {
      fill(this.#complaint, icon("warning"), h("p", {}, t("composite.nothing")));
      return;
    }
    const values = await dialog(t("composite.write"), (close) => {
      const complaint = h("div", { class: "form-error", role: "alert" });
      const rows = chosen.map(({ path, resource }) => {
        const known = store.state.detail?.values.get(path) ?? null;
        return { path, value: valueField({ ...(resource ?? { name: null, operations: "RW", type: known?.type ?? "string", range: "", units: "", unknown: !resource }), path }, known, `${resource?.name ?? ""} ${path}`.trim()) };
      });
      return {
        body: [sleepNotice(this.#name), h("p", { class: "prose" }, t("composite.write.text")), rows.map(({ value }) => value.element), complaint],
        focus: () => rows[0].value.input,
        submit: () => {
          const given = {};
          for (const { path, value } of rows) {
            try {
              given[path] = value.read();
            } catch (error) {
              if (!(error instanceof FieldError)) throw error;
              return void fill(complaint, icon("warning"), h("p", {}, `${path}: ${error.message}`));
            }
          }
          return close(given);
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("write.action")))],
      };
    });
    if (values) await carryOut(this.#name, { operation: "WriteComposite", values }, this.#fate);
  }

  async #observe() {
    const paths = this.#paths();
    if (!paths) return;
    const attributes = await dialog(t("composite.observe"), (close) => {
      const fields = attributeFields({ composite: true, version: store.state.detail?.device?.version ?? "" });
      return {
        body: [sleepNotice(this.#name), h("p", { class: "prose" }, t("composite.observe.text")), h("p", { class: "mono path-list" }, paths.join("  ")), fields.element],
        focus: () => fields.first,
        submit: () => {
          const given = fields.read();
          if (given) close(given);
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("eye"), h("span", {}, t("observe.action")))],
      };
    });
    if (!attributes) return;
    this.#fate.pending(t("fate.pending", { operation: t("operation.ObserveComposite"), path: paths.join(", ") }));
    try {
      const outcome = await store.observeComposite(this.#name, paths, attributes);
      this.#fate.outcome(outcome, milliseconds(outcome.rtt_ms));
    } catch (error) {
      this.#fate.error(error);
    }
  }

  #showObserved() {
    const rows = [...(store.state.detail?.observations.values() ?? [])].filter((row) => row.composite);
    fill(this.#observed, rows.length ? [h("h3", {}, t("composite.observed")), h("ul", { class: "observation-list" }, rows.map((row) => h("li", {},
      h("div", { class: "grow" }, h("span", { class: "mono path-list" }, row.paths.join("  ")), h("div", { class: `observed ${row.state}` }, t(`observe.${row.state}`), row.reason ? `: ${row.reason}` : "")),
      canOperate() ? iconButton("close", t("observe.stop.path", { path: row.path }), () => this.#cancel(row.path)) : null)))] : []);
  }

  async #cancel(path) {
    this.#fate.pending(t("fate.pending", { operation: t("operation.Cancel"), path }));
    try {
      this.#fate.outcome(await store.cancelObservation(this.#name, path));
    } catch (error) {
      this.#fate.error(error);
    }
  }

  async #keep() {
    const paths = this.#paths();
    if (!paths) return;
    const name = await dialog(t("composite.keep"), (close) => {
      const input = field(t("name"), { maxlength: 60, value: this.#sets.value, autocomplete: "off" }, t("composite.keep.hint"));
      return { body: input.element, focus: () => input.input, submit: () => close(input.input.value.trim()), actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, h("span", {}, t("composite.keep")))] };
    });
    if (!name) return;
    const others = keptSets().filter((one) => one.name !== name);
    if (others.length >= MAX_SETS || !keepSets([...others, { name, paths }].sort((a, b) => a.name.localeCompare(b.name)))) {
      note(t("composite.notkept"), { kind: "bad", nextStep: t("composite.notkept.next") });
      return;
    }
    this.#showSets(name);
    note(t("composite.kept", { name }));
  }

  async #remove() {
    const name = this.#sets.value;
    if (!(await confirm(t("composite.forget"), t("composite.forget.text", { name }), t("composite.forget.action")))) return;
    keepSets(keptSets().filter((one) => one.name !== name));
    this.#showSets("");
  }
}

function resourceOf(path) {
  const [, objectId, , resourceId] = path.split("/");
  return store.state.detail?.objects?.find((one) => one.id === Number(objectId))?.resources.find((one) => one.id === Number(resourceId)) ?? null;
}
