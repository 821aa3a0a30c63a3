// The sheets for observing and for notification attributes (OMA Core §5.1.2).

import { button, fill, h, icon } from "../dom.js";
import { dialog } from "../dialog.js";
import { milliseconds } from "../format.js";
import { t } from "../i18n.js";
import { field } from "../fields.js";
import { carryOut } from "../operate.js";
import * as store from "../store.js";

const NUMERIC = new Set(["integer", "unsigned", "float"]);

function attributeFields(resource, current) {
  const numeric = resource === null || NUMERIC.has(resource.type);
  const seconds = (name) => field(t(`attribute.${name}`), { type: "number", min: 0, step: 1, inputmode: "numeric", value: current[name] ?? "" });
  const threshold = (name) => field(t(`attribute.${name}`), { type: "number", step: "any", inputmode: "decimal", value: current[name] ?? "" });
  const fields = { pmin: seconds("pmin"), pmax: seconds("pmax"), ...(numeric && resource ? { gt: threshold("gt"), lt: threshold("lt"), st: threshold("st") } : {}) };
  const complaint = h("div", { class: "form-error", role: "alert" });
  const read = () => {
    const given = {};
    for (const [name, { input }] of Object.entries(fields)) {
      if (input.validity.badInput) return void fill(complaint, icon("warning"), h("p", {}, t("number.bad")));
      if (input.value !== "") given[name] = Number(input.value);
      else if (current[name] !== undefined && current[name] !== null) given[name] = null; // taken back
    }
    if (given.pmin > given.pmax && given.pmax !== null && given.pmax !== undefined && given.pmin !== null) return void fill(complaint, icon("warning"), h("p", {}, t("attribute.order")));
    return given;
  };
  return {
    read,
    first: fields.pmin.input,
    element: h("div", {}, h("div", { class: "field-pair" }, fields.pmin.element, fields.pmax.element), fields.gt ? h("details", { class: "more-fields", open: ["gt", "lt", "st"].some((name) => current[name] !== undefined) }, h("summary", {}, t("attribute.thresholds")), h("div", { class: "field-triple" }, fields.gt.element, fields.lt.element, fields.st.element)) : null, complaint),
  };
}

/** Start, change or stop observing a path. */
export async function observeSheet(name, path, resource, fate) {
  const found = store.observationOf(path);
  const own = found?.path === path ? found : null;
  const choice = await dialog(t("observe"), (close) => {
    const fields = attributeFields(resource, own?.attributes ?? {});
    const submit = () => {
      const attributes = fields.read();
      if (attributes) close({ attributes });
    };
    return {
      body: [
        h("p", { class: "prose" }, t("observe.text")),
        found ? h("p", { class: `state-line ${found.state}` }, icon("eye"), h("span", {}, t(`observe.is.${found.state}`), found.path === path ? "" : ` (${found.path})`, found.reason ? `: ${found.reason}` : "")) : null,
        fields.element,
      ],
      submit,
      focus: () => fields.first,
      actions: [
        own ? button(t("observe.stop"), () => close({ stop: true }), { kind: "danger-outline" }) : null,
        button(t("cancel"), () => close()),
        h("button", { type: "submit", class: "button primary" }, icon("eye"), h("span", {}, own?.state === "active" ? t("observe.apply") : t("observe.action"))),
      ].filter(Boolean),
    };
  }, { subtitle: resource?.name ? `${resource.name} · ${path}` : path });
  if (!choice) return;
  fate.pending(t("fate.pending", { operation: t(choice.stop ? "operation.Cancel" : "operation.Observe"), path }));
  try {
    const outcome = choice.stop ? await store.cancelObservation(name, path) : await store.observe(name, path, choice.attributes);
    fate.outcome(outcome ?? { operation: "Cancel", path, ok: true, code: null, text: t("observe.stopped"), words: "" }, milliseconds(outcome?.rtt_ms));
  } catch (error) {
    fate.error(error);
  }
}

/** Write-Attributes on a path, without observing it. */
export async function attributesSheet(name, path, resource, fate) {
  const own = store.state.detail?.observations.get(path);
  const attributes = await dialog(t("attributes"), (close) => {
    const fields = attributeFields(resource, own?.attributes ?? {});
    return {
      body: [h("p", { class: "prose" }, t("attributes.text")), fields.element],
      submit: () => {
        const given = fields.read();
        if (given) close(given);
      },
      focus: () => fields.first,
      actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, h("span", {}, t("write.action")))],
    };
  }, { subtitle: path });
  if (attributes && Object.keys(attributes).length) await carryOut(name, { operation: "WriteAttributes", path, attributes }, fate);
}

