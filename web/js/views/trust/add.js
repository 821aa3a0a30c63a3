// The way to a new device: its name, how it proves who it is, how it finds us, what to flash, and its first contact.

import { button, fill, h, icon, Life } from "../../dom.js";
import { announce, confirm } from "../../dialog.js";
import { field } from "../../fields.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import { deviceHash, go } from "../../router.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { checkbox, Complaint, contactLine, labelled, modeBadge, none, place, select, subHead } from "./parts.js";
import { provisioningCard, tellsSecrets } from "./provisioning.js";

const STEPS = ["name", "security", "way", "flash"];
const SECURITIES = ["psk", "rpk", "x509", "oscore", "nosec"];
const FOLLOW_MS = 2000;
const MOST_OTHERS = 3;

// What was made and is not said to be kept yet, by its name: who looks at another page meanwhile, or adds another
// device there, finds each of them again. Gone with the account that made it.
const pending = new Map();

export class AddView {
  #life = new Life();
  #step = 0;
  #given;
  #plans = [];
  #made = null;
  #contact = null;
  #others = null;
  #complaint = new Complaint();
  #steps = h("ol", { class: "wizard-steps" });
  #body = h("div", { class: "wizard-body" });
  #asking = false;

  constructor(route) {
    const asked = (key) => route.query.get(key) ?? "";
    this.#given = {
      endpoint_name: asked("endpoint_name"), label: "", groups: "", tags: "", security: "psk", bootstrap: false, plan: "",
      psk: asked("psk_identity") ? "own" : "made", psk_identity: asked("psk_identity"), psk_key_hex: "",
      rpk: "made", public_key_pem: "", x509: "issued", certificate_pem: "", csr_pem: "", sure: false,
    };
    this.element = h("div", { class: "trust-view scrolling" }, subHead(place("keys"), t("trust.add")));
    if (!canAdmin()) {
      this.element.append(none("lock", t("trust.admin.only"), t("trust.admin.only.hint")));
      return;
    }
    const form = h("form", { class: "card wizard", novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      this.#next();
    } }, this.#steps, this.#body);
    this.element.append(form);
    this.#life.every(FOLLOW_MS, () => this.#ask());
    this.#life.listen(window, "beforeunload", (event) => {
      if (pending.size) event.preventDefault();
    });
    for (const [name, { account }] of pending) if (account !== store.state.session?.account) pending.delete(name);
    this.#resume(this.#given.endpoint_name);
    store.on("events", () => {
      if (this.#made && store.state.events[0]?.endpoint_name === this.#made.endpoint_name) this.#ask();
    }, this.#life);
    this.#draw();
    api.plans().then(({ plans }) => (this.#plans = plans)).catch(() => {});
  }

  end() {
    this.#life.end();
  }

  #draw() {
    fill(this.#steps, STEPS.map((name, index) => h("li", { "aria-current": index === this.#step ? "step" : null, class: index < this.#step ? "done" : "" },
      h("span", { class: "step-mark" }, index < this.#step ? icon("check") : String(index + 1)), h("span", {}, t(`trust.step.${name}`)))));
    this.#complaint.clear();
    const { body, focus } = this[`_${STEPS[this.#step]}`]();
    const last = this.#step === 3;
    fill(this.#body, h("h3", { class: "wizard-title", tabindex: "-1" }, t(`trust.step.${STEPS[this.#step]}.title`)), body, this.#complaint.element,
      h("div", { class: "wizard-foot" },
        last ? button(t("trust.add.another"), () => this.#again(), { icon: "plus" }) : this.#step ? button(t("back"), () => this.#back(), { icon: "left" }) : button(t("cancel"), () => go(place("keys"))),
        last ? button(t("trust.kept"), () => this.#keep(), { kind: "primary", icon: "check" })
          : h("button", { type: "submit", class: "button primary" }, h("span", {}, t(this.#step === 2 ? "trust.add.make" : "trust.next")), icon(this.#step === 2 ? "check" : "right"))));
    if (this.#life.ended) return;
    requestAnimationFrame(() => (focus?.() ?? this.#body.querySelector(".wizard-title"))?.focus());
  }

  #back() {
    this.#step -= 1;
    this.#draw();
  }

  /** Back to what was made under this name, or, without a name, to the first that nobody said to have kept. */
  #resume(name) {
    const found = name ? pending.get(name) : pending.values().next().value;
    if (!found) return false;
    this.#made = found.made;
    Object.assign(this.#given, found.given);
    this.#step = 3;
    return true;
  }

  #keep() {
    const name = this.#made.endpoint_name;
    pending.delete(name);
    if (this.#resume("")) this.#draw();
    else go(place("device", name));
  }

  async #again() {
    const name = this.#made.endpoint_name;
    if (pending.has(name) && !(await confirm(t("trust.another"), t("trust.another.text", { name }), t("trust.another.kept"), { danger: false }))) return undefined;
    pending.delete(name);
    if (this.#resume("")) return this.#draw();
    const { groups, tags, security, bootstrap, plan } = this.#given;
    Object.assign(this.#given, { endpoint_name: "", label: "", groups, tags, security, bootstrap, plan, psk: "made", psk_identity: "", psk_key_hex: "", public_key_pem: "", certificate_pem: "", csr_pem: "" });
    this.#made = null;
    this.#step = 0;
    return this.#draw();
  }

  async #next() {
    this.#complaint.clear();
    const wrong = this.#wrong();
    if (wrong) return this.#complaint.say(wrong);
    if (this.#step < 2) {
      this.#step += 1;
      return this.#draw();
    }
    if (this.#step !== 2 || this.#asking) return undefined;
    this.#asking = true;
    try {
      this.#made = await api.addDevice(this.#request());
      if (tellsSecrets(this.#made)) pending.set(this.#made.endpoint_name, { made: this.#made, given: { ...this.#given }, account: store.state.session?.account });
      this.#step = 3;
      this.#draw();
    } catch (error) {
      this.#complaint.error(error);
    }
    this.#asking = false;
    return undefined;
  }

  /** What is wrong with this step, in a sentence; "" when nothing is. */
  #wrong() {
    const given = this.#given;
    if (this.#step === 0) {
      const name = given.endpoint_name.trim();
      return name ? (new TextEncoder().encode(name).length > 255 ? t("trust.name.long") : "") : t("trust.name.missing");
    }
    if (this.#step !== 1) return "";
    if (given.security === "nosec" && !given.sure) return t("trust.sure.missing");
    if (given.security === "psk" && given.psk === "own") {
      if (!given.psk_identity.trim()) return t("trust.identity.missing");
      const key = given.psk_key_hex.replace(/\s/g, "");
      if (key && (!/^([0-9a-f]{2})+$/i.test(key) || key.length < 32)) return t("trust.key.bad");
    }
    if (given.security === "rpk" && given.rpk === "own" && !given.public_key_pem.includes("-----BEGIN")) return t("trust.pem.missing");
    if (given.security === "x509" && given.x509 === "own" && !given.certificate_pem.includes("-----BEGIN")) return t("trust.pem.missing");
    if (given.security === "x509" && given.x509 === "csr" && !given.csr_pem.includes("-----BEGIN")) return t("trust.pem.missing");
    return "";
  }

  #request() {
    const given = this.#given;
    const words = (text) => [...new Set(text.split(",").map((one) => one.trim()).filter(Boolean))];
    const body = { endpoint_name: given.endpoint_name.trim(), security: given.security };
    if (given.label.trim()) body.label = given.label.trim();
    if (words(given.groups).length) body.groups = words(given.groups);
    if (words(given.tags).length) body.tags = words(given.tags);
    if (given.bootstrap) Object.assign(body, { bootstrap: true }, given.plan ? { plan: given.plan } : {});
    if (given.security === "psk" && given.psk === "own") {
      body.psk_identity = given.psk_identity.trim();
      if (given.psk_key_hex.trim()) body.psk_key_hex = given.psk_key_hex.replace(/\s/g, "");
    }
    if (given.security === "rpk" && given.rpk === "own") body.public_key_pem = given.public_key_pem;
    if (given.security === "x509" && given.x509 === "own") body.certificate_pem = given.certificate_pem;
    if (given.security === "x509" && given.x509 === "csr") body.csr_pem = given.csr_pem;
    return body;
  }

  #input(key, label, attributes = {}, hint = "") {
    const made = field(label, { autocomplete: "off", value: this.#given[key], ...attributes, oninput: () => (this.#given[key] = made.input.value) }, hint);
    return made;
  }

  #area(key, label, hint, placeholder) {
    const area = h("textarea", { class: "input mono", rows: "5", spellcheck: "false", autocapitalize: "none", placeholder, oninput: () => (this.#given[key] = area.value) });
    area.value = this.#given[key];
    return labelled(label, area, hint);
  }

  #radios(key, name, options) {
    return h("fieldset", { class: "choice-list" }, h("legend", {}, name), options.map(([value, label]) => checkbox(label, this.#given[key] === value, { type: "radio", name: key, onchange: () => {
      this.#given[key] = value;
      this.#draw();
      this.#body.querySelector(`input[name="${key}"]:checked`)?.focus();
    } }).element));
  }

  _name() {
    const name = this.#input("endpoint_name", t("trust.endpoint"), { maxlength: 255, placeholder: "meter-17", required: true }, t("trust.endpoint.hint"));
    const label = this.#input("label", t("trust.label.field"), { maxlength: 100, placeholder: t("trust.label.example"), autocapitalize: "sentences" });
    const groups = this.#input("groups", t("trust.groups"), {}, t("trust.groups.hint"));
    const tags = this.#input("tags", t("trust.tags"), {}, t("trust.comma"));
    return {
      body: [name.element, label.element, h("div", { class: "field-pair" }, groups.element, tags.element), h("p", { class: "hint" }, t("trust.import.hint"), " ", h("a", { href: place("import") }, t("trust.import")))],
      focus: () => name.input,
    };
  }

  _security() {
    const given = this.#given;
    const cards = h("fieldset", { class: "mode-cards" }, h("legend", { class: "visually-hidden" }, t("trust.step.security.title")), SECURITIES.map((mode) => h("label", { class: `mode-card ${mode} ${given.security === mode ? "chosen" : ""}` },
      h("input", { type: "radio", name: "security", value: mode, checked: given.security === mode, onchange: () => {
        given.security = mode;
        this.#draw();
        requestAnimationFrame(() => this.#body.querySelector("input[name=security]:checked")?.focus());
      } }),
      h("span", { class: "mode-name" }, modeBadge(mode), mode === "psk" ? h("span", { class: "badge plain" }, t("trust.recommended")) : null), h("span", { class: "mode-text" }, t(`trust.mode.${mode}`)))));
    const more = {
      psk: () => [this.#radios("psk", t("trust.psk.key"), [["made", t("trust.psk.made")], ["own", t("trust.psk.own")]]),
        given.psk === "own" ? [this.#input("psk_identity", t("trust.fact.psk_identity"), { maxlength: 128 }).element, this.#input("psk_key_hex", t("trust.fact.psk_key_hex"), { class: "input mono", maxlength: 200 }, t("trust.psk.own.hint")).element] : null],
      rpk: () => [this.#radios("rpk", t("trust.rpk.key"), [["made", t("trust.rpk.made")], ["own", t("trust.rpk.own")]]),
        given.rpk === "own" ? this.#area("public_key_pem", t("trust.fact.public_key_pem"), t("trust.rpk.hint"), "-----BEGIN PUBLIC KEY-----") : null],
      x509: () => [this.#radios("x509", t("trust.x509.from"), [["issued", t("trust.x509.issued")], ["csr", t("trust.x509.csr")], ["own", t("trust.x509.own")]]),
        given.x509 === "csr" ? this.#area("csr_pem", t("trust.csr"), t("trust.csr.hint"), "-----BEGIN CERTIFICATE REQUEST-----") : null,
        given.x509 === "own" ? this.#area("certificate_pem", t("trust.fact.certificate_pem"), t("trust.x509.own.hint"), "-----BEGIN CERTIFICATE-----") : null],
      oscore: () => h("p", { class: "hint" }, t("trust.oscore.hint")),
      nosec: () => {
        const sure = checkbox(t("trust.nosec.sure"), given.sure, { onchange: () => (given.sure = sure.input.checked) });
        return [h("p", { class: "warning-line red strong" }, icon("unlock"), h("span", {}, h("strong", {}, t("trust.nosec.warning")), " ", t("trust.nosec.text"))), sure.element];
      },
    }[given.security]();
    return { body: [cards, h("div", { class: "mode-more" }, more)], focus: () => this.#body.querySelector("input[name=security]:checked") };
  }

  _way() {
    const given = this.#given;
    const plan = select([["", t("trust.plan.default")], ...this.#plans.filter((one) => one.id !== "default").map((one) => [one.id, one.name])], given.plan, { onchange: () => (given.plan = plan.value) });
    const body = [this.#radiosOfWay()];
    if (given.bootstrap) body.push(labelled(t("trust.plan"), plan, t("trust.plan.hint")), h("p", { class: "hint" }, h("a", { href: place("bootstrap") }, t("trust.plans"))));
    body.push(h("dl", { class: "facts wizard-summary" }, h("dt", {}, t("trust.endpoint")), h("dd", {}, given.endpoint_name), h("dt", {}, t("trust.step.security")), h("dd", {}, modeBadge(given.security)), given.groups.trim() ? [h("dt", {}, t("trust.groups")), h("dd", {}, given.groups)] : null));
    if (given.security === "nosec") body.push(h("p", { class: "warning-line red" }, icon("unlock"), h("span", {}, t("security.nosec"))));
    return { body, focus: () => this.#body.querySelector("input[name=way]:checked") };
  }

  #radiosOfWay() {
    const option = (value) => {
      const { input, element } = checkbox(t(value ? "trust.way.bootstrap" : "trust.way.direct"), this.#given.bootstrap === value, { type: "radio", name: "way", onchange: () => {
        this.#given.bootstrap = value;
        this.#draw();
      } });
      input.value = value ? "bootstrap" : "direct";
      return [element, h("p", { class: "hint" }, t(value ? "trust.way.bootstrap.hint" : "trust.way.direct.hint"))];
    };
    return h("fieldset", { class: "choice-list" }, h("legend", {}, t("trust.way")), option(false), option(true));
  }

  _flash() {
    this.#contact = h("div", { class: "first-contact", role: "status", "aria-live": "polite" });
    this.#others = h("div", { class: "meanwhile", role: "status", "aria-live": "polite" });
    this.#showContact(this.#made.contact);
    return { body: [this.#contact, this.#others, provisioningCard(this.#made)] };
  }

  #showContact(contact) {
    const key = `${contact?.state} ${contact?.text}`;
    if (this.#contact.dataset.key === key) return;
    this.#contact.dataset.key = key;
    this.#contact.dataset.state = contact?.state ?? "waiting";
    fill(this.#contact, contactLine(contact, { large: true }),
      contact?.state === "registered" ? h("a", { class: "button primary", href: deviceHash(this.#made.endpoint_name) }, icon("devices"), h("span", {}, t("trust.open"))) : null,
      contact?.state === "waiting" ? h("p", { class: "hint" }, t("trust.contact.hint")) : null);
    if (contact?.state === "registered") announce(t("trust.contact.registered"));
  }

  /** Who knocked meanwhile under another name or identity: it may well be this device, set up wrongly. */
  #showOthers(strangers) {
    const drawn = JSON.stringify(strangers.map((one) => [one.id, one.reason]));
    if (this.#others.dataset.drawn === drawn) return;
    this.#others.dataset.drawn = drawn;
    fill(this.#others, strangers.length ? [h("h4", {}, icon("user"), t("trust.meanwhile")), h("ul", {}, strangers.slice(0, MOST_OTHERS).map((one) => h("li", {}, h("strong", {}, one.endpoint_name || one.identity || one.address), " ", h("span", {}, one.reason)))), h("a", { href: place("quarantine") }, t("trust.meanwhile.all"))] : []);
  }

  async #ask() {
    if (!this.#made || this.#life.ended || document.hidden) return;
    try {
      const [{ contact }, { strangers }] = await Promise.all([api.device(this.#made.endpoint_name), api.strangers()]);
      if (this.#life.ended || !this.#made) return;
      store.noteStrangers(strangers);
      this.#showContact(contact);
      this.#showOthers(contact?.state === "registered" ? [] : strangers.filter((one) => one.state === "waiting" && one.endpoint_name !== this.#made.endpoint_name && Date.parse(one.last_seen_at) >= Math.floor(Date.parse(this.#made.made_at) / 1000) * 1000));
    } catch {
      // Asked again in a moment; the banner tells when the gateway is away.
    }
  }
}

