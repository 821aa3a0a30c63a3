// One operation for many devices at once: each gets its task, those that sleep when they wake.

import * as api from "../api.js";
import { button, fill, h, icon, uniqueId } from "../dom.js";
import { confirm, dialog } from "../dialog.js";
import { field } from "../fields.js";
import { count } from "../format.js";
import { t } from "../i18n.js";
import * as store from "../store.js";
import { FieldError, valueField } from "./write.js";

const VERBS = ["Read", "Write", "Execute"];
const PATIENCE = { hour: 3600, day: 86_400, week: 604_800, month: 2_592_000 };

const searched = (row, text) => [row.endpoint_name, row.manufacturer, row.model, row.address].some((one) => one && String(one).toLocaleLowerCase().includes(text));

/** Resolves with {batch, tasks, refused}; undefined when it was given up. */
export function batchDialog() {
  return dialog(t("batch.new"), (close) => {
    const search = field(t("batch.devices"), { type: "search", autocomplete: "off", placeholder: t("batch.all"), oninput: () => say() }, t("batch.devices.hint"));
    const verb = h("select", { id: uniqueId("verb"), class: "input", onchange: () => shape() }, VERBS.map((one) => h("option", { value: one }, t(`operation.${one}`))));
    const path = field(t("path"), { class: "input mono", autocomplete: "off", placeholder: "/3/0/9", oninput: () => shape() });
    const patience = h("select", { id: uniqueId("patience"), class: "input" }, Object.keys(PATIENCE).map((one) => h("option", { value: one, selected: one === "day" }, t(`batch.patience.${one}`))));
    const place = h("div", {});
    const reach = h("p", { class: "state-line", role: "status" });
    const complaint = h("div", { class: "form-error", role: "alert" });
    const complain = (text, next = "") => void fill(complaint, icon("warning"), h("p", {}, h("strong", {}, text), next ? ` ${next}` : ""));
    let value = null;
    let asked = 0;
    const chosen = () => {
      const text = search.input.value.trim().toLocaleLowerCase();
      return [...store.state.devices.values()].filter((row) => !text || searched(row, text));
    };
    const say = () => {
      const rows = chosen();
      const asleep = rows.filter((row) => store.sleeps(row.endpoint_name)).length;
      fill(reach, icon("devices"), h("span", {}, t("batch.reach", { n: rows.length, count: count(rows.length) }), asleep ? ` ${t("batch.asleep", { n: asleep, count: count(asleep) })}` : ""));
    };
    /** The field of the value knows its type when the model of the object does. */
    const shape = async () => {
      asked += 1;
      const turn = asked;
      const parts = path.input.value.trim().replace(/^\//, "").split("/");
      if (verb.value !== "Write" || parts.length !== 3 || !parts.every((one) => /^\d{1,5}$/.test(one))) {
        value = null;
        fill(place);
        return;
      }
      let resource;
      try {
        resource = (await api.model(Number(parts[0]))).resources.find((one) => one.id === Number(parts[2]));
      } catch {
        // Without a model its type is chosen by hand.
      }
      if (turn !== asked) return;
      value = valueField({ ...(resource ?? { name: null, type: "string", range: "", units: "", unknown: true }), path: `/${parts.join("/")}` }, null, resource?.name ?? t("value"));
      fill(place, value.element);
    };
    say();
    return {
      body: [search.element, reach, h("div", { class: "field-pair" }, h("div", { class: "field" }, h("label", { for: verb.id }, t("batch.operation")), verb), path.element), place,
        h("div", { class: "field" }, h("label", { for: patience.id }, t("batch.patience")), patience, h("p", { class: "hint" }, t("batch.patience.hint"))), complaint],
      focus: () => search.input,
      submit: async () => {
        fill(complaint);
        const at = `/${path.input.value.trim().replace(/^\//, "")}`;
        if (!/^\/\d{1,5}(\/\d{1,5}){0,3}$/.test(at)) return complain(t("paths.bad", { path: at }));
        const operation = { operation: verb.value, path: at };
        try {
          if (verb.value === "Write") {
            if (!value) return complain(t("batch.writepath"));
            operation.value = value.read();
          }
        } catch (error) {
          if (!(error instanceof FieldError)) throw error;
          return complain(error.message);
        }
        const text = search.input.value.trim();
        // A slip of the finger must not restart a fleet, or write to the objects that keep it in touch.
        if (verb.value === "Execute" || (verb.value === "Write" && /^\/[01]\//.test(at))) {
          const n = chosen().length;
          if (!(await confirm(t("confirm.batch"), t("confirm.batch.text", { operation: t(`operation.${verb.value}`), path: at, n, count: count(n) }), t("batch.send")))) return undefined;
        }
        try {
          close(await api.submit({ ...(text ? { search: text } : { all: true }), operation, ttl_s: PATIENCE[patience.value] }));
        } catch (error) {
          const { message, nextStep } = store.describe(error);
          complain(message, nextStep);
        }
        return undefined;
      },
      actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("send"), h("span", {}, t("batch.send")))],
    };
  });
}
