// The frame: icon rail or bottom navigation, the right rail, the status bar, and the page between them.

import { addStyle, button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { dialog, menu } from "../dialog.js";
import { bytes, count, milliseconds, when } from "../format.js";
import { addWords, chooseLanguage, currentLanguage, LANGUAGES, t } from "../i18n.js";
import { deviceHash, go, parse } from "../router.js";
import { canOperate } from "../operate.js";
import * as store from "../store.js";
import { DevicePage } from "./device.js";
import { EventsPage } from "./events.js";
import { FleetPage } from "./fleet.js";
import { TasksPage } from "./tasks.js";

const PAGES = { fleet: FleetPage, device: DevicePage, tasks: TasksPage, events: EventsPage };
// Fetched when they are opened, so that the first load stays small.
const LATER = {
  templates: async () => (await import("./templates.js")).TemplatesPage,
  log: async () => (await import("./log.js")).LogPage,
  files: async () => (await import("./files.js")).FilesPage,
  models: async () => (await import("./models.js")).ModelsPage,
  security: async () => (await Promise.all([import("./trust/page.js"), addWords("trust"), addStyle("trust")]))[0].SecurityPage,
  access: async () => (await import("./access.js")).AccessPage,
};
// In the rail; on a phone the later ones are in a menu.
const RAIL = [["devices", "devices"], ["tasks", "tasks"], ["events", "events"], ["security", "shield"], ["log", "log"], ["templates", "template"], ["files", "file"], ["models", "cube"], ["access", "key"]];
const ON_PHONE = 4;

export class Shell {
  #life = new Life();
  #page = null;
  #pageName = "";
  #main = h("main", { id: "main", tabindex: "-1" });
  #links = [];
  #strangers = h("span", { class: "rail-mark", hidden: true });
  #more = null;
  #ended = false;
  #onLogout;

  constructor(app, { onLogout }) {
    this.#onLogout = onLogout;
    const banner = h("div", { class: "banner", role: "alert", hidden: true });
    fill(app, h("div", { class: "shell" },
      h("a", { class: "skip", href: "#main", onclick: (event) => {
        event.preventDefault();
        this.#main.focus();
      } }, t("skip")),
      this.#rail(), h("div", { class: "stage" }, banner, this.#main), this.#aside(), this.#statusBar()));
    store.on("link", () => this.#showLink(banner), this.#life);
    this.#life.listen(window, "hashchange", () => this.#route());
    this.#route();
  }

  end() {
    this.#ended = true;
    this.#page?.end();
    this.#life.end();
  }

  #rail() {
    const places = RAIL.filter(([name]) => name !== "log" || canOperate());
    const later = places.slice(ON_PHONE);
    const links = places.map(([name, symbol], index) => {
      const mark = name === "security" ? this.#strangers : null;
      const element = h("a", { class: `rail-link ${index < ON_PHONE ? "" : "rail-later"}`, href: `#/${name}` }, icon(symbol), h("span", {}, t(`nav.${name}`)), mark);
      this.#links.push({ name, element });
      return element;
    });
    const more = h("button", { type: "button", class: "rail-link rail-more", "aria-haspopup": "menu", onclick: () => menu(more, later.map(([name, symbol]) => ({ label: t(`nav.${name}`), icon: symbol, action: () => go(`#/${name}`) }))) }, icon("more"), h("span", {}, t("nav.more")));
    this.#more = { element: more, names: new Set(later.map(([name]) => name)) };
    return h("nav", { class: "rail", "aria-label": t("nav") },
      h("a", { class: "rail-logo", href: "#/devices", "aria-label": t("nav.home"), "data-tooltip": t("nav.home") }, h("img", { src: "icon.svg", alt: "", width: "38", height: "38" })),
      links, more);
  }

  #aside() {
    const name = store.state.session?.account ?? "?";
    const avatar = h("button", { type: "button", class: "avatar", "aria-label": t("account.of", { name }), "data-tooltip": name, "aria-haspopup": "menu", onclick: () => this.#accountMenu(avatar) }, [...name][0].toUpperCase());
    return h("aside", { class: "right-rail", "aria-label": t("account") },
      avatar,
      iconButton("info", t("info"), () => this.#info(), { class: "info-button" }),
      h("span", { class: "link-dot", id: "link-dot", role: "img", "aria-label": t("link.waiting"), "data-tooltip": t("link.waiting") }));
  }

  #accountMenu(anchor) {
    const theme = document.documentElement.dataset.theme ?? "system";
    menu(anchor, [
      { label: t("account"), icon: "user", action: () => go("#/access") },
      null,
      ...["system", "light", "dark"].map((one) => ({ label: t(`theme.${one}`), icon: { system: "cards", light: "sun", dark: "moon" }[one], checked: theme === one, action: () => chooseTheme(one) })),
      null,
      ...Object.entries(LANGUAGES).map(([code, name]) => ({ label: name, icon: "book", checked: currentLanguage() === code, action: () => chooseLanguage(code) })),
      null,
      { label: t("logout"), icon: "logout", action: this.#onLogout },
    ]);
  }

  /** The yellow button: of the device that is open, else of the gateway. */
  #info() {
    const route = parse(location.hash);
    if (route.page === "device") {
      const panels = route.panels.filter((one) => one.kind !== "info");
      go(deviceHash(route.name, panels.length < route.panels.length ? panels : ["info", ...panels]));
      return;
    }
    const status = store.state.status;
    if (!status) return;
    const rows = [
      [t("gateway.version"), status.version], [t("gateway.started"), when(status.started_at)],
      [t("gateway.devices"), t("status.online", { online: count(status.devices.online), total: count(status.devices.total) })],
      [t("gateway.coap"), status.coap_port ? `udp/${status.coap_port}` : "–"], [t("gateway.journal"), count(status.journal_head)],
      ...Object.entries(status.storage ?? {}).map(([key, value]) => [key.replaceAll("_", " "), typeof value === "number" && key.endsWith("bytes") ? bytes(value) : typeof value === "object" ? JSON.stringify(value) : String(value)]),
    ];
    dialog(t("gateway"), (close) => ({
      actions: [button(t("close"), () => close(), { kind: "primary" })],
      body: [
        h("dl", { class: "facts" }, rows.map(([term, value]) => [h("dt", {}, term), h("dd", {}, value)])),
        [...(status.nosec ? [t("gateway.nosec")] : []), ...status.warnings].map((text) => h("p", { class: "warning-line" }, icon("warning"), h("span", {}, text))),
      ],
    }));
  }

  #statusBar() {
    const tasks = h("a", { class: "figure", href: "#/tasks" });
    const statistics = h("span", { class: "figure" });
    const devices = h("a", { class: "figure", href: "#/devices" });
    const link = h("span", { class: "figure link-state" });
    const show = () => {
      const { open, waiting: asleep } = store.taskCounts();
      fill(tasks, h("span", { class: "figure-name" }, t("status.tasks")), h("strong", {}, t("status.pending", { n: count(store.state.pending + open) })), asleep ? h("span", { class: "figure-late" }, t("status.waiting", { n: count(asleep) })) : null);
      const found = store.statistics();
      fill(statistics, h("span", { class: "figure-name" }, t("status.statistics")),
        h("strong", {}, found ? t("status.reliability", { percent: Math.round(found.reliability * 100) }) : t("status.none")),
        found?.rttMs ? h("strong", {}, `${milliseconds(found.rttMs)} RTT`) : null);
      const by = store.counts();
      fill(devices, h("span", { class: "figure-name" }, t("status.devices")), h("strong", {}, store.state.loaded ? `${count(by.online + by.asleep)}/${count(store.state.devices.size)}` : "…"), by.asleep ? h("span", { class: "figure-asleep" }, t("status.asleep", { n: count(by.asleep) })) : null, by.late ? h("span", { class: "figure-late" }, t("status.late", { n: by.late })) : null);
    };
    const open = h("a", { class: "figure open-figure", href: "#/security/keys?show=nosec", hidden: true });
    const showOpen = () => {
      const n = store.openDevices();
      open.hidden = !n && !store.state.status?.nosec;
      fill(open, icon("unlock"), h("strong", {}, "NoSec"), h("span", {}, n ? t("status.open", { n, count: count(n) }) : t("status.listens")));
      const waiting = store.state.strangers;
      this.#strangers.hidden = !waiting;
      fill(this.#strangers, h("span", { "aria-hidden": "true" }, count(waiting)), h("span", { class: "visually-hidden" }, t("nav.strangers", { n: waiting, count: count(waiting) })));
    };
    const showLink = () => fill(link, h("span", { class: `link-dot ${store.state.link}` }), h("span", {}, t(`link.${store.state.link}`)));
    store.on("tasks", show, this.#life);
    store.on("status", show, this.#life);
    store.on("status", showOpen, this.#life);
    store.on("late", show, this.#life);
    let last = 0;
    store.on("devices", () => {
      const now = performance.now();
      if (now - last > 500) {
        last = now;
        show();
        showOpen();
      }
    }, this.#life);
    store.on("link", showLink, this.#life);
    show();
    showOpen();
    showLink();
    return h("footer", { class: "status-bar", "aria-label": t("status") }, tasks, statistics, devices, open, h("span", { class: "grow" }), link);
  }

  #showLink(banner) {
    const { link } = store.state;
    banner.hidden = link !== "stale" && link !== "polling";
    banner.className = `banner ${link}`;
    fill(banner, icon(link === "stale" ? "warning" : "clock"), h("span", {}, t(`banner.${link}`)));
    const dot = document.getElementById("link-dot");
    dot.className = `link-dot ${link}`;
    for (const name of ["aria-label", "data-tooltip"]) dot.setAttribute(name, t(`link.${link}`));
  }

  #route() {
    const route = parse(location.hash);
    if (this.#page && this.#pageName === route.page && this.#page.show?.(route)) {
      this.#main.dataset.place = location.hash;
      this.#mark(route);
      return;
    }
    this.#page?.end();
    this.#page = null;
    this.#pageName = route.page;
    this.#main.className = `page-${route.page}`;
    this.#mark(route);
    if (PAGES[route.page]) {
      this.#put(PAGES[route.page], route);
      return;
    }
    fill(this.#main, h("div", { class: "empty" }, h("span", { class: "spinner large" }), h("p", {}, t("loading"))));
    LATER[route.page]().then((Page) => {
      // Somebody may have gone on meanwhile.
      if (!this.#ended && this.#pageName === route.page && !this.#page) this.#put(Page, parse(location.hash));
    }).catch((error) => {
      fill(this.#main, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, t("error.offline")), h("p", {}, t("error.offline.next")), button(t("again"), () => this.#route(), { icon: "refresh" })));
      this.#pageName = "";
    });
  }

  #put(Page, route) {
    this.#page = new Page(route);
    fill(this.#main, this.#page.element);
    this.#main.dataset.place = location.hash;
  }

  #mark(route) {
    const here = route.page === "fleet" || route.page === "device" ? "devices" : route.page;
    for (const { name, element } of this.#links) {
      if (name === here) element.setAttribute("aria-current", "page");
      else element.removeAttribute("aria-current");
    }
    if (this.#more.names.has(here)) this.#more.element.setAttribute("aria-current", "page");
    else this.#more.element.removeAttribute("aria-current");
    const title = route.page === "device" ? route.name : t(`nav.${here}`);
    setText(document.querySelector("title"), `${title} · Homard`);
  }
}

function chooseTheme(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  try {
    if (theme === "system") localStorage.removeItem("homard.theme");
    else localStorage.setItem("homard.theme", theme);
  } catch {
    // The choice then lasts as long as the page.
  }
}
