// The fleet: every device as a row or as a card.

import { button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { ageElement, count, expected, setAge } from "../format.js";
import { currentLanguage, t } from "../i18n.js";
import { canAdmin } from "../operate.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { VirtualList } from "../virtual.js";

const { STATES } = store;
const COLUMNS = ["endpoint_name", "state", "security", "last_seen_at", "observations", "battery", "rssi"];
const ROW_HEIGHT = 56;
const CARD_HEIGHT = 178;
const NARROW = 760;

// What was typed and chosen stays while one looks at a device and comes back.
const chosen = { search: "", state: "", sort: "endpoint_name", descending: false, mode: "table", top: 0 };

export class FleetPage {
  #life = new Life();
  #list;
  #shown = [];
  #heads = new Map();
  #chips = h("div", { class: "chips", role: "group", "aria-label": t("fleet.filter") });
  #summary = h("p", { class: "summary", role: "status" });
  #empty = h("div", { class: "empty", hidden: true });
  #head;
  #scroller = h("div", { class: "fleet-scroller", role: "rowgroup" });
  #grid;

  constructor() {
    const search = h("input", { class: "input", type: "search", value: chosen.search, placeholder: t("fleet.search"), "aria-label": t("fleet.search"), autocomplete: "off", spellcheck: "false", oninput: (event) => {
      chosen.search = event.target.value;
      this.#choose();
    }, onkeydown: (event) => {
      if (event.key === "ArrowDown") {
        event.preventDefault();
        this.#list.focus();
      }
    } });
    const modes = h("div", { class: "segmented modes", role: "group", "aria-label": t("fleet.mode") }, ["table", "cards"].map((mode) => {
      const element = iconButton(mode, t(`fleet.${mode}`), () => {
        chosen.mode = mode;
        for (const other of modes.children) other.setAttribute("aria-pressed", String(other === element));
        this.#grid.classList.toggle("cards", mode === "cards");
        this.#redraw();
      }, { "aria-pressed": String(chosen.mode === mode) });
      return element;
    }));
    this.#head = h("div", { class: "fleet-head", role: "row" }, COLUMNS.map((column) => this.#headCell(column)));
    this.#grid = h("div", { class: `fleet-grid ${chosen.mode === "cards" ? "cards" : ""}`, role: "grid", "aria-label": t("nav.devices") }, h("div", { role: "rowgroup", class: "fleet-head-group" }, this.#head), this.#scroller);
    this.element = h("div", { class: "page fleet" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.devices")), this.#summary),
        h("div", { class: "tools" }, h("div", { class: "search" }, icon("search"), search), modes, canAdmin() ? button(t("fleet.add"), () => go("#/security/add"), { icon: "plus", kind: "primary add-device", "aria-label": t("fleet.add") }) : null)),
      this.#chips, h("div", { class: "fleet-body" }, this.#grid, this.#empty));
    this.#makeList();
    store.on("devices", () => this.#choose(), this.#life);
    store.on("late", () => this.#choose(), this.#life);
    this.#markSort();
    this.#choose();
    requestAnimationFrame(() => (this.#scroller.scrollTop = chosen.top));
  }

  show() {
    return true;
  }

  end() {
    chosen.top = this.#scroller.scrollTop;
    this.#life.end();
  }

  #asCards(width) {
    return chosen.mode === "cards" || width < NARROW;
  }

  #makeList() {
    this.#list = new VirtualList(this.#scroller, {
      rowHeight: (width) => (this.#asCards(width) ? CARD_HEIGHT : ROW_HEIGHT),
      columns: (width) => (this.#asCards(width) ? Math.max(1, Math.floor(width / 310)) : 1),
      key: (row) => `${this.#asCards(this.#scroller.clientWidth) ? "c" : "r"}${row.endpoint_name}`,
      make: (row) => (this.#asCards(this.#scroller.clientWidth) ? makeCard(row) : makeRow(row)),
      update: (element, row) => element.update(row),
      open: (row) => go(deviceHash(row.endpoint_name)),
    }, this.#life);
  }

  #redraw() {
    this.#scroller.scrollTop = 0;
    this.#list.refresh();
  }

  #headCell(column) {
    const element = h("button", { type: "button", onclick: () => {
      chosen.descending = chosen.sort === column ? !chosen.descending : column === "last_seen_at";
      chosen.sort = column;
      this.#markSort();
      this.#choose();
    } }, h("span", {}, t(`fleet.${column}`)), icon("down", "icon sort-mark"));
    const cell = h("div", { role: "columnheader", class: `cell cell-${column}` }, element);
    this.#heads.set(column, cell);
    return cell;
  }

  #markSort() {
    for (const [column, cell] of this.#heads) {
      cell.setAttribute("aria-sort", column !== chosen.sort ? "none" : chosen.descending ? "descending" : "ascending");
    }
  }

  #choose() {
    const by = Object.fromEntries(["", ...STATES].map((one) => [one, 0]));
    const wanted = chosen.search.trim().toLocaleLowerCase();
    const found = [];
    for (const row of store.state.devices.values()) {
      if (wanted && ![row.endpoint_name, row.manufacturer, row.model, row.address].some((text) => text && String(text).toLocaleLowerCase().includes(wanted))) continue;
      const state = store.stateOf(row);
      by[""] += 1;
      by[state] += 1;
      if (!chosen.state || chosen.state === state) found.push(row);
    }
    found.sort(order(chosen.sort, chosen.descending));
    this.#shown = chosen.sort === "endpoint_name" ? store.underGateways(found) : found;
    this.#list.items = this.#shown;
    this.#grid.setAttribute("aria-rowcount", found.length + 1);
    this.#showChips(by);
    setText(this.#summary, store.state.loaded ? t("fleet.summary", { n: found.length, count: count(found.length), total: count(store.state.devices.size) }) : t("loading"));
    this.#showEmpty(found.length === 0);
  }

  #showChips(by) {
    if (!this.#chips.firstChild) {
      for (const state of ["", ...STATES]) {
        this.#chips.append(h("button", { type: "button", class: "chip", "data-state": state, onclick: () => {
          chosen.state = state;
          this.#redraw();
          this.#choose();
        } }, state ? h("span", { class: `dot ${state}` }) : null, h("span", {}, t(`state.${state || "all"}`)), h("span", { class: "chip-count" })));
      }
    }
    for (const chip of this.#chips.children) {
      const { state } = chip.dataset;
      chip.setAttribute("aria-pressed", String(state === chosen.state));
      chip.hidden = state !== "" && by[state] === 0 && state !== chosen.state;
      setText(chip.querySelector(".chip-count"), count(by[state]));
    }
  }

  #showEmpty(empty) {
    this.#empty.hidden = !empty;
    this.#grid.hidden = empty;
    if (!empty) return;
    if (!store.state.loaded) {
      fill(this.#empty, h("span", { class: "spinner large" }), h("p", {}, t("loading")));
    } else if (store.state.devices.size === 0) {
      const host = location.hostname;
      const port = store.state.status?.coap_port ?? 5683;
      fill(this.#empty, icon("devices", "icon hero"), h("h2", {}, t("fleet.none")), h("p", {}, t("fleet.none.hint")),
        h("code", { class: "address" }, `coap://${host.includes(":") ? `[${host.replace(/[[\]]/g, "")}]` : host}:${port}`), h("p", { class: "muted" }, t("fleet.none.wait")));
    } else {
      fill(this.#empty, icon("search", "icon hero"), h("h2", {}, t("fleet.nomatch")), h("p", {}, t("fleet.nomatch.hint")), button(t("fleet.clear"), () => {
        chosen.search = "";
        chosen.state = "";
        this.element.querySelector("input[type=search]").value = "";
        this.#choose();
      }));
    }
  }
}

