// Who may come in: the frame of its pages, which are fetched one by one.

import { fill, h, icon, Life, setText } from "../../dom.js";
import { count } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import { parse } from "../../router.js";
import * as store from "../../store.js";
import { failed, waiting } from "./parts.js";

// The tab that a page belongs to, and where it comes from.
const VIEWS = {
  keys: ["keys", async () => (await import("./keys.js")).KeysView],
  device: ["keys", async () => (await import("./device.js")).DeviceView],
  add: ["keys", async () => (await import("./add.js")).AddView],
  import: ["keys", async () => (await import("./import.js")).ImportView],
  quarantine: ["quarantine", async () => (await import("./quarantine.js")).QuarantineView],
  bootstrap: ["bootstrap", async () => (await import("./bootstrap.js")).BootstrapView],
  plan: ["bootstrap", async () => (await import("./plan.js")).PlanView],
  session: ["bootstrap", async () => (await import("./session.js")).SessionView],
  authority: ["authority", async () => (await import("./authority.js")).AuthorityView],
  audit: ["audit", async () => (await import("./audit.js")).AuditView],
  permissions: ["permissions", async () => (await import("./permissions.js")).PermissionsView],
};
const TABS = [["keys", "key"], ["quarantine", "user"], ["bootstrap", "download"], ["authority", "shield"], ["audit", "events"], ["permissions", "lock"]];
const FOR_ADMINS = new Set(["audit", "permissions"]);

export class SecurityPage {
  #life = new Life();
  #view = null;
  #shown = "";
  #asked = 0;
  #body = h("div", { class: "trust-body" });
  #tabs = new Map();

  constructor(route) {
    const tabs = TABS.filter(([name]) => canAdmin() || !FOR_ADMINS.has(name)).map(([name, symbol]) => {
      const element = h("a", { class: "trust-tab", href: `#/security/${name}` }, icon(symbol), h("span", {}, t(`trust.tab.${name}`)), h("span", { class: "tab-mark" }));
      this.#tabs.set(name, element);
      return element;
    });
    this.element = h("div", { class: "page trust" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.security"))), h("nav", { class: "trust-tabs", "aria-label": t("nav.security") }, tabs)),
      this.#body);
    store.on("status", () => this.#mark(), this.#life);
    this.#mark();
    this.show(route);
  }

  #mark() {
    const n = store.state.strangers;
    setText(this.#tabs.get("quarantine").querySelector(".tab-mark"), n ? count(n) : "");
  }

  show(route) {
    const key = [route.view, ...route.rest, route.query].join("/");
    if (key === this.#shown) return true;
    this.#shown = key;
    this.#open(route);
    return true;
  }

  async #open(route) {
    const [tab, load] = VIEWS[route.view] ?? VIEWS.keys;
    for (const [name, element] of this.#tabs) {
      if (name === tab) element.setAttribute("aria-current", "page");
      else element.removeAttribute("aria-current");
    }
    this.#asked += 1;
    const asked = this.#asked;
    this.#view?.end();
    this.#view = null;
    fill(this.#body, waiting());
    try {
      const View = await load().catch((error) => {
        throw Object.assign(error, { message: t("error.offline"), nextStep: t("error.offline.next") }); // a module that does not come
      });
      if (this.#life.ended || asked !== this.#asked) return;
      this.#view = new View(route);
      fill(this.#body, this.#view.element);
      this.#tabs.get(tab)?.scrollIntoView({ block: "nearest", inline: "nearest" });
    } catch (error) {
      if (asked === this.#asked) fill(this.#body, failed(error, () => this.#open(parse(location.hash))));
    }
  }

  end() {
    this.#view?.end();
    this.#life.end();
  }
}
