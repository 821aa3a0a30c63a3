// What a device told when it registered, what is observed of it, and how to forget it.

import { button, fill, h, icon, iconButton, Life } from "../dom.js";
import { dialog, Fate, note } from "../dialog.js";
import * as api from "../api.js";
import { field } from "../fields.js";
import { ageElement, duration, expected, milliseconds, moment, when } from "../format.js";
import { t } from "../i18n.js";
import { canOperate, copyText } from "../operate.js";
import { deviceHash } from "../router.js";
import * as store from "../store.js";
import { attributeBadges } from "./attributes.js";
import { forget } from "./device-menu.js";
import { batteryFigure, securityBadge, signalFigure, stateBadge } from "./fleet.js";

const FORMATS = { 0: "text", 40: "link format", 42: "opaque", 60: "CBOR", 110: "SenML JSON", 112: "SenML CBOR", 11542: "TLV", 11543: "OMA JSON", 11544: "LwM2M CBOR" };
const formatName = (number) => (FORMATS[number] ? `${FORMATS[number]} (${number})` : String(number));

export class InfoPanel {
  #life = new Life();
  #name;
  #body = h("div", { class: "panel-body padded" });
  #fate = new Fate();
  #drawn = "";

  constructor(name, { close }) {
    this.#name = name;
    this.element = h("section", { class: "panel", "aria-label": t("device.info") },
      h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, iconButton("left", t("back"), close, { class: "phone-only" }), h("div", { class: "panel-names" }, h("span", { class: "panel-device" }, name), h("h2", {}, t("device.info"))), iconButton("close", t("close.panel"), close, { class: "wide-only" })), this.#fate.element),
      this.#body);
    store.on("devices", () => this.update(), this.#life);
    store.on("observations", () => this.update(), this.#life);
    this.update();
  }

  end() {
    this.#life.end();
  }

  update() {
    const detail = store.state.detail;
    const device = detail?.device;
    if (!device || detail.name !== this.#name) return;
    const row = store.state.devices.get(this.#name) ?? device;
    const drawn = JSON.stringify([device, store.stateOf(row), row.last_seen_at, row.battery, row.rssi, row.awake_until, row.expected_at, row.tasks, [...detail.observations]]);
    if (drawn === this.#drawn) return;
    this.#drawn = drawn;
    const facts = [
      ["info.state", stateBadge(row)], ["info.seen", ageElement(row.last_seen_at)], ["info.security", [h("span", { class: "badge bearer" }, device.bearer), " ", securityBadge(device)]],
      ["info.address", h("span", { class: "mono" }, device.address)], ["info.product", [device.manufacturer, device.model].filter(Boolean).join(" ") || "–"],
      ["info.battery", batteryFigure(row.battery)], ["info.signal", signalFigure(row.rssi)],
      ["info.version", `LwM2M ${device.version}`], ["info.binding", device.binding + (device.queue_mode ? ` – ${t("info.queue")}` : "")],
      ...(device.queue_mode ? this.#sleep(row) : []),
      row.tasks?.open ? ["info.tasks", h("a", { href: deviceHash(this.#name, ["tasks"]) }, t("tasks.open", { n: row.tasks.open, count: row.tasks.open }))] : null,
      device.gateway ? ["info.gateway", [h("a", { href: deviceHash(device.gateway, ["info"]) }, device.gateway), device.prefix ? h("span", { class: "mono" }, ` ${device.prefix}`) : ""]] : null,
      device.end_devices?.length ? ["info.enddevices", h("ul", { class: "inline-list" }, device.end_devices.map((one) => h("li", {}, h("a", { href: deviceHash(one) }, one))))] : null,
      ["info.lifetime", duration(device.lifetime_s)], ["info.registered", when(device.registered_at)], ["info.expires", device.expires_at ? when(device.expires_at) : "–"],
      ["info.registration", h("span", { class: "mono" }, device.registration_id)], device.sms_number ? ["info.sms", device.sms_number] : null, device.root !== "/" ? ["info.root", h("span", { class: "mono" }, device.root)] : null,
      ["info.formats", device.content_formats.length ? device.content_formats.map(formatName).join(", ") : t("info.untold")], device.learned_format === null ? null : ["info.learned", formatName(device.learned_format)],
      ...Object.entries(device.parameters ?? {}).map(([key, value]) => [key, value ?? ""]),
    ].filter(Boolean);
    fill(this.#body,
      device.warnings.map((text) => h("p", { class: "warning-line" }, icon("warning"), h("span", {}, text))),
      device.security === "NoSec" ? h("p", { class: "warning-line red" }, icon("unlock"), h("span", {}, t("security.nosec"))) : null,
      h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", {}, key.startsWith("info.") ? t(key) : key), h("dd", {}, value)])),
      h("h3", {}, t("observations")), this.#observations(detail),
      h("div", { class: "panel-foot" }, button(t("copy.name"), () => copyText(this.#name), { icon: "copy" }), canOperate() ? button(t("device.forget"), () => forget(this.#name), { icon: "trash", kind: "danger-outline" }) : null));
  }

  /** When it listens, and for how long it is taken to. */
  #sleep(row) {
    const state = store.stateOf(row);
    const now = state === "online" && row.awake_until ? t("info.awake.until", { time: moment(row.awake_until) }) : state === "asleep" ? expected(row.expected_at) || t("info.asleep.unknown") : "–";
    return [["info.awake", now], ["info.awake_s", h("span", { class: "with-word" }, duration(Math.round(row.awake_s)), canOperate() ? button(t("info.awake.change"), () => this.#setAwake(row), { kind: "small" }) : null)]];
  }

  async #setAwake(row) {
    const given = await dialog(t("info.awake.change"), (close) => {
      const seconds = field(t("awake.seconds"), { type: "number", min: 1, max: 86400, step: 1, inputmode: "numeric", value: Math.round(row.awake_s) }, t("awake.hint"));
      const complaint = h("div", { class: "form-error", role: "alert" });
      return {
        body: [h("p", { class: "prose" }, t("awake.text")), seconds.element, complaint],
        focus: () => seconds.input,
        submit: () => {
          const text = seconds.input.value.trim();
          const value = text === "" ? null : Number(text);
          if (value !== null && !(value >= 1 && value <= 86400)) return void fill(complaint, icon("warning"), h("p", {}, t("range.bad", { min: 1, max: 86400 })));
          return close({ value });
        },
        actions: [button(t("awake.learn"), () => close({ value: null })), button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, h("span", {}, t("awake.set")))],
      };
    }, { subtitle: this.#name });
    if (!given) return;
    try {
      await api.setAwake(this.#name, given.value);
      note(t(given.value === null ? "awake.learned" : "awake.kept"));
      await store.loadDetail(this.#name);
    } catch (error) {
      this.#fate.error(error);
    }
  }

  #observations(detail) {
    const rows = [...detail.observations.values()];
    if (!rows.length) return h("p", { class: "muted" }, t("observations.none"));
    return h("ul", { class: "observation-list" }, rows.map((one) => h("li", {},
      h("div", { class: "grow" }, h("span", { class: "mono path-list" }, one.path.split(",").join("  ")), " ", h("span", { class: "muted" }, detail.values.get(one.path)?.name ?? ""),
        h("div", { class: `observed ${one.state}` }, t(`observe.${one.state}`), one.reason ? `: ${one.reason}` : "", one.since ? [" · ", ageElement(one.since)] : "", ` · ${one.origin.startsWith("template:") ? t("observe.origin.template", { name: one.origin.slice(9) }) : t(`observe.origin.${one.origin}`)}`, one.composite ? ` · ${t("observe.composite")}` : ""),
        Object.keys(one.attributes ?? {}).length ? h("span", { class: "badges" }, attributeBadges(one.attributes)) : null),
      canOperate() ? iconButton("close", t("observe.stop.path", { path: one.path }), () => this.#cancel(one.path)) : null)));
  }

  async #cancel(path) {
    this.#fate.pending(t("fate.pending", { operation: t("operation.Cancel"), path }));
    try {
      const outcome = await store.cancelObservation(this.#name, path);
      this.#fate.outcome(outcome ?? { operation: "Cancel", path, ok: true, code: null, text: t("observe.stopped"), words: "" }, milliseconds(outcome?.rtt_ms));
    } catch (error) {
      this.#fate.error(error);
    }
  }
}
