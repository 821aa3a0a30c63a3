// One object instance: a line for every resource, with eye, book, play and pencil.

import { button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { confirm, dialog, Fate, menu, note } from "../dialog.js";
import { ageElement, expected, milliseconds, setAge, shown } from "../format.js";
import { t } from "../i18n.js";
import { field } from "../fields.js";
import { canOperate, carryOut, copyText, DANGEROUS, sleepNotice } from "../operate.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { attributesSheet, observeSheet } from "./observe.js";
import { instanceDialog, writeDialog } from "./write.js";

export class InstancePanel {
  #life = new Life();
  #name;
  #route;
  #options;
  #fate = new Fate();
  #title = h("h2", {});
  #id = h("span", { class: "panel-id" });
  #select = h("select", { class: "input instance-select", "aria-label": t("instance") });
  #notice = h("div", {});
  #sleep = h("div", { class: "phone-block" }); // beside the panel, on a wide screen, the state of the device says it
  #rows = h("ul", { class: "resource-list" });
  #lines = new Map(); // resource id -> ResourceLine
  #drawn = "";
  #highlighted = null;
  #buttons = {};

  constructor(name, route, options) {
    this.#name = name;
    this.#route = route;
    this.#options = options;
    const operate = canOperate();
    this.#select.addEventListener("change", () => options.replace(`${route.objectId}/${this.#select.value}`));
    this.#buttons = {
      create: iconButton("plus", t("instance.create"), () => this.#create()),
      remove: iconButton("minus", t("instance.delete"), () => this.#remove()),
      read: iconButton("book", t("instance.read"), (event) => this.#run({ operation: "Read", path: this.#path }, event.currentTarget)),
      more: iconButton("more", t("instance.more"), (event) => this.#more(event.currentTarget), { "aria-haspopup": "menu" }),
    };
    const { create, remove, read, more } = this.#buttons;
    this.element = h("section", { class: "panel", "aria-label": `/${route.key}` },
      h("header", { class: "panel-head" },
        h("div", { class: "panel-title" },
          iconButton("left", t("back"), options.close, { class: "phone-only" }),
          h("div", { class: "panel-names" }, h("span", { class: "panel-device" }, name), this.#title), this.#id, iconButton("close", t("close.panel"), options.close, { class: "wide-only" })),
        h("div", { class: "panel-tools" }, h("label", { class: "instance-label" }, h("span", {}, t("instance")), this.#select), operate ? [create, remove, read, more] : []),
        this.#sleep, this.#fate.element, this.#notice),
      h("div", { class: "panel-body" }, this.#rows));
    store.on("values", () => this.#drawValues(), this.#life);
    store.on("devices", () => this.#drawSleep(), this.#life);
    this.#drawSleep();
    this.update();
  }

  end() {
    this.#life.end();
  }

  #drawSleep() {
    const notice = sleepNotice(this.#name);
    if (this.#sleep.textContent !== (notice?.textContent ?? "")) fill(this.#sleep, notice);
  }

  get #object() {
    return store.state.detail?.objects?.find((one) => one.id === this.#route.objectId);
  }

  get #path() {
    return `/${this.#route.key}`;
  }

  update() {
    const object = this.#object;
    const { objectId, instanceId } = this.#route;
    const absent = !object || (instanceId !== null && !object.instances.includes(instanceId));
    const values = [...(store.state.detail?.values.values() ?? [])].filter((value) => value.path.startsWith(`${this.#path}/`));
    const extra = unmodelled(object, values);
    const drawn = JSON.stringify([object, extra, absent, this.#name]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    setText(this.#title, object?.name ?? t("object.unknown"));
    fill(this.#id, `\\${objectId}`, object?.version ? h("span", { class: "version" }, `v${object.version}`) : null);
    const instances = object?.instances ?? [];
    fill(this.#select, instances.map((id) => h("option", { value: String(id), selected: id === instanceId }, String(id))));
    if (instanceId !== null && !instances.includes(instanceId)) this.#select.prepend(h("option", { value: String(instanceId), selected: true }, String(instanceId)));
    if (instanceId === null) this.#select.prepend(h("option", { value: "", selected: true }, "–"));
    this.#select.disabled = instances.length < 2 && instanceId !== null && instances.includes(instanceId);
    this.#buttons.create.disabled = object !== undefined && !object.multiple && object.name !== null && instances.length > 0;
    this.#buttons.remove.disabled = absent || instanceId === null;
    this.#buttons.read.disabled = false;
    fill(this.#notice,
      object?.warning ? h("p", { class: "warning-line" }, icon("warning"), h("span", {}, object.warning)) : null,
      !object ? h("p", { class: "warning-line" }, icon("warning"), h("span", {}, t("object.absent"))) : absent ? h("p", { class: "warning-line" }, icon("warning"), h("span", {}, t("instance.absent", { n: instanceId }))) : null);
    this.#drawRows(object, extra);
    this.#drawValues();
  }

  #drawRows(object, extra) {
    const known = instanceKnown(this.#route);
    const resources = [...(object?.resources ?? []), ...extra].sort((a, b) => a.id - b.id);
    this.#lines.clear();
    if (!known) {
      fill(this.#rows, h("li", { class: "empty small" }, h("p", {}, t("instance.none")), canOperate() ? button(t("instance.create"), () => this.#create(), { icon: "plus", kind: "primary" }) : null));
      return;
    }
    for (const resource of resources) this.#lines.set(resource.id, new ResourceLine(this.#name, this.#path, resource));
    fill(this.#rows, [...this.#lines.values()].map((line) => line.element));
    if (!resources.length) fill(this.#rows, h("li", { class: "empty small" }, h("p", {}, t("object.noresources")), canOperate() ? button(t("instance.read"), () => this.#run({ operation: "Read", path: this.#path }, this.#buttons.read), { icon: "book", kind: "primary" }) : null));
  }

  #drawValues() {
    const detail = store.state.detail;
    if (!detail || detail.name !== this.#name) return;
    const by = new Map();
    for (const value of detail.values.values()) {
      if (!value.path.startsWith(`${this.#path}/`)) continue;
      const id = Number(value.path.slice(this.#path.length + 1).split("/")[0]);
      if (!this.#lines.has(id) && instanceKnown(this.#route)) return void this.update();
      if (!by.has(id)) by.set(id, []);
      by.get(id).push(value);
    }
    for (const [id, line] of this.#lines) line.show(by.get(id) ?? []);
  }

  highlight(resourceId) {
    if (this.#highlighted === resourceId) return;
    const line = this.#lines.get(resourceId);
    if (!line) return;
    this.#highlighted = resourceId;
    line.element.classList.add("highlighted");
    requestAnimationFrame(() => line.element.scrollIntoView({ block: "center" }));
  }

  async #run(operation, control) {
    return carryOut(this.#name, operation, this.#fate, control);
  }

  async #create() {
    const object = this.#object ?? { id: this.#route.objectId, name: null, resources: [], instances: [], multiple: true };
    const outcome = await instanceDialog(this.#name, object, { create: true });
    if (!outcome) return;
    this.#fate.outcome(outcome, milliseconds(outcome.rtt_ms));
    const [, objectId, instanceId] = (outcome.location ?? "").split("/").slice(-3);
    if (outcome.ok) {
      note(outcome.location ? t("instance.created", { path: outcome.location }) : t("instance.created", { path: `/${object.id}` }));
      if (instanceId !== undefined && Number(objectId) === object.id) this.#options.replace(`${objectId}/${instanceId}`);
    }
  }

  async #remove() {
    const name = this.#object?.name ?? `/${this.#route.objectId}`;
    if (!(await confirm(t("confirm.delete", { path: this.#path }), t("confirm.delete.text", { path: this.#path, object: name, name: this.#name }), t("confirm.delete.action")))) return;
    const outcome = await this.#run({ operation: "Delete", path: this.#path }, this.#buttons.remove);
    if (!outcome?.ok) return;
    note(t("instance.deleted", { path: this.#path }));
    const rest = this.#object?.instances.filter((id) => id !== this.#route.instanceId) ?? [];
    this.#options.replace(rest.length ? `${this.#route.objectId}/${rest[0]}` : `${this.#route.objectId}`);
  }

  #more(anchor) {
    const path = this.#path;
    const writable = this.#object?.resources.some((one) => one.operations.includes("W"));
    const known = instanceKnown(this.#route);
    menu(anchor, [
      known ? { label: t("observe.instance"), icon: "eye", action: () => observeSheet(this.#name, path, null, this.#fate) } : false,
      { label: t("discover"), icon: "discover", action: () => this.#discover() },
      { label: t("attributes"), icon: "sliders", action: () => attributesSheet(this.#name, path, null, this.#fate) },
      known && writable ? { label: t("instance.write"), icon: "pencil", action: () => this.#writeInstance() } : false,
      null,
      { label: t("copy.link"), icon: "link", action: () => copyText(location.href.split("#")[0] + deviceHash(this.#name, [this.#route.key])) },
    ].filter((item) => item !== false));
  }

  async #writeInstance() {
    const outcome = await instanceDialog(this.#name, this.#object, { create: false, instanceId: this.#route.instanceId });
    if (outcome) this.#fate.outcome(outcome, milliseconds(outcome.rtt_ms));
  }

  async #discover() {
    const outcome = await this.#run({ operation: "Discover", path: this.#path }, this.#buttons.more);
    if (!outcome?.ok) return;
    await dialog(t("discover"), (close) => ({
      body: outcome.links?.length
        ? h("table", { class: "plain" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("path")), h("th", { scope: "col" }, t("attributes")))),
          h("tbody", {}, outcome.links.map((link) => h("tr", {}, h("td", { class: "mono" }, link.target), h("td", {}, Object.entries(link.attributes).map(([key, value]) => h("span", { class: "badge plain" }, value === null ? key : `${key} = ${value}`)))))))
        : h("p", { class: "prose" }, t("discover.none")),
      actions: [button(t("close"), () => close(), { kind: "primary" })],
    }), { subtitle: path(outcome) });
  }
}

const path = (outcome) => outcome.path;

function instanceKnown(route) {
  return route.instanceId !== null;
}

/** Resources that sent values and are in no model: shown all the same. */
function unmodelled(object, values) {
  const known = new Set(object?.resources.map((one) => one.id));
  const found = new Map();
  for (const value of values) {
    const parts = value.path.slice(1).split("/");
    const id = Number(parts[2]);
    if (parts.length < 3 || known.has(id)) continue;
    found.set(id, { id, name: value.name, operations: "RW", multiple: parts.length > 3, mandatory: false, type: value.type, range: "", units: value.units, unknown: true });
  }
  return [...found.values()];
}

class ResourceLine {
  #name;
  #path;
  #resource;
  #fate = new Fate();
  #value = h("div", { class: "resource-value" });
  #meta = h("div", { class: "resource-meta" });
  #age = ageElement(null);
  #observed = h("span", { class: "observed" });
  #chips = h("span", { class: "resource-chips" });
  #waiting = h("div", { class: "resource-waiting", hidden: true });
  #waitingKey = "";
  #eye = null;
  #before = null;
  #values = [];

  constructor(name, instancePath, resource) {
    this.#name = name;
    this.#path = `${instancePath}/${resource.id}`;
    this.#resource = resource;
    const { operations } = resource;
    const label = resource.name ?? t("resource.unknown", { id: resource.id });
    const actions = [];
    if (canOperate()) {
      const readable = operations.includes("R");
      if (readable) {
        this.#eye = iconButton("eye", "", () => observeSheet(name, this.#path, resource, this.#fate), { class: "eye", "aria-pressed": "false" });
        actions.push(this.#eye, iconButton("book", t("resource.read", { name: label }), (event) => carryOut(name, { operation: "Read", path: this.#path }, this.#fate, event.currentTarget)));
      }
      if (operations.includes("E")) actions.push(iconButton("play", t("resource.execute", { name: label }), (event) => this.#execute(event.currentTarget, label), { class: `third ${this.#path in DANGEROUS ? "danger-icon" : ""}` }));
      if (operations.includes("W")) actions.push(iconButton("pencil", t("resource.write", { name: label }), () => this.#write(), { class: "third" }));
    }
    this.#meta.append(this.#age, this.#observed, this.#chips);
    this.element = h("li", { class: "resource" },
      h("div", { class: "resource-name" }, h("span", { class: "resource-label" }, label), h("span", { class: "path" }, this.#path)),
      h("div", { class: "resource-reading" }, this.#value, this.#meta),
      h("div", { class: "resource-actions" }, actions), this.#waiting, this.#fate.element);
  }

  /** What is still to be done here: it waits for the device, and the line of its request may be gone by now. */
  #showTasks() {
    const tasks = store.tasksOf(this.#path).filter((task) => (task.path === this.#path || task.paths) && task.id !== this.#fate.task);
    const key = JSON.stringify(tasks.map((task) => [task.id, task.state, task.expected_at, task.progress]));
    if (key === this.#waitingKey) return;
    this.#waitingKey = key;
    this.#waiting.hidden = !tasks.length;
    fill(this.#waiting, tasks.map((task) => {
      const { value } = task.request ?? {};
      const what = [t(`operation.${task.operation}`), value !== undefined && typeof value !== "object" ? `“${value}”` : ""].filter(Boolean).join(" ");
      const how = task.progress ? t("task.progress", { percent: percent(task.progress) }) : [t(`task.${task.state}`), expected(task.expected_at)].filter(Boolean).join(" · ");
      return h("button", { type: "button", class: "waiting-chip", onclick: () => go(deviceHash(this.#name, ["tasks"])) }, icon("clock"), h("span", {}, h("strong", {}, what), ` – ${how}`));
    }));
  }

  /** The values of this resource: none, one, or one for each resource instance. */
  show(values) {
    this.#values = values;
    const key = `${values.map((value) => `${value.path}=${value.text}@${value.at}`).join(" ")} ${this.#sensorUnits()}`;
    this.#showObservation(values);
    this.#showTasks();
    if (key === this.#before) return;
    const texts = values.map((value) => value.text).join(" ");
    const changed = this.#before !== null && texts !== this.#texts;
    this.#before = key;
    this.#texts = texts;
    const many = this.#resource.multiple || values.some((value) => value.path !== this.#path);
    this.element.classList.toggle("no-value", !values.length);
    if (!values.length) {
      fill(this.#value, h("span", { class: "unknown" }, this.#resource.operations === "E" ? t("value.action") : this.#resource.operations === "W" ? t("value.writeonly") : t("value.unread")));
      this.#age.hidden = true;
    } else {
      this.#age.hidden = false;
      const ordered = [...values].sort((a, b) => a.path.localeCompare(b.path, undefined, { numeric: true }));
      const unit = this.#sensorUnits();
      const reading = (value) => figure(value.units || !unit ? value : { ...value, units: unit });
      fill(this.#value, many ? h("ul", { class: "instances" }, ordered.map((value) => h("li", {}, h("span", { class: "path" }, value.path.slice(this.#path.length + 1) || "–"), reading(value)))) : reading(ordered[0]));
      setAge(this.#age, values.reduce((newest, value) => (value.at > newest ? value.at : newest), values[0].at));
      this.element.classList.toggle("is-boolean", values[0].type === "boolean");
    }
    const odd = values.find((value) => value.warning || !value.modelled);
    fill(this.#chips, odd ? h("span", { class: "badge warn", title: odd.warning ?? "" }, icon("warning"), t("value.nomodel")) : null);
    if (changed) this.#flash();
  }

  #texts = "";

  /** IPSO sensors tell the unit of their readings (5601 to 5604, 5700) in resource 5701. */
  #sensorUnits() {
    const { id } = this.#resource;
    if (id !== 5700 && !(id >= 5601 && id <= 5604)) return "";
    return store.state.detail?.values.get(this.#path.replace(/\d+$/, "5701"))?.text ?? "";
  }

  #flash() {
    this.#value.classList.remove("flash");
    void this.#value.offsetWidth; // so that the animation starts again
    this.#value.classList.add("flash");
  }

  #showObservation(values) {
    const found = store.observationOf(this.#path);
    const active = found?.state === "active";
    const label = this.#resource.name ?? t("resource.unknown", { id: this.#resource.id });
    if (this.#eye) {
      const text = t(active ? "observe.change" : "observe.start", { name: label });
      if (this.#eye.getAttribute("aria-label") !== text) {
        this.#eye.setAttribute("aria-label", text);
        this.#eye.dataset.tooltip = text;
      }
      this.#eye.setAttribute("aria-pressed", String(Boolean(found)));
      this.#eye.classList.toggle("waiting", Boolean(found) && !active);
    }
    const source = values[0]?.source;
    const text = !found ? (values.length && source !== "notify" ? t(`source.${source}`) : "") : active ? (found.path === this.#path ? t("observed") : t("observed.by", { path: found.path })) : t(`observe.${found.state}`);
    setText(this.#observed, text);
    this.#observed.className = `observed ${found ? found.state : ""}`;
    this.#observed.title = found?.reason ?? "";
  }

  async #write() {
    const outcome = await writeDialog(this.#name, this.#path, this.#resource, this.#values);
    if (outcome) this.#fate.outcome(outcome, milliseconds(outcome.rtt_ms));
  }

  async #execute(control, label) {
    const what = DANGEROUS[this.#path];
    const given = await dialog(what ? t(`confirm.${what}`) : t("execute"), (close) => {
      const text = field(t("execute.arguments"), { class: "input mono", placeholder: "0='value',1", autocomplete: "off" }, t("execute.hint"));
      return {
        body: [sleepNotice(this.#name), h("p", { class: "prose" }, what ? t(`confirm.${what}.text`, { name: this.#name }) : t("execute.text", { name: label, device: this.#name })), what ? null : text.element].filter(Boolean),
        submit: () => close({ arguments: text.input.value.trim() }),
        focus: () => (what ? null : undefined),
        actions: [button(t("cancel"), () => close(), what ? { autofocus: true } : {}), h("button", { type: "submit", class: `button ${what ? "danger" : "primary"}` }, icon("play"), h("span", {}, what ? t(`confirm.${what}.action`) : t("execute.action")))],
      };
    }, { kind: what ? "dangerous" : "", subtitle: `${label} · ${this.#path}` });
    if (!given) return;
    const operation = { operation: "Execute", path: this.#path };
    if (given.arguments) operation.arguments = given.arguments;
    await carryOut(this.#name, operation, this.#fate, control);
  }
}

export const percent = ({ sent_bytes: sent, total_bytes: total }) => (total ? Math.floor((100 * sent) / total) : 0);

export function figure(value) {
  const { text, unit } = shown(value);
  const long = text.length > 24;
  return h("span", { class: `reading ${long ? "long" : ""} ${value.type === "opaque" ? "mono" : ""}` },
    value.type === "boolean" ? h("span", { class: `dot ${value.value ? "online" : "deregistered"}` }) : null,
    h("span", { class: "figure-text" }, text), unit ? h("span", { class: "unit" }, unit) : null);
}
