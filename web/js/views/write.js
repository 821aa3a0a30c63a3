// Dialogs that write: one field for each type of the model, single values, lists and whole instances.

import { files } from "../api.js";
import { button, fill, h, icon, iconButton, setText, uniqueId } from "../dom.js";
import { confirm, dialog } from "../dialog.js";
import { bytes, meaning, units } from "../format.js";
import { t } from "../i18n.js";
import { sleepNotice } from "../operate.js";
import * as store from "../store.js";

export class FieldError extends Error {}

const RANGE = /^\s*(-?\d+(?:\.\d+)?)\s*(?:\.\.\.?|–|-|to|,)\s*(-?\d+(?:\.\d+)?)\s*(?:bytes?|characters?|s)?\s*$/i;

/** {min, max} of a range like "0..100" or "1-65534"; null when it says something else. */
export function parseRange(text) {
  const found = RANGE.exec(text ?? "");
  if (!found) return null;
  const [min, max] = [Number(found[1]), Number(found[2])];
  return min <= max ? { min, max } : null;
}

/** An input for one value of a resource: {element, input, read()}; read throws FieldError with a sentence. */
export function valueField(resource, current, label = t("value")) {
  const id = uniqueId("value");
  const make = MAKERS[resource.unknown ? "unknown" : resource.type] ?? MAKERS.string;
  const made = make(resource, current, id);
  const hints = [made.hint, resource.range && !resource.unknown ? t("range", { range: resource.range, unit: units(resource.units) }) : units(resource.units) ? t("unit", { unit: units(resource.units) }) : ""].filter(Boolean);
  const hint = h("p", { class: "hint", id: `${id}-hint` }, hints.join(" · "));
  made.input.setAttribute("aria-describedby", hint.id);
  return { ...made, element: h("div", { class: "field" }, h("label", { for: id }, label), made.element ?? made.input, hints.length ? hint : null, made.extra ?? null) };
}

function numberReader(input, resource, whole) {
  return () => {
    const text = input.value.trim().replace(",", ".");
    if (!(whole ? /^[+-]?\d+$/ : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i).test(text)) throw new FieldError(t(whole ? "integer.bad" : "number.bad"));
    const range = parseRange(resource.range);
    if (range && (Number(text) < range.min || Number(text) > range.max)) throw new FieldError(t("range.bad", { min: range.min, max: range.max }));
    if (resource.type === "unsigned" && text.startsWith("-")) throw new FieldError(t("unsigned.bad"));
    if (!whole) return Number(text);
    return Number.isSafeInteger(Number(text)) ? Number(text) : BigInt(text);
  };
}

function wholeField(resource, current, id) {
  const input = h("input", { id, class: "input", inputmode: "numeric", autocomplete: "off", value: current?.text ?? "" });
  const word = h("span", { class: "meaning" });
  const say = () => setText(word, resource.path ? meaning(resource.path, Number(input.value)) : "");
  input.addEventListener("input", say);
  say();
  return { input, element: h("div", { class: "with-word" }, input, word), read: numberReader(input, resource, true) };
}

