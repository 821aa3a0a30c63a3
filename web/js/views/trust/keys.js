// The security store: every device with the keys by which it may come in.

import { button, fill, h, icon, Life, setText } from "../../dom.js";
import { announce, menu } from "../../dialog.js";
import { ageElement, count, setAge } from "../../format.js";
import { currentLanguage, t } from "../../i18n.js";
import { canAdmin, canOperate } from "../../operate.js";
import { go } from "../../router.js";
import * as store from "../../store.js";
import { VirtualList } from "../../virtual.js";
import * as api from "./api.js";
import { moveDevices } from "./move.js";
import { daysLeft, expiryBadge, failed, isFailing, modeBadge, modesOf, none, place, select, SOON_DAYS, waiting } from "./parts.js";

const SHOWS = {
  "": () => true,
  nosec: (one) => one.nosec,
  failing: (one) => one.credentials.some(isFailing) || one.contact?.state === "failed",
  expiring: (one) => one.credentials.some((key) => key.state !== "revoked" && key.expires_at && daysLeft(key.expires_at) <= SOON_DAYS),
  waiting: (one) => one.contact?.state === "waiting",
  staged: (one) => one.credentials.some((key) => key.state === "staged" || key.state === "retiring"),
  revoked: (one) => one.blocked || (one.credentials.length > 0 && one.credentials.every((key) => key.state === "revoked")),
};
const ROW = 68;
const NARROW_ROW = 136;
const NARROW = 760;
const POLL_MS = 15_000;
const SETTLE_MS = 3000;
const SHARE = 20;
const chosen = { search: "", group: "", tag: "" };

export class KeysView {
  #life = new Life();
  #show;
  #all = [];
  #shown = [];
  #list;
  #state = h("div", {}, waiting());
  #summary = h("p", { class: "summary grow", role: "status" });
  #chips = h("div", { class: "chips", role: "group", "aria-label": t("trust.show") });
  #scroller = h("div", { class: "keys-scroller", role: "list", "aria-label": t("trust.tab.keys") });
  #group = select([["", t("trust.group.all")]], "", { "aria-label": t("trust.group") });
  #tag = select([["", t("trust.tag.all")]], "", { "aria-label": t("trust.tag") });
  #timer = 0;
  #took = 0; // the last answer, in milliseconds
  #picked = null; // endpoint names, while some are picked
  #picking = h("div", { class: "picking-bar", role: "group", "aria-label": t("trust.pick"), hidden: true });

