// What the pages about trust are made of.

import { gatewayNow } from "../../api.js";
import { button, fill, h, icon, uniqueId } from "../../dom.js";
import { ageElement, when } from "../../format.js";
import { t } from "../../i18n.js";
import { copyText } from "../../operate.js";
import { go } from "../../router.js";
import { describe } from "../../store.js";

const DAY_MS = 86_400_000;
export const SOON_DAYS = 30;
export const MODES = { psk: "PSK", rpk: "RPK", x509: "X.509", oscore: "OSCORE", nosec: "NoSec" };

export const place = (...parts) => `#/security/${parts.map(encodeURIComponent).join("/")}`;

export function modeBadge(mode) {
  const open = mode === "nosec";
  return h("span", { class: `badge ${open ? "nosec" : "secure"}`, title: open ? t("security.nosec") : null }, icon(open ? "unlock" : "lock"), MODES[mode] ?? mode);
}

/** The modes by which a device may come in, NoSec among them when it may come without a key. */
export function modesOf(device) {
  const found = [...new Set(device.credentials.filter((one) => one.state !== "revoked").map((one) => one.mode))];
  return device.nosec ? ["nosec", ...found] : found;
}

/** Whole days until then, negative when it is over; null when it does not end. */
export const daysLeft = (iso) => (iso ? Math.floor((Date.parse(iso) - gatewayNow()) / DAY_MS) : null);

/** A warning when something ends soon or has ended, else null. */
export function expiryBadge(iso) {
  const days = daysLeft(iso);
  if (days === null || days > SOON_DAYS) return null;
  return h("span", { class: `badge ${days < 0 ? "nosec" : "warn"}`, title: when(iso) }, icon("clock"), days < 0 ? t("trust.expired") : t("trust.expires.days", { n: days }));
}

/** Whether its last try failed: what went wrong before it was let in is over. */
export const isFailing = (credential) => Boolean(credential.last_failure) && !(Date.parse(credential.last_used_at) > Date.parse(credential.last_failure.at));

const STATE_ICONS = { active: "check", staged: "clock", retiring: "moonlit", revoked: "close" };

export function stateChip(state) {
  return h("span", { class: `trust-state ${state}` }, icon(STATE_ICONS[state] ?? "info"), h("span", {}, t(`trust.state.${state}`)));
}

const CONTACT_ICONS = { waiting: "clock", failed: "warning", bootstrapping: "refresh", registered: "check", gone: "power" };

/** How its first contact stands: colour, icon and one sentence. */
export function contactLine(contact, { large = false } = {}) {
  const { state, text, at } = contact ?? { state: "waiting", text: "", at: null };
  return h("div", { class: `contact ${state} ${large ? "large" : ""}` }, large && state === "waiting" ? h("span", { class: "spinner" }) : icon(CONTACT_ICONS[state] ?? "info"),
    h("div", {}, h("strong", {}, t(`trust.contact.${state}`)), text ? h("span", { class: "contact-text" }, text) : null, at ? ageElement(at) : null));
}

/** A select, a text area or anything else below its label. */
export function labelled(label, control, hint = "") {
  control.id ||= uniqueId("field");
  if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
  return h("div", { class: "field" }, h("label", { for: control.id }, label), control, hint ? h("p", { class: "hint", id: `${control.id}-hint` }, hint) : null);
}

export function select(options, value, attributes = {}) {
  const element = h("select", { class: "input", ...attributes }, options.map(([key, label]) => h("option", { value: key }, label)));
  element.value = value ?? options[0]?.[0] ?? "";
  return element;
}

export function checkbox(label, checked, attributes = {}) {
  const input = h("input", { type: "checkbox", checked, ...attributes });
  return { input, element: h("label", { class: "choice" }, input, h("span", {}, label)) };
}

/** Where a form says what is wrong; read aloud. */
export class Complaint {
  element = h("div", { class: "form-error", role: "alert" });

  say(text, next = "") {
    fill(this.element, icon("warning"), h("p", {}, h("strong", {}, text), next ? ` ${next}` : ""));
  }

  error(error) {
    const { message, nextStep } = describe(error);
    this.say(message, nextStep);
  }

  clear() {
    fill(this.element);
  }
}

/** A text to take along, with a button that copies it. */
export function copyRow(label, text, { secret = false, block = false } = {}) {
  const value = h(block ? "pre" : "code", { class: `copy-value ${block ? "code" : ""}`, tabindex: block ? "0" : null, "aria-label": block ? label : null }, text);
  return h("div", { class: `copy-row ${secret ? "secret" : ""} ${block ? "block" : ""}` },
    h("div", { class: "copy-name" }, secret ? icon("key") : null, h("span", {}, label)), value,
    button(t("copy"), () => copyText(text), { icon: "copy", kind: "small", "aria-label": t("trust.copy.of", { what: label }) }));
}

/** Hand a text of ours to the person as a file. */
export function saveText(name, text, type = "text/plain") {
  const link = h("a", { href: URL.createObjectURL(new Blob([text], { type })), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

/** A button that is a link: to a file, or to print. */
export function linkButton(label, href, name, attributes = {}) {
  return h("a", { class: "button", href, ...attributes }, icon(name), h("span", {}, label));
}

export function failed(error, again) {
  const { message, nextStep } = describe(error);
  return h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), again ? button(t("again"), again, { icon: "refresh" }) : null);
}

export const waiting = () => h("div", { class: "empty" }, h("span", { class: "spinner large" }), h("p", {}, t("loading")));

export function none(name, title, hint, ...actions) {
  return h("div", { class: "empty" }, icon(name, "icon hero"), h("h2", {}, title), h("p", {}, hint), actions);
}

const SHAPES = new Set(["svg", "g", "path", "rect"]);
const ATTRIBUTES = new Set(["viewBox", "d", "fill", "stroke", "stroke-width", "transform", "x", "y", "width", "height"]);

/** A drawing of the gateway's (a QR code) as elements; only shapes are taken over, so nothing in it can act. */
export function drawing(svg, label) {
  let root = null;
  let parent = null;
  for (const [, close, tag, rest, alone] of svg.matchAll(/<(\/?)([a-z]+)((?:\s+[\w:-]+="[^"]*")*)\s*(\/?)>/g)) {
    if (close) {
      parent = parent?.parentNode ?? null;
      continue;
    }
    const element = document.createElementNS("http://www.w3.org/2000/svg", SHAPES.has(tag) ? tag : "g");
    for (const [, name, value] of rest.matchAll(/([\w:-]+)="([^"]*)"/g)) if (ATTRIBUTES.has(name)) element.setAttribute(name, value);
    if (parent) parent.append(element);
    else if (root) break;
    else root = element;
    if (!alone) parent = element;
  }
  root?.setAttribute("role", "img");
  root?.setAttribute("aria-label", label);
  root?.setAttribute("class", "qr");
  return root;
}

/** The head of a page below a tab: back, what it is, and what can be done. */
export function subHead(back, title, subtitle, ...tools) {
  return h("header", { class: "sub-head" }, button(t("back"), () => go(back), { icon: "left", kind: "small" }), h("div", { class: "sub-title" }, h("h2", {}, title), subtitle ? h("p", { class: "summary" }, subtitle) : null), h("div", { class: "tools" }, tools));
}