const MAKERS = {
  boolean(resource, current, id) {
    const input = h("input", { id, type: "checkbox", role: "switch", class: "switch", checked: current?.value === true });
    const word = h("span", { class: "switch-word" }, t(input.checked ? "value.true" : "value.false"));
    input.addEventListener("change", () => setText(word, t(input.checked ? "value.true" : "value.false")));
    return { input, element: h("div", { class: "switch-line" }, input, word), read: () => input.checked };
  },
  integer: wholeField,
  unsigned: wholeField,
  float(resource, current, id) {
    const input = h("input", { id, class: "input", inputmode: "decimal", autocomplete: "off", value: current?.text ?? "" });
    return { input, read: numberReader(input, resource, false) };
  },
  string(resource, current, id) {
    const long = (current?.text?.length ?? 0) > 60;
    const input = long ? h("textarea", { id, class: "input", rows: "4", spellcheck: "false" }) : h("input", { id, class: "input", autocomplete: "off", spellcheck: "false" });
    input.value = current?.text ?? "";
    const range = parseRange(resource.range);
    const read = () => {
      const length = [...input.value].length;
      if (range && (length < range.min || length > range.max)) throw new FieldError(t("length.bad", { min: range.min, max: range.max, n: length }));
      return input.value;
    };
    return { input, read };
  },
  corelnk(resource, current, id) {
    const input = h("textarea", { id, class: "input mono", rows: "3", spellcheck: "false", placeholder: "</3303/0>,</3304/0>" });
    input.value = current?.text ?? "";
    return { input, read: () => input.value.trim(), hint: t("corelnk.hint") };
  },
  time(resource, current, id) {
    const input = h("input", { id, class: "input", type: "datetime-local", step: "1" });
    const zone = h("p", { class: "hint" });
    const set = (date) => {
      const local = new Date(date.getTime() - date.getTimezoneOffset() * 60_000);
      input.value = local.toISOString().slice(0, 19);
      say();
    };
    const say = () => {
      const date = new Date(input.value);
      setText(zone, Number.isNaN(date.getTime()) ? "" : `UTC: ${date.toISOString().replace(".000", "")}`);
    };
    input.addEventListener("input", say);
    const start = new Date(current?.value ?? Date.now());
    set(Number.isNaN(start.getTime()) ? new Date() : start);
    return {
      input,
      element: h("div", { class: "with-button" }, input, button(t("time.now"), () => set(new Date()))),
      extra: zone,
      hint: t("time.zone", { zone: Intl.DateTimeFormat().resolvedOptions().timeZone }),
      read: () => {
        const date = new Date(input.value);
        if (Number.isNaN(date.getTime())) throw new FieldError(t("time.bad"));
        return date.toISOString().replace(".000Z", "Z");
      },
    };
  },
  opaque: opaqueField,
  objlnk(resource, current, id) {
    const [objectId = "", instanceId = ""] = (current?.text ?? "").split(":");
    const first = h("input", { id, class: "input", inputmode: "numeric", list: `${id}-objects`, value: objectId, autocomplete: "off", "aria-label": t("objlnk.object") });
    const second = h("input", { class: "input", inputmode: "numeric", value: instanceId, autocomplete: "off", "aria-label": t("objlnk.instance") });
    const known = h("datalist", { id: `${id}-objects` }, (store.state.detail?.objects ?? []).map((one) => h("option", { value: String(one.id) }, one.name ?? "")));
    const none = button(t("value.nolink"), () => {
      first.value = "65535";
      second.value = "65535";
    });
    return {
      input: first,
      element: h("div", { class: "link-pair" }, first, h("span", {}, ":"), second, none, known),
      hint: t("objlnk.hint"),
      read: () => {
        for (const one of [first, second]) if (!/^\d{1,5}$/.test(one.value.trim()) || Number(one.value) > 65535) throw new FieldError(t("objlnk.bad"));
        return `${Number(first.value)}:${Number(second.value)}`;
      },
    };
  },
  unknown(resource, current, id) {
    const input = h("input", { id, class: "input", autocomplete: "off", spellcheck: "false", value: current?.type === "opaque" ? "" : (current?.text ?? "") });
    const type = h("select", { class: "input", "aria-label": t("type") }, ["string", "float", "integer", "boolean"].map((one) => h("option", { value: one, selected: one === current?.type }, t(`type.${one}`))));
    return {
      input,
      element: h("div", { class: "with-button" }, input, type),
      hint: t("type.hint"),
      read: () => {
        const text = input.value.trim();
        if (type.value === "string") return input.value;
        if (type.value === "boolean") {
          if (text !== "true" && text !== "false") throw new FieldError(t("boolean.bad"));
          return text === "true";
        }
        return numberReader(input, { type: type.value, range: "" }, type.value === "integer")();
      },
    };
  },
};

const MAX_FILE_BYTES = 256 * 1024;

function opaqueField(resource, current, id) {
  const input = h("textarea", { id, class: "input mono", rows: "3", spellcheck: "false", autocomplete: "off" });
  const size = h("p", { class: "hint", role: "status" });
  const form = uniqueId("form");
  const file = h("input", { type: "file", class: "visually-hidden", tabindex: "-1", "aria-label": t("opaque.file") });
  let kind = "hex";
  const read = () => {
    if (kind === "hex") {
      const hex = input.value.replace(/[\s:]|0x/gi, "").toLowerCase();
      if (!/^([0-9a-f]{2})*$/.test(hex)) throw new FieldError(t("hex.bad"));
      return hex;
    }
    try {
      return [...atob(input.value.replace(/\s/g, "").replace(/-/g, "+").replace(/_/g, "/"))].map((one) => one.charCodeAt(0).toString(16).padStart(2, "0")).join("");
    } catch {
      throw new FieldError(t("base64.bad"));
    }
  };
  const say = () => {
    try {
      setText(size, t("value.bytes", { n: read().length / 2 }));
    } catch (error) {
      setText(size, error.message);
    }
  };
  const show = (hex) => {
    input.value = kind === "hex" ? hex.replace(/(..)(?=.)/g, "$1 ") : btoa(String.fromCharCode(...(hex.match(/../g) ?? []).map((pair) => parseInt(pair, 16))));
    say();
  };
  const choose = (one) => {
    let hex = "";
    try {
      hex = read();
    } catch {
      // Half-typed bytes are not carried over to the other notation.
    }
    kind = one;
    show(hex);
  };
  const choices = ["hex", "base64"].map((one) => h("label", { class: "choice" }, h("input", { type: "radio", name: form, checked: one === "hex", onchange: () => choose(one) }), h("span", {}, t(`opaque.${one}`))));
  file.addEventListener("change", async () => {
    const [chosen] = file.files;
    if (!chosen) return;
    if (chosen.size > MAX_FILE_BYTES) {
      setText(size, t("opaque.toolarge", { size: bytes(chosen.size), most: bytes(MAX_FILE_BYTES) }));
      return;
    }
    show([...new Uint8Array(await chosen.arrayBuffer())].map((one) => one.toString(16).padStart(2, "0")).join(""));
  });
  input.addEventListener("input", say);
  show(current?.type === "opaque" ? current.text : "");
  return { input, read, extra: size, element: h("div", {}, h("div", { class: "choices", role: "group", "aria-label": t("opaque.form") }, choices, button(t("opaque.file"), () => file.click(), { icon: "upload", kind: "small" }), file), input) };
}

