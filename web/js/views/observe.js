// The sheets for observing and for notification attributes (OMA Core §5.1.2).

import { button, h, icon } from "../dom.js";
import { dialog } from "../dialog.js";
import { milliseconds } from "../format.js";
import { t } from "../i18n.js";
import { carryOut, sleepNotice } from "../operate.js";
import * as store from "../store.js";
import { attributeFields } from "./attributes.js";

/** What of a path the fields depend on. */
const place = (path, resource) => ({ type: resource && !resource.unknown ? resource.type : null, single: path.split("/").length > 3, version: store.state.detail?.device?.version ?? "" });

/** Start, change or stop observing a path. */
export async function observeSheet(name, path, resource, fate) {
  const found = store.observationOf(path);
  const own = found?.path === path ? found : null;
  const choice = await dialog(t("observe"), (close) => {
    const fields = attributeFields(place(path, resource), own?.attributes ?? {});
    const submit = () => {
      const attributes = fields.read();
      if (attributes) close({ attributes });
    };
    return {
      body: [
        sleepNotice(name) ?? [],
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
    const fields = attributeFields(place(path, resource), own?.attributes ?? {});
    return {
      body: [sleepNotice(name) ?? [], h("p", { class: "prose" }, t("attributes.text")), fields.element],
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