  constructor(route) {
    this.#show = route.query.get("show") ?? "";
    if (!(this.#show in SHOWS)) this.#show = "";
    const search = h("input", { class: "input", type: "search", value: chosen.search, placeholder: t("trust.search"), "aria-label": t("trust.search"), autocomplete: "off", spellcheck: "false", oninput: () => {
      chosen.search = search.value;
      this.#choose();
    } });
    for (const [control, key] of [[this.#group, "group"], [this.#tag, "tag"]]) control.addEventListener("change", () => {
      chosen[key] = control.value;
      this.#choose();
    });
    const more = button(t("trust.more"), () => this.#more(more), { icon: "more" });
    this.element = h("div", { class: "trust-view keys" },
      h("div", { class: "trust-tools" }, h("div", { class: "search" }, icon("search"), search), this.#group, this.#tag, h("span", { class: "grow" }),
        canOperate() ? more : null, canAdmin() ? [button(t("trust.add"), () => go(place("add")), { icon: "plus", kind: "primary" })] : null),
      this.#chips, this.#picking, h("div", { class: "card-body keys-body" }, this.#scroller, this.#state), this.#summary);
    for (const show of Object.keys(SHOWS)) {
      this.#chips.append(h("button", { type: "button", class: "chip", "data-show": show, onclick: () => {
        this.#show = show;
        this.#scroller.scrollTop = 0;
        this.#choose();
      } }, h("span", {}, t(`trust.show.${show || "all"}`)), h("span", { class: "chip-count" })));
    }
    this.#list = new VirtualList(this.#scroller, {
      rowHeight: (width) => (width < NARROW ? NARROW_ROW : ROW),
      key: (row) => row.endpoint_name,
      make: (row) => makeRow(row, (name) => this.#pick(name)),
      update: (element, row) => element.update(row, this.#picked),
      open: (row) => (this.#picked && !row.stranger ? this.#pick(row.endpoint_name) : go(row.stranger ? addPlace(row.endpoint_name) : place("device", row.endpoint_name))),
    }, this.#life);
    store.on("events", () => this.#soon(), this.#life);
    store.on("devices", () => this.#choose(), this.#life);
    this.#life.add(() => clearTimeout(this.#timer));
    this.#life.every(POLL_MS, () => this.#soon());
    this.#load();
  }

  end() {
    this.#life.end();
  }

  #soon() {
    if (this.#timer) return;
    // A list of thousands takes a small gateway a second: it is asked at most for a part of the time.
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#load();
    }, Math.max(SETTLE_MS, SHARE * this.#took));
  }

  async #load() {
    if (document.hidden) return;
    const began = performance.now();
    try {
      const { devices } = await api.devices();
      if (this.#life.ended) return;
      this.#took = performance.now() - began;
      this.#all = devices;
      this.#fillSelect(this.#group, "group", devices.flatMap((one) => one.groups));
      this.#fillSelect(this.#tag, "tag", devices.flatMap((one) => one.tags));
      this.loaded = true;
      this.#choose();
    } catch (error) {
      if (!this.loaded) fill(this.#state, failed(error, () => this.#load()));
    }
  }

  #fillSelect(control, key, names) {
    const wanted = [...new Set(names)].sort();
    const drawn = wanted.join("\n");
    if (control.dataset.drawn === drawn) return;
    control.dataset.drawn = drawn;
    fill(control, h("option", { value: "" }, t(`trust.${key}.all`)), wanted.map((name) => h("option", { value: name }, name)));
    if (!wanted.includes(chosen[key])) chosen[key] = "";
    control.value = chosen[key];
    control.hidden = wanted.length === 0;
  }

  /** Devices in the vault, and those of the fleet that come without being in it. */
  #rows() {
    const known = new Set(this.#all.map((one) => one.endpoint_name));
    const open = [...store.state.devices.values()].filter((row) => row.security === "NoSec" && !row.gateway && !known.has(row.endpoint_name));
    return [...this.#all, ...open.map((row) => ({ endpoint_name: row.endpoint_name, label: "", groups: [], tags: [], nosec: true, stranger: true, credentials: [] }))];
  }

  #choose() {
    if (!this.loaded) return;
    const wanted = chosen.search.trim().toLocaleLowerCase();
    const found = this.#rows().filter((one) => (!chosen.group || one.groups.includes(chosen.group)) && (!chosen.tag || one.tags.includes(chosen.tag))
      && (!wanted || [one.endpoint_name, one.label, ...one.groups, ...one.tags, ...one.credentials.map((key) => key.identity)].some((text) => text.toLocaleLowerCase().includes(wanted))));
    for (const chip of this.#chips.children) {
      const { show } = chip.dataset;
      const n = found.filter(SHOWS[show]).length;
      chip.setAttribute("aria-pressed", String(show === this.#show));
      chip.hidden = show !== "" && n === 0 && show !== this.#show;
      chip.classList.toggle("red", show === "nosec" || show === "failing");
      setText(chip.querySelector(".chip-count"), count(n));
    }
    const names = new Intl.Collator(currentLanguage(), { numeric: true, sensitivity: "base" });
    this.#shown = found.filter(SHOWS[this.#show]).sort((a, b) => names.compare(a.endpoint_name, b.endpoint_name));
    this.#list.items = this.#shown;
    setText(this.#summary, t("trust.summary", { n: this.#shown.length, count: count(this.#shown.length) }));
    this.#scroller.hidden = this.#shown.length === 0;
    fill(this.#state, this.#shown.length ? [] : this.#all.length ? none("search", t("trust.nomatch"), t("trust.nomatch.hint")) : none("key", t("trust.none"), t("trust.none.hint"), canAdmin() ? button(t("trust.add"), () => go(place("add")), { icon: "plus", kind: "primary" }) : null));
  }

  /** Start or end picking devices, of which something is then asked. */
  #setPicking(picked) {
    this.#picked = picked;
    this.element.classList.toggle("picking", Boolean(picked));
    this.#picking.hidden = !picked;
    if (picked) {
      const all = button(t("trust.pick.all"), () => {
        for (const row of this.#shown) if (!row.stranger) this.#picked.add(row.endpoint_name);
        this.#told();
      }, { kind: "small" });
      const move = button(t("trust.move"), () => this.#move(), { icon: "refresh", kind: "small primary", "data-do": "move" });
      fill(this.#picking, h("span", { class: "grow picked" }), button(t("trust.pick.end"), () => this.#setPicking(null), { kind: "small" }), all, move);
      this.#told();
      all.focus();
    }
    this.#list.refresh();
  }

  #pick(name) {
    const on = !this.#picked.delete(name);
    if (on) this.#picked.add(name);
    this.#told();
    announce(t(on ? "trust.picked.on" : "trust.picked.off", { name }));
  }

  #told() {
    const n = this.#picked.size;
    setText(this.#picking.querySelector(".picked"), t("trust.picked", { n, count: count(n) }));
    this.#picking.querySelector("[data-do=move]").disabled = n === 0;
    this.#list.refresh();
  }

  async #move() {
    const some = this.#all.filter((one) => this.#picked.has(one.endpoint_name));
    if (!(await moveDevices(this.#all, some, "trust.move.picked"))) return;
    this.#setPicking(null);
    this.#load();
  }

  #more(anchor) {
    const lists = canAdmin() ? [
      { label: t("trust.import"), icon: "upload", action: () => go(place("import")) },
      { label: t("trust.export.csv"), icon: "download", action: () => open(api.exportAddress("csv"), "_self") },
      { label: t("trust.export.json"), icon: "download", action: () => open(api.exportAddress("json"), "_self") },
      { label: t("trust.sheet"), icon: "file", action: () => open(api.sheetAddress(chosen.group), "_blank", "noopener") },
      null,
    ] : [];
    menu(anchor, [...lists,
      { label: t("trust.pick"), icon: "tasks", action: () => this.#setPicking(new Set()) },
      { label: t("trust.move"), icon: "refresh", action: () => moveDevices(this.#all, this.#shown.filter((one) => !one.stranger), "trust.rebootstrap.shown") },
    ]);
  }
}

const addPlace = (name) => `${place("add")}?endpoint_name=${encodeURIComponent(name)}`;

function makeRow(first, pick) {
  const name = h("a", { class: "device-name", tabindex: "-1" });
  const sub = h("span", { class: "sub" });
  const modes = h("span", { class: "badges" });
  const facts = h("span", { class: "keys-facts" });
  const used = ageElement(null);
  const trouble = h("span", { class: "keys-trouble" });
  const target = first.stranger ? addPlace(first.endpoint_name) : place("device", first.endpoint_name);
  name.href = target;
  const box = h("input", { type: "checkbox", tabindex: "-1", "aria-label": t("trust.pick.of", { name: first.endpoint_name }), onchange: () => pick(first.endpoint_name) });
  const mark = h("label", { class: "keys-pick", hidden: true }, box);
  let picking = false;
  const element = h("div", { class: "keys-row", role: "listitem", onclick: (event) => {
    if (event.target.closest("button, .keys-pick") || (!picking && event.target.closest("a"))) return;
    event.preventDefault();
    if (picking) pick(first.endpoint_name);
    else go(target);
  } }, mark,
  h("div", { class: "keys-name" }, name, sub), h("div", { class: "keys-modes" }, modes), facts, h("div", { class: "keys-used" }, h("span", { class: "label" }, t("trust.used")), used), trouble);
  let drawn = "";
  element.update = (row, picked = null) => {
    picking = Boolean(picked) && !row.stranger;
    mark.hidden = !picking;
    box.checked = picking && picked.has(row.endpoint_name);
    element.classList.toggle("picked", box.checked);
    const key = JSON.stringify(row);
    if (key === drawn) return;
    drawn = key;
    setText(name, row.endpoint_name);
    setText(sub, row.stranger ? t("trust.unlisted") : [row.label, ...row.groups, ...row.tags.map((tag) => `#${tag}`)].filter(Boolean).join(" · "));
    fill(modes, modesOf(row).map(modeBadge), row.blocked ? h("span", { class: "badge warn" }, icon("close"), t("trust.blocked")) : null);
    const server = row.credentials.find((one) => one.purpose === "server" && one.state === "active") ?? row.credentials[0];
    const expires = row.credentials.filter((one) => one.state !== "revoked" && one.expires_at).sort((a, b) => a.expires_at.localeCompare(b.expires_at))[0]?.expires_at;
    const changing = row.credentials.find((one) => ["staged", "retiring"].includes(one.state));
    fill(facts, h("span", { class: "mono identity" }, server?.identity ?? ""), h("span", { class: "badges" }, expiryBadge(expires), changing ? h("span", { class: "badge plain" }, t(`trust.state.${changing.state}`)) : null, row.rebootstrap_asked_at ? h("span", { class: "badge plain" }, icon("refresh"), t("trust.rebootstrap.waits")) : null));
    const times = row.credentials.map((one) => one.last_used_at).filter(Boolean).sort();
    setAge(used, times.at(-1) ?? null);
    const failure = row.credentials.filter(isFailing).map((one) => one.last_failure).sort((a, b) => b.at.localeCompare(a.at))[0];
    const words = failure?.text ?? (row.contact?.state === "failed" ? row.contact.text : "");
    fill(trouble, words ? [icon("warning"), h("span", { title: words }, words)] : []);
  };
  element.update(first);
  return element;
}