/** A table of resource instances: {element, read() -> {id: value}}. */
function listField(resource, values, base) {
  const body = h("div", { class: "value-table" });
  const rows = [];
  const add = (index, current) => {
    const id = h("input", { class: "input instance-id", inputmode: "numeric", value: String(index), "aria-label": t("resource.instance") });
    const one = valueField(resource, current, t("value.of", { n: index }));
    const row = { id, one };
    const element = h("div", { class: "value-table-row" }, h("div", { class: "field" }, h("span", { class: "field-label" }, t("id")), id), one.element, iconButton("trash", t("value.remove", { n: index }), () => {
      rows.splice(rows.indexOf(row), 1);
      element.remove();
    }));
    rows.push(row);
    body.append(element);
    return row;
  };
  const ordered = [...values].sort((a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }));
  for (const value of ordered) add(Number(value.path.slice(base.length + 1)) || 0, value);
  if (!ordered.length) add(0, null);
  const more = button(t("value.add"), () => {
    const next = Math.max(-1, ...rows.map((row) => Number(row.id.value) || 0)) + 1;
    add(next, null).one.input.focus();
  }, { icon: "plus", kind: "small" });
  return {
    element: h("div", {}, body, more),
    get input() {
      return rows[0]?.one.input;
    },
    read() {
      const given = {};
      for (const { id, one } of rows) {
        const key = id.value.trim();
        if (!/^\d{1,5}$/.test(key) || Number(key) > 65534) throw new FieldError(t("id.bad"));
        if (key in given) throw new FieldError(t("id.twice", { id: key }));
        given[key] = one.read();
      }
      return given;
    },
  };
}

function modeChoice(first) {
  const name = uniqueId("mode");
  const inputs = ["update", "replace"].map((mode) => h("input", { type: "radio", name, value: mode, checked: mode === first }));
  return {
    element: h("fieldset", { class: "choices" }, h("legend", {}, t("mode")), inputs.map((input) => h("label", { class: "choice" }, input, h("span", {}, t(`mode.${input.value}`))))),
    get value() {
      return inputs.find((input) => input.checked).value;
    },
  };
}

/** Send while the dialog stays: a failure is shown in it, a success closes it. */
function sender(name, close, build) {
  const complaint = h("div", { class: "form-error", role: "alert" });
  const send = h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("write.action")));
  const say = (text, nextStep = "") => fill(complaint, icon("warning"), h("p", {}, h("strong", {}, text), nextStep ? ` ${nextStep}` : ""));
  const submit = async () => {
    fill(complaint);
    let operation;
    try {
      operation = build();
    } catch (error) {
      if (!(error instanceof FieldError)) throw error;
      return say(error.message);
    }
    if (/^\/[01]\//.test(operation.path) && operation.operation === "Write") {
      const object = operation.path[1];
      if (!(await confirm(t(`confirm.write${object}`), t(`confirm.write${object}.text`, { path: operation.path, name }), t("confirm.write.action")))) return undefined;
    }
    send.disabled = true;
    send.classList.add("busy");
    try {
      const outcome = await store.operate(name, operation);
      if (outcome.ok) close(outcome);
      else say(`${outcome.code} ${outcome.text}`, outcome.words);
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      say(message, nextStep);
    } finally {
      send.disabled = false;
      send.classList.remove("busy");
    }
    return undefined;
  };
  return { complaint, send, submit };
}