function order(column, descending) {
  const names = new Intl.Collator(currentLanguage(), { numeric: true, sensitivity: "base" });
  const sign = descending ? -1 : 1;
  const value = {
    state: (row) => STATES.indexOf(store.stateOf(row)),
    security: (row) => row.security,
    last_seen_at: (row) => (row.last_seen_at ? Date.parse(row.last_seen_at) : null),
    observations: (row) => row.observations.active,
    battery: (row) => row.battery,
    rssi: (row) => row.rssi,
  }[column];
  return (a, b) => {
    if (value) {
      const [one, other] = [value(a), value(b)];
      if (one === null || other === null) {
        if (one !== other) return one === null ? 1 : -1; // what is unknown comes last either way
      } else if (one < other) return -sign;
      else if (one > other) return sign;
    }
    return names.compare(a.endpoint_name, b.endpoint_name) * (value ? 1 : sign);
  };
}

export function stateBadge(row) {
  const state = store.stateOf(row);
  return h("span", { class: `state ${state}` }, h("span", { class: `dot ${state}` }), h("span", {}, t(`state.${state}`)));
}

/** When a sleeper is expected and how much waits for it; "" when there is nothing to say. */
export function waitingWords(row) {
  const open = row.tasks?.open ?? 0;
  const when = store.stateOf(row) === "asleep" || (row.queue_mode && store.stateOf(row) === "late") ? expected(row.expected_at) : "";
  return [when, open ? t("tasks.few", { n: open, count: count(open) }) : ""].filter(Boolean).join(" · ");
}

const MODES = { psk: "PSK", rpk: "RPK", x509: "X.509", oscore: "OSCORE" };

