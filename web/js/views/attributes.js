// The fields of notification attributes: what each means, and what does not go together (OMA Core §5.1.2).

import { fill, h, icon, uniqueId } from "../dom.js";
import { field } from "../fields.js";
import { t } from "../i18n.js";

const NUMERIC = new Set(["integer", "unsigned", "float", "time"]);
const SINCE = { epmin: "1.1", epmax: "1.1", edge: "1.2", con: "1.2", hqmax: "1.2" };
const CHOICES = { edge: ["", "1", "0"], con: ["", "1", "0"] };
const GROUPS = [["pmin", "pmax"], ["gt", "lt", "st", "edge"], ["epmin", "epmax"], ["con", "hqmax"]];
const TITLES = [null, "attribute.thresholds", "attribute.evaluation", "attribute.delivery"];

/**
 * Which attributes fit: `type` of the resource (null when it is not known), `single` whether the path is one
 * resource, `version` of the device ("" when it is for several), `composite` whether they are for several paths.
 */
function fitting({ type = null, single = false, version = "", composite = false }) {
  return GROUPS.flat().filter((name) => {
    if (version && version < (SINCE[name] ?? "1.0")) return false;
    if (["gt", "lt", "st"].includes(name)) return single && !composite && (type === null || NUMERIC.has(type));
    if (name === "edge") return single && !composite && (type === null || type === "boolean");
    return !(composite && name === "hqmax");
  });
}

/** {element, first, read()}; read gives what is to be written, null for what is taken back, or undefined with the fault shown. */
export function attributeFields(place, current = {}) {
  const fields = {};
  for (const name of fitting(place)) fields[name] = make(name, current[name]);
  const complaint = h("div", { class: "form-error", role: "alert" });
  const say = (text) => void fill(complaint, icon("warning"), h("p", {}, text));
  const read = () => {
    fill(complaint);
    const given = {};
    for (const [name, { input }] of Object.entries(fields)) {
      if (input.validity.badInput) return say(t("number.bad"));
      const text = input.value.trim();
      if (text === "") {
        if (current[name] !== undefined && current[name] !== null) given[name] = null;
        continue;
      }
      const value = Number(text.replace(",", "."));
      if (!Number.isFinite(value) || (!["gt", "lt"].includes(name) && value < 0) || (!["gt", "lt", "st"].includes(name) && !Number.isInteger(value))) return say(`${t(`attribute.${name}`)}: ${t(["gt", "lt", "st"].includes(name) ? "number.bad" : "attribute.whole")}`);
      given[name] = value;
    }
    const fault = check(given);
    return fault ? say(t(fault)) : given;
  };
  const groups = GROUPS.map((names, index) => {
    const there = names.filter((name) => fields[name]).map((name) => fields[name].element);
    if (!there.length) return null;
    const grid = h("div", { class: "field-pair" }, there);
    if (!TITLES[index]) return grid;
    return h("details", { class: "more-fields", open: names.some((name) => current[name] !== undefined && current[name] !== null) }, h("summary", {}, t(TITLES[index])), grid);
  });
  return { read, first: fields.pmin.input, element: h("div", { class: "attribute-fields" }, groups.filter(Boolean), complaint) };
}

function make(name, value) {
  const label = t(`attribute.${name}`);
  const hint = t(`attribute.${name}.hint`);
  if (!CHOICES[name]) {
    const real = ["gt", "lt", "st"].includes(name);
    return field(label, { type: "number", ...(real ? { step: "any", inputmode: "decimal" } : { min: 0, step: 1, inputmode: "numeric" }), value: value ?? "", "data-attribute": name }, hint);
  }
  const id = uniqueId("attribute");
  const input = h("select", { id, class: "input", "aria-describedby": `${id}-hint`, "data-attribute": name }, CHOICES[name].map((one) => h("option", { value: one, selected: String(value ?? "") === one }, t(`attribute.${name}.${one || "unset"}`))));
  return { input, element: h("div", { class: "field" }, h("label", { for: id }, label), input, h("p", { class: "hint", id: `${id}-hint` }, hint)) };
}

/** The message of the first rule that is broken; what is null or not there breaks none. */
function check({ pmin, pmax, epmin, epmax, gt, lt, st }) {
  const there = (...values) => values.every((value) => value !== undefined && value !== null);
  if (there(pmin, pmax) && pmax !== 0 && pmin > pmax) return "attribute.order";
  if (there(epmin, epmax) && epmin >= epmax) return "attribute.eporder";
  if (there(st) && st <= 0) return "attribute.ststep";
  if (there(gt, lt) && lt >= gt) return "attribute.ltgt";
  if (there(gt, lt, st) && lt + 2 * st >= gt) return "attribute.ltstgt";
  return null;
}

/** Attributes as badges: "pmin 10 s". */
export function attributeBadges(attributes) {
  return Object.entries(attributes ?? {}).filter(([, value]) => value !== null).map(([name, value]) => h("span", { class: "badge plain", title: GROUPS.flat().includes(name) ? t(`attribute.${name}`) : name }, `${name} ${value}`));
}