/** A choice among the stored files, in place of bytes typed by hand: sent block by block, as a task. */
function storedFile(typed) {
  const select = h("select", { id: uniqueId("file"), class: "input" }, h("option", { value: "" }, t("opaque.typed")));
  const hint = h("p", { class: "hint", hidden: true }, t("opaque.stored.hint"));
  select.addEventListener("change", () => {
    typed.hidden = Boolean(select.value);
    hint.hidden = !select.value;
  });
  const element = h("div", { class: "field", hidden: true }, h("label", { for: select.id }, t("opaque.stored")), select, hint);
  files().then(({ files: found }) => {
    const whole = found.filter((one) => !one.damaged);
    select.append(...whole.map((one) => h("option", { value: one.id }, `${one.name} (${bytes(one.size_bytes)})`)));
    element.hidden = whole.length === 0;
  }).catch(() => {
    // Without the list of files the bytes can still be typed.
  });
  return {
    element,
    get chosen() {
      return select.value;
    },
  };
}

/** Write one resource. Resolves with the outcome, undefined when given up. */
export function writeDialog(name, path, resource, values) {
  const label = resource.name ?? t("resource.unknown", { id: resource.id });
  return dialog(t("write", { name: label }), (close) => {
    const many = resource.multiple;
    const typed = { ...resource, path };
    const value = many ? listField(typed, values, path) : valueField(typed, values[0] ?? null);
    const mode = many ? modeChoice("replace") : null;
    const stored = !many && resource.type === "opaque" ? storedFile(value.element) : null;
    const { complaint, send, submit } = sender(name, close, () => (stored?.chosen ? { operation: "Write", path, file: stored.chosen } : many
      ? { operation: "Write", path, values: value.read(), mode: mode.value }
      : { operation: "Write", path, value: value.read() }));
    return { body: [sleepNotice(name), value.element, stored?.element, mode?.element, complaint].filter(Boolean), submit, focus: () => value.input, actions: [button(t("cancel"), () => close()), send] };
  }, { subtitle: `${path} · ${t(`type.${resource.type}`)}` });
}

/** Create an instance, or write several resources of one. */
export function instanceDialog(name, object, { create, instanceId = null }) {
  const base = instanceId === null ? `/${object.id}` : `/${object.id}/${instanceId}`;
  const title = create ? t("instance.create.of", { name: object.name ?? `/${object.id}` }) : t("instance.write");
  return dialog(title, (close) => {
    const id = h("input", { id: uniqueId("instance"), class: "input instance-id", inputmode: "numeric", placeholder: t("instance.auto") });
    const mode = create ? null : modeChoice("update");
    // A device's own readings are part of what Create carries: IPSO sensors make them mandatory.
    const resources = object.resources.filter((one) => one.operations.includes("W") || (create && one.mandatory && one.operations.includes("R")));
    const rows = resources.map((resource) => {
      const path = `${base}/${resource.id}`;
      const values = [...(store.state.detail?.values.values() ?? [])].filter((value) => !create && (value.path === path || value.path.startsWith(`${path}/`)));
      const value = resource.multiple ? listField({ ...resource, path }, values, path) : valueField({ ...resource, path }, values[0] ?? null);
      const take = h("input", { type: "checkbox", checked: create && resource.mandatory && resource.operations.includes("W") });
      const part = h("div", { class: "instance-value", hidden: !take.checked }, value.element);
      take.addEventListener("change", () => {
        part.hidden = !take.checked;
        if (take.checked) value.input?.focus();
      });
      return { resource, value, take, element: h("div", { class: "instance-field" }, h("label", { class: "choice" }, take, h("span", {}, resource.name), h("span", { class: "path" }, String(resource.id)), resource.mandatory ? h("span", { class: "badge plain" }, t("mandatory")) : null), part) };
    });
    const { complaint, send, submit } = sender(name, close, () => {
      const values = {};
      for (const { resource, value, take } of rows) {
        if (!take.checked) continue;
        try {
          values[resource.id] = value.read();
        } catch (error) {
          if (error instanceof FieldError) throw new FieldError(`${resource.name}: ${error.message}`);
          throw error;
        }
      }
      if (!create) {
        if (!Object.keys(values).length) throw new FieldError(t("instance.nothing"));
        return { operation: "Write", path: base, values, mode: mode.value };
      }
      const text = id.value.trim();
      if (text && (!/^\d{1,5}$/.test(text) || Number(text) > 65534)) throw new FieldError(t("id.bad"));
      return { operation: "Create", path: base, instance: text ? Number(text) : null, values };
    });
    if (create) setText(send.querySelector("span"), t("instance.create"));
    return {
      body: [
        sleepNotice(name) ?? [],
        create ? h("div", { class: "field" }, h("label", { for: id.id }, t("instance.id")), id, h("p", { class: "hint" }, t("instance.id.hint"))) : mode.element,
        rows.length ? h("div", { class: "instance-fields" }, h("p", { class: "field-label" }, t("instance.values")), rows.map((row) => row.element)) : h("p", { class: "prose" }, t("instance.novalues")),
        complaint,
      ],
      submit,
      focus: () => (create ? id : undefined),
      actions: [button(t("cancel"), () => close()), send],
    };
  }, { subtitle: base });
}