/** How it proved who it is: row.security is NoSec, or an identity like psk:meter-17. */
export function securityBadge(row) {
  const open = row.security === "NoSec";
  const mode = MODES[row.security.split(":")[0]] ?? row.security;
  return h("span", { class: `badge ${open ? "nosec" : "secure"}`, title: open ? t("security.nosec") : t("security.secure", { mode: row.security }) }, icon(open ? "unlock" : "lock"), mode);
}

export function batteryFigure(percent) {
  if (typeof percent !== "number") return h("span", { class: "unknown" }, "–");
  const level = percent <= 15 ? "low" : percent <= 40 ? "middle" : "high";
  const bar = h("span", { class: `battery ${level}`, "aria-hidden": "true" }, h("span", { style: { inlineSize: `${Math.max(6, Math.min(100, percent))}%` } }));
  return h("span", { class: "gauge" }, bar, h("span", {}, `${percent} %`));
}

export function signalFigure(dbm) {
  if (typeof dbm !== "number") return h("span", { class: "unknown" }, "–");
  const bars = dbm >= -65 ? 4 : dbm >= -80 ? 3 : dbm >= -95 ? 2 : 1;
  return h("span", { class: "gauge" }, h("span", { class: `signal bars-${bars}`, "aria-hidden": "true" }, [1, 2, 3, 4].map(() => h("span", {}))), h("span", {}, `${dbm} dBm`));
}

function subtitle(row) {
  if (row.gateway) return t("gateway.via", { name: row.gateway });
  return [row.manufacturer, row.model].filter(Boolean).join(" ") || row.address;
}

/** Redraw a part only when what it says has changed. */
function keeper(element, draw) {
  let before;
  return (row, ...facts) => {
    const now = facts.join(" ");
    if (now === before) return;
    before = now;
    fill(element, draw(row));
  };
}

function parts() {
  const name = h("a", { class: "device-name", tabindex: "-1" });
  const sub = h("span", { class: "sub" });
  const state = h("span", {});
  const links = h("span", { class: "links" });
  const age = ageElement(null);
  const observations = h("span", {});
  const battery = h("span", {});
  const signal = h("span", {});
  const warning = h("span", {});
  const keepers = [
    [keeper(state, (row) => [stateBadge(row), h("span", { class: "sub state-sub" }, waitingWords(row))]), (row) => [store.stateOf(row), waitingWords(row)]],
    [keeper(links, (row) => [h("span", { class: "badge bearer" }, row.bearer), securityBadge(row)]), (row) => [row.bearer, row.security]],
    [keeper(observations, (row) => h("span", { class: row.observations.active < row.observations.wanted ? "short-of" : "" }, icon("eye"), `${row.observations.active}/${row.observations.wanted}`)), (row) => [row.observations.active, row.observations.wanted]],
    [keeper(battery, (row) => batteryFigure(row.battery)), (row) => [row.battery]],
    [keeper(signal, (row) => signalFigure(row.rssi)), (row) => [row.rssi]],
    [keeper(warning, (row) => (row.warnings.length ? h("span", { class: "warning-mark", title: row.warnings.join("\n"), role: "img", "aria-label": row.warnings.join(". ") }, icon("warning")) : [])), (row) => row.warnings],
  ];
  const update = (row) => {
    setText(name, row.endpoint_name);
    name.href = deviceHash(row.endpoint_name);
    setText(sub, subtitle(row));
    setAge(age, row.last_seen_at);
    for (const [draw, facts] of keepers) draw(row, ...facts(row));
  };
  return { name, sub, state, links, age, observations, battery, signal, warning, update };
}

function opening(element, name) {
  element.addEventListener("click", (event) => {
    if (!event.target.closest("a, button")) go(deviceHash(name));
  });
  return element;
}

function makeRow(row) {
  const part = parts();
  const cell = (column, ...content) => h("div", { role: "gridcell", class: `cell cell-${column}` }, content);
  const element = opening(h("div", { role: "row", class: "fleet-row" },
    cell("endpoint_name", h("div", { class: "device-title" }, part.name, part.warning), part.sub), cell("state", part.state), cell("security", part.links),
    cell("last_seen_at", part.age), cell("observations", part.observations), cell("battery", part.battery), cell("rssi", part.signal)), row.endpoint_name);
  element.update = (row) => {
    part.update(row);
    element.classList.toggle("end-device", Boolean(row.gateway));
  };
  return element;
}

function makeCard(row) {
  const part = parts();
  const element = opening(h("div", { role: "row", class: "fleet-card-row" }, h("div", { role: "gridcell", class: "fleet-card" },
    h("div", { class: "card-top" }, h("div", { class: "device-title" }, part.name, part.warning), part.state),
    part.sub,
    h("div", { class: "card-links" }, part.links, h("span", { class: "card-observations" }, part.observations)),
    h("div", { class: "card-foot" }, part.battery, part.signal, part.age))), row.endpoint_name);
  element.update = part.update;
  return element;
}
