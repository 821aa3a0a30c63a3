// The device page in Homard's layout: devices | objects | panels side by side; stacked on a phone.

import { button, fill, h, icon, iconButton, Life, setText, uniqueId } from "../dom.js";
import { ageElement, setAge } from "../format.js";
import { t } from "../i18n.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { rovingFocus, VirtualList } from "../virtual.js";
import { noteError } from "../dialog.js";
import { deviceMenu } from "./device-menu.js";
import { securityBadge, stateBadge, waitingWords } from "./fleet.js";
import { InfoPanel } from "./info.js";
import { InstancePanel } from "./instance.js";
import { TaskPanel } from "./tasks.js";

const PANEL_WIDTH = 400;
const PHONE = 720;

export class DevicePage {
  #life = new Life();
  #route;
  #panels = new Map(); // key -> {panel, element}
  #columns;
  #objects;
  #area = h("div", { class: "panels" });

  constructor(route) {
    this.#route = route;
    this.#columns = new DeviceColumn(this.#life, () => this.#route.name);
    this.#objects = new ObjectColumn(this.#life, {
      name: () => this.#route.name,
      open: (key, beside) => this.#open(key, beside),
      toggle: (key) => (this.#route.panels.some((one) => one.key === key) ? this.#replace(key, null) : this.#open(key)),
      panels: () => this.#route.panels,
      showDevices: () => this.#toggleDevices(true),
    });
    this.element = h("div", { class: "device-page" }, this.#columns.element, this.#objects.element, this.#area);
    this.#columns.onClose = () => this.#toggleDevices(false);
    store.on("detail", () => this.#draw(), this.#life);
    this.#toggleDevices(deviceColumnOpen);
    this.#load();
    this.#draw();
  }

  /** Another place on the same page: keep what stays. */
  show(route) {
    const other = route.name !== this.#route.name;
    this.#route = route;
    if (other) {
      this.#closePanels();
      this.#load();
      this.#columns.refresh();
    }
    this.#draw();
    return true;
  }

  end() {
    this.#closePanels();
    this.#life.end();
  }

  async #load() {
    await store.loadDetail(this.#route.name);
    if (this.#life.ended || innerWidth < PHONE || this.#route.panels.length) return;
    // A wide screen has room for a panel: show the most telling object at once.
    const objects = store.state.detail?.objects ?? [];
    const first = objects.find((one) => one.id >= 3200 && one.id < 3400 && one.instances.length) ?? objects.find((one) => one.id === 3);
    if (first && location.hash === deviceHash(this.#route.name)) go(deviceHash(this.#route.name, [keyOf(first)]), true);
  }

  #toggleDevices(open) {
    deviceColumnOpen = open;
    this.element.classList.toggle("without-devices", !open);
    this.#objects.showDevicesButton(!open);
  }

  /** Open beside what is there when there is room, else in the place of the oldest. */
  #open(key, beside = false) {
    const keys = this.#route.panels.map((one) => one.key).filter((one) => one !== key);
    if (!beside && this.#route.panels.some((one) => one.key === key)) {
      this.#panels.get(key)?.element.scrollIntoView({ inline: "nearest", block: "nearest" });
      return;
    }
    const room = innerWidth < PHONE ? 1 : Math.max(1, Math.floor(this.#area.clientWidth / PANEL_WIDTH));
    const kept = keys.slice(Math.max(0, keys.length - (beside ? 5 : room - 1)));
    go(deviceHash(this.#route.name, [...kept, key]));
  }

  #replace(key, next) {
    const keys = this.#route.panels.map((one) => (one.key === key ? next : one.key));
    go(deviceHash(this.#route.name, [...new Set(keys)].filter(Boolean)));
  }

  #closePanels() {
    for (const { panel } of this.#panels.values()) panel.end();
    this.#panels.clear();
    fill(this.#area);
  }

  #draw() {
    const { name, panels } = this.#route;
    const detail = store.state.detail;
    this.element.classList.toggle("at-panel", panels.length > 0);
    this.#objects.draw();
    if (detail?.error && !detail.device) {
      this.#closePanels();
      fill(this.#area, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, detail.error.message), h("p", {}, detail.error.nextStep), button(t("again"), () => this.#load(), { icon: "refresh" })));
      return;
    }
    if (!detail?.objects) {
      if (!this.#panels.size) fill(this.#area, h("div", { class: "empty" }, h("span", { class: "spinner large" }), h("p", {}, t("loading"))));
      return;
    }
    const wanted = new Set(panels.map((one) => one.key));
    for (const [key, { panel, element }] of this.#panels) {
      if (wanted.has(key)) continue;
      panel.end();
      element.remove();
      this.#panels.delete(key);
    }
    if (!panels.length) {
      fill(this.#area, h("div", { class: "empty" }, icon("cube", "icon hero"), h("h2", {}, t("device.choose")), h("p", {}, t("device.choose.hint"))));
      return;
    }
    for (const other of [...this.#area.children]) if (!other.classList.contains("panel")) other.remove();
    for (const route of panels) {
      let held = this.#panels.get(route.key);
      if (!held) {
        const panel = this.#make(route, name);
        held = { panel, element: panel.element };
        this.#panels.set(route.key, held);
      }
      held.panel.update?.();
      // Moving an element would scroll it back to its top.
      const place = this.#area.children[panels.indexOf(route)] ?? null;
      if (place !== held.element) this.#area.insertBefore(held.element, place);
      if (route.resourceId !== null && route.resourceId !== undefined) held.panel.highlight?.(route.resourceId);
    }
  }

  #make(route, name) {
    const close = () => this.#replace(route.key, null);
    if (route.kind === "info") return new InfoPanel(name, { close });
    if (route.kind === "events") return new LazyPanel(async () => (await import("./timeline.js")).TimelinePanel, name, { close });
    if (route.kind === "tasks") return new TaskPanel(name, { close });
    if (route.kind === "composite") return new LazyPanel(async () => (await import("./composite.js")).CompositePanel, name, { close });
    return new InstancePanel(name, route, { close, replace: (key) => this.#replace(route.key, key) });
  }
}

let deviceColumnOpen = true;

const TABS = { info: "info", tasks: "tasks", composite: "layers", events: "clock" };

/** A panel whose module is fetched when it is opened. */
class LazyPanel {
  #panel = null;
  #ended = false;
  element = h("section", { class: "panel" }, h("div", { class: "empty" }, h("span", { class: "spinner large" })));

  constructor(load, name, options) {
    load().then((Panel) => {
      if (this.#ended) return;
      this.#panel = new Panel(name, options);
      this.element.setAttribute("aria-label", this.#panel.element.getAttribute("aria-label"));
      fill(this.element, [...this.#panel.element.children]);
    }).catch((error) => noteError(error));
  }

  update() {
    this.#panel?.update?.();
  }

  end() {
    this.#ended = true;
    this.#panel?.end();
  }
}

function keyOf(object) {
  return object.instances.length ? `${object.id}/${object.instances[0]}` : `${object.id}`;
}

/** The left column: every device, one line each. */
class DeviceColumn {
  #list;
  #search = "";
  #current;
  onClose = () => {};

  constructor(life, current) {
    this.#current = current;
    const scroller = h("div", { class: "column-scroller", role: "list", "aria-label": t("nav.devices") });
    const input = h("input", { class: "input", type: "search", placeholder: t("fleet.search"), "aria-label": t("fleet.search"), autocomplete: "off", spellcheck: "false", oninput: (event) => {
      this.#search = event.target.value.trim().toLocaleLowerCase();
      this.#choose();
    } });
    this.element = h("section", { class: "column device-column", "aria-label": t("device.management") },
      h("header", { class: "column-head" }, h("h2", {}, t("device.management")), iconButton("close", t("device.closelist"), () => this.onClose())),
      h("div", { class: "search" }, icon("search"), input), scroller);
    this.#list = new VirtualList(scroller, {
      rowHeight: 48,
      key: (row) => row.endpoint_name,
      make: (row) => this.#make(row),
      update: (element, row) => element.update(row),
      open: (row) => go(deviceHash(row.endpoint_name)),
    }, life);
    store.on("devices", () => this.#choose(), life);
    this.#choose();
    this.#revealCurrent();
  }

  refresh() {
    this.#list.refresh();
  }

  #revealCurrent() {
    requestAnimationFrame(() => {
      const index = this.#shown.findIndex((row) => row.endpoint_name === this.#current());
      if (index < 0) return;
      this.#list.active = index;
      this.#list.reveal(index);
    });
  }

  #shown = [];
  #choose() {
    const names = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
    this.#shown = store.underGateways([...store.state.devices.values()]
      .filter((row) => !this.#search || [row.endpoint_name, row.manufacturer, row.model].some((text) => text && String(text).toLocaleLowerCase().includes(this.#search)))
      .sort((a, b) => names.compare(a.endpoint_name, b.endpoint_name)));
    this.#list.items = this.#shown;
  }

  #make(first) {
    const name = first.endpoint_name;
    const label = h("span", { class: "device-row-name" });
    const sub = h("span", { class: "sub" });
    const dot = h("span", { class: "dot" });
    const more = h("span", { class: "device-row-action" });
    const element = h("div", { class: "device-row", role: "listitem", onclick: (event) => {
      if (!event.target.closest("button")) go(deviceHash(name));
    } }, dot, h("span", { class: "device-row-text" }, label, sub), more);
    let before = "";
    element.update = (row) => {
      const state = store.stateOf(row);
      setText(label, row.endpoint_name);
      element.classList.toggle("end-device", Boolean(row.gateway));
      setText(sub, state === "asleep" ? [t("state.asleep"), waitingWords(row)].filter(Boolean).join(" · ") : state === "online" ? [row.manufacturer, row.model].filter(Boolean).join(" ") || row.address : t(`state.${state}`));
      const current = row.endpoint_name === this.#current();
      if (current) element.setAttribute("aria-current", "true");
      else element.removeAttribute("aria-current");
      if (before === state) return;
      before = state;
      dot.className = `dot ${state}`;
      const gone = state === "offline" || state === "deregistered";
      fill(more, iconButton(gone ? "power" : "more", t(gone ? "device.menu.off" : "device.menu", { name }), (event) => deviceMenu(event.currentTarget, name), { class: "small", "aria-haspopup": "menu" }));
    };
    return element;
  }
}

/** The mustard column: the objects of the device, by name and id. */
class ObjectColumn {
  #options;
  #title = h("h2", {});
  #state = h("p", { class: "object-state" });
  #list = h("ul", { class: "object-list" });
  #reopen;
  #arrange;
  #drawn = "";
  #tabs;

  constructor(life, options) {
    this.#options = options;
    this.#tabs = Object.entries(TABS).map(([kind, symbol]) => ({ kind, element: h("button", { type: "button", class: "object-tab", onclick: () => options.toggle(kind) }, icon(symbol), h("span", {}, t(`tab.${kind}`)), h("span", { class: "tab-count" })) }));
    const id = uniqueId("objects");
    this.#title.id = id;
    this.#arrange = rovingFocus(this.#list, ".object-row");
    this.#reopen = iconButton("columns", t("device.openlist"), () => options.showDevices());
    this.element = h("section", { class: "column object-column", "aria-labelledby": id },
      h("header", { class: "column-head" },
        iconButton("left", t("back.devices"), () => go("#/devices"), { class: "phone-only" }), this.#reopen, this.#title,
        iconButton("more", t("device.menu", { name: options.name() }), (event) => deviceMenu(event.currentTarget, options.name()), { class: "phone-only", "aria-haspopup": "menu" }),
        iconButton("close", t("device.close"), () => go("#/devices"), { class: "wide-only" })),
      this.#state, h("div", { class: "object-tabs" }, this.#tabs.map(({ element }) => element)),
      h("nav", { class: "column-scroller", "aria-label": t("device.objects") }, this.#list));
    store.on("devices", () => this.#drawState(), life);
    store.on("late", () => this.#drawState(), life);
  }

  showDevicesButton(show) {
    this.#reopen.hidden = !show;
  }

  #drawState() {
    const row = store.state.devices.get(this.#options.name());
    if (!row) return;
    const words = waitingWords(row);
    const open = row.tasks?.open ?? 0;
    for (const { kind, element } of this.#tabs) if (kind === "tasks") setText(element.querySelector(".tab-count"), open ? String(open) : "");
    const key = `${store.stateOf(row)} ${row.security} ${row.bearer} ${words}`;
    const age = this.#state.querySelector("time");
    if (age && this.#state.dataset.key === key) {
      setAge(age, row.last_seen_at);
      return;
    }
    this.#state.dataset.key = key;
    fill(this.#state, stateBadge(row), ageElement(row.last_seen_at), securityBadge(row), words ? h("span", { class: "waiting-words" }, icon("clock"), words) : null);
  }

  draw() {
    setText(this.#title, this.#options.name());
    this.#drawState();
    const detail = store.state.detail;
    if (!detail?.objects || detail.name !== this.#options.name()) {
      this.#drawn = "";
      fill(this.#list, detail?.error ? [] : [1, 2, 3, 4, 5].map(() => h("li", { class: "skeleton" })));
      return;
    }
    const open = new Set(this.#options.panels().filter((one) => one.kind === "instance").map((one) => one.objectId));
    const drawn = JSON.stringify([detail.name, detail.objects.map((one) => [one.id, one.name, one.instances, one.warning])]);
    if (drawn !== this.#drawn) {
      this.#drawn = drawn;
      fill(this.#list, detail.objects.map((object) => this.#row(object)));
      if (!detail.objects.length) fill(this.#list, h("li", { class: "object-none" }, t("device.noobjects")));
    }
    for (const { kind, element } of this.#tabs) element.setAttribute("aria-pressed", String(this.#options.panels().some((one) => one.kind === kind)));
    for (const row of this.#list.querySelectorAll(".object-row")) row.setAttribute("aria-current", String(open.has(Number(row.dataset.id))));
    this.#arrange();
  }

  #row(object) {
    const name = object.name ?? t("object.unknown");
    const count = object.instances.length;
    const link = h("a", { class: "object-row", "data-id": object.id, href: deviceHash(this.#options.name(), [keyOf(object)]), onclick: (event) => {
      if (event.metaKey || event.ctrlKey || event.shiftKey) return;
      event.preventDefault();
      this.#options.open(keyOf(object));
    } },
    h("span", { class: "object-name" }, name),
    object.warning ? h("span", { class: "warning-mark", title: object.warning, role: "img", "aria-label": object.warning }, icon("warning")) : null,
    count !== 1 ? h("span", { class: "object-count", title: t("object.instances", { n: count }) }, `×${count}`) : null,
    h("span", { class: "object-id" }, `\\${object.id}`));
    return h("li", {}, link, iconButton("columns", t("object.beside", { name }), () => this.#options.open(keyOf(object), true), { class: "small beside wide-only" }));
  }
}
