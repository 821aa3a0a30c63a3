// One device in the security store: its keys, how its last contact went, and what can be changed.

import { button, fill, h, icon, iconButton, Life, setText } from "../../dom.js";
import { confirm, dialog, note, noteError } from "../../dialog.js";
import { field } from "../../fields.js";
import { ageElement, when } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin, canOperate, copyText } from "../../operate.js";
import { deviceHash, go } from "../../router.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { withBootstrapKey } from "./move.js";
import { checkbox, Complaint, contactLine, expiryBadge, failed, isFailing, labelled, modeBadge, modesOf, none, place, select, stateChip, subHead, waiting } from "./parts.js";
import { provisioningCard, tellsSecrets } from "./provisioning.js";
import { sessionRow } from "./session-row.js";

const FOLLOW_MS = 5000;

export class DeviceView {
  #life = new Life();
  #name;
  #device = null;
  #sessions = [];
  #drawn = "";
  #planNames = new Map();
  #timer = 0;

  constructor(route) {
    this.#name = route.rest[0] ?? "";
    this.element = h("div", { class: "trust-view scrolling" }, waiting());
    this.#life.every(FOLLOW_MS, () => this.#load());
    store.on("events", () => this.#heard(), this.#life);
    this.#life.add(() => clearTimeout(this.#timer));
    this.#load();
  }

  end() {
    this.#life.end();
  }

  #heard() {
    if (this.#timer || store.state.events[0]?.endpoint_name !== this.#name) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#load();
    }, 300);
  }

  async #load() {
    if (document.hidden) return;
    try {
      const [device, { sessions }] = await Promise.all([api.device(this.#name), api.sessions(this.#name, 5)]);
      if (this.#life.ended) return;
      this.#device = device;
      this.#sessions = sessions;
      this.#draw();
    } catch (error) {
      if (this.#life.ended || this.#device) return;
      fill(this.element, subHead(place("keys"), this.#name), error.status === 404
        ? none("key", t("trust.unlisted.title", { name: this.#name }), t("trust.unlisted.hint"), canAdmin() ? button(t("trust.add"), () => go(`${place("add")}?endpoint_name=${encodeURIComponent(this.#name)}`), { icon: "plus", kind: "primary" }) : null)
        : failed(error, () => this.#load()));
    }
  }

  #draw() {
    const device = this.#device;
    const drawn = JSON.stringify([device, this.#sessions]);
    if (drawn === this.#drawn) return;
    // What somebody has opened or is about to press is not pulled away for an age.
    this.#drawn = drawn;
    const focused = document.activeElement?.dataset?.action;
    const live = device.credentials.filter((one) => one.state !== "revoked");
    const row = store.state.devices.get(this.#name);
    fill(this.element,
      subHead(place("keys"), device.endpoint_name, device.label,
        row ? h("a", { class: "button", href: deviceHash(this.#name) }, icon("devices"), h("span", {}, t("trust.open"))) : null,
        canAdmin() ? button(t("trust.edit"), () => this.#edit(), { icon: "pencil", "data-action": "edit" }) : null),
      h("div", { class: "trust-columns" },
        h("div", { class: "trust-column" },
          h("section", { class: "card" }, h("h2", {}, t("trust.contact")), contactLine(device.contact), device.blocked ? h("p", { class: "warning-line red" }, icon("close"), h("span", {}, t("trust.blocked.text"))) : null,
            device.rebootstrap_asked_at ? h("p", { class: "state-line waiting" }, icon("refresh"), h("span", {}, t("trust.rebootstrap.waiting"), " ", ageElement(device.rebootstrap_asked_at)),
              canOperate() ? button(t("trust.withdraw"), () => this.#withdraw(), { "data-action": "withdraw" }) : null) : null,
            h("dl", { class: "facts" },
              h("dt", {}, t("trust.groups")), h("dd", {}, device.groups.length ? h("span", { class: "badges" }, device.groups.map((one) => h("span", { class: "badge plain" }, one))) : "–"),
              h("dt", {}, t("trust.tags")), h("dd", {}, device.tags.length ? h("span", { class: "badges" }, device.tags.map((one) => h("span", { class: "badge plain" }, `#${one}`))) : "–"),
              h("dt", {}, t("trust.plan")), h("dd", {}, device.plan ? this.#planLink(device.plan) : t("trust.plan.default")),
              h("dt", {}, t("trust.made")), h("dd", {}, when(device.made_at))),
            h("div", { class: "button-row" }, canOperate() ? button(t("trust.rebootstrap"), () => this.#rebootstrap(), { icon: "refresh", "data-action": "rebootstrap" }) : null,
              h("a", { class: "button", href: api.labelAddress(this.#name), target: "_blank", rel: "noopener" }, icon("file"), h("span", {}, t("trust.print"))))),
          this.#openCard(device)),
        h("div", { class: "trust-column" },
          h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.keys")), h("span", { class: "badges" }, modesOf(device).map(modeBadge))),
            h("p", { class: "prose" }, t("trust.keys.text")),
            device.credentials.length ? device.credentials.map((one) => this.#credential(one)) : h("p", { class: "muted" }, t("trust.keys.none")),
            canAdmin() ? h("div", { class: "button-row card-foot-row" },
              live.length ? button(t("trust.rotate"), () => this.#rotate(live), { icon: "retry", "data-action": "rotate" }) : null,
              device.blocked || !live.length ? button(t("trust.reinstate"), () => this.#reinstate(), { icon: "check", "data-action": "reinstate" }) : button(t("trust.revoke"), () => this.#revoke(), { icon: "close", kind: "danger-outline", "data-action": "revoke" }),
              button(t("trust.remove"), () => this.#remove(), { icon: "trash", kind: "danger-outline", "data-action": "remove" })) : null),
          h("section", { class: "card" }, h("h2", {}, t("trust.sessions")), this.#sessions.length ? h("ul", { class: "session-list" }, this.#sessions.map((one) => sessionRow(one))) : h("p", { class: "muted" }, t("trust.sessions.none.device"))))));
    if (focused) this.element.querySelector(`[data-action="${focused}"]`)?.focus();
  }

  /** A plan by its name, as soon as that is known. */
  #planLink(id) {
    const link = h("a", { href: place("plan", id) }, this.#planNames.get(id) ?? id);
    if (!this.#planNames.has(id)) {
      this.#planNames.set(id, id);
      api.plan(id).then(({ name }) => {
        this.#planNames.set(id, name);
        setText(link, name);
      }).catch(() => {}); // Its id says which it is, too.
    }
    return link;
  }

  #credential(one) {
    const facts = Object.entries(one.public ?? {}).filter(([, value]) => value !== null && value !== "");
    const more = h("details", { class: "more-fields" }, h("summary", {}, t("trust.public")), h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", {}, key.replaceAll("_", " ")), h("dd", { class: "mono" }, Array.isArray(value) ? value.join(", ") : String(value))])));
    return h("article", { class: `credential ${one.state}` },
      h("div", { class: "credential-head" }, modeBadge(one.mode), h("span", { class: "badge plain" }, t(`trust.purpose.${one.purpose}`)), stateChip(one.state), one.state === "revoked" ? null : expiryBadge(one.expires_at)),
      h("p", { class: "with-word" }, h("code", { class: "mono identity" }, one.identity), iconButton("copy", t("trust.copy.of", { what: one.identity }), () => copyText(one.identity.slice(one.identity.indexOf(":") + 1)), { class: "small" })),
      h("p", { class: "credential-times" }, `${t("trust.made")} ${when(one.made_at)}`, one.expires_at ? ` · ${t("trust.expires.at", { when: when(one.expires_at) })}` : "", " · ", t("trust.used"), " ", ageElement(one.last_used_at)),
      one.last_failure ? h("p", { class: isFailing(one) ? "warning-line red" : "credential-times" }, isFailing(one) ? icon("warning") : null, h("span", {}, isFailing(one) ? "" : `${t("trust.failure.before")} `, one.last_failure.text, " ", ageElement(one.last_failure.at))) : null,
      facts.length ? more : null);
  }

  #openCard(device) {
    const toggle = h("input", { type: "checkbox", role: "switch", class: "switch red", checked: device.nosec, disabled: !canAdmin(), "data-action": "nosec", onchange: () => this.#setOpen(toggle) });
    return h("section", { class: `card open-card ${device.nosec ? "on" : ""}` }, h("h2", {}, icon("unlock"), "NoSec"), h("p", { class: "prose" }, t("trust.nosec.text")),
      h("label", { class: "switch-line" }, toggle, h("span", { class: "switch-word" }, t(device.nosec ? "trust.nosec.on" : "trust.nosec.off"))));
  }

  async #act(action, done) {
    try {
      const answer = await action();
      if (done) note(done);
      this.#drawn = "";
      await this.#load();
      return answer;
    } catch (error) {
      noteError(error);
      return undefined;
    }
  }

  async #setOpen(toggle) {
    const nosec = toggle.checked;
    if (nosec && !(await confirm(t("trust.nosec.confirm"), t("trust.nosec.confirm.text", { name: this.#name }), t("trust.nosec.allow")))) {
      toggle.checked = false;
      return;
    }
    await this.#act(() => api.changeDevice(this.#name, { nosec }), t(nosec ? "trust.nosec.on" : "trust.nosec.off"));
    this.#drawn = "";
    this.#draw();
  }

  async #rebootstrap() {
    const without = withBootstrapKey([this.#device]).length ? "" : ` ${t("trust.rebootstrap.one.without")}`;
    if (!(await confirm(t("trust.rebootstrap"), t("trust.rebootstrap.one", { name: this.#name }) + without, t("trust.rebootstrap.start"), { danger: false }))) return;
    await this.#act(() => api.rebootstrap(this.#name), t("trust.rebootstrap.asked", { n: 1, count: 1 }));
  }

  #withdraw() {
    return this.#act(() => api.withdrawRebootstrap([this.#name]), t("trust.withdrawn", { n: 1, count: 1 }));
  }

  #reinstate() {
    return this.#act(() => api.reinstate(this.#name), t("trust.reinstated", { name: this.#name }));
  }

  /** Twice: first why, then whether really. */
  async #revoke() {
    const reason = await dialog(t("trust.revoke"), (close) => {
      const why = field(t("trust.reason"), { maxlength: 200, autocomplete: "off", placeholder: t("trust.reason.example") });
      return { body: [h("p", { class: "prose" }, t("trust.revoke.text", { name: this.#name })), why.element], focus: () => why.input, submit: () => close(why.input.value.trim()),
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, h("span", {}, t("trust.goon")))] };
    });
    if (reason === undefined) return;
    if (!(await confirm(t("trust.revoke.sure"), t("trust.revoke.sure.text", { name: this.#name }), t("trust.revoke.now")))) return;
    await this.#act(() => api.revoke(this.#name, reason), t("trust.revoked", { name: this.#name }));
  }

  async #remove() {
    if (!(await confirm(t("trust.remove"), t("trust.remove.text", { name: this.#name }), t("trust.remove")))) return;
    try {
      await api.removeDevice(this.#name);
      note(t("trust.removed", { name: this.#name }));
      go(place("keys"));
    } catch (error) {
      noteError(error);
    }
  }

  async #rotate(live) {
    const purposes = [...new Set(live.map((one) => one.purpose))];
    const made = await dialog(t("trust.rotate"), (close) => {
      const complaint = new Complaint();
      const purpose = select(purposes.map((one) => [one, t(`trust.purpose.${one}`)]), purposes[0]);
      const staged = checkbox(t("trust.rotate.staged"), true, { type: "radio", name: "how" });
      const now = checkbox(t("trust.rotate.now"), false, { type: "radio", name: "how" });
      return {
        body: [h("p", { class: "prose" }, t("trust.rotate.text", { name: this.#name })), purposes.length > 1 ? labelled(t("trust.rotate.which"), purpose) : null,
          h("fieldset", { class: "choice-list" }, h("legend", {}, t("trust.rotate.how")), staged.element, h("p", { class: "hint" }, t("trust.rotate.staged.hint")), now.element, h("p", { class: "hint" }, t("trust.rotate.now.hint"))), complaint.element].filter(Boolean),
        submit: async () => {
          complaint.clear();
          try {
            close(await api.rotate(this.#name, { purpose: purpose.value, how: now.input.checked ? "now" : "staged" }));
          } catch (error) {
            complaint.error(error);
          }
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("retry"), h("span", {}, t("trust.rotate.make")))],
      };
    }, { subtitle: this.#name });
    if (!made) return;
    this.#load();
    const show = () => dialog(t("trust.rotated"), (close) => ({ body: provisioningCard(made), actions: [button(t("trust.kept"), () => close(true), { kind: "primary" })] }), { kind: "wide-dialog", subtitle: this.#name });
    // A slip of the finger closes a dialog, and the key would never be seen again.
    while (!(await show()) && tellsSecrets(made)) if (await confirm(t("trust.import.unsaved"), t("trust.unsaved.text", { name: this.#name }), t("trust.import.leave"))) break;
  }

  async #edit() {
    let plans = [];
    try {
      ({ plans } = await api.plans());
    } catch {
      // The plan then stays as it is.
    }
    const device = this.#device;
    const words = (text) => [...new Set(text.split(",").map((one) => one.trim()).filter(Boolean))];
    const kept = await dialog(t("trust.edit"), (close) => {
      const complaint = new Complaint();
      const label = field(t("trust.label.field"), { maxlength: 100, autocomplete: "off", value: device.label });
      const groups = field(t("trust.groups"), { autocomplete: "off", value: device.groups.join(", ") }, t("trust.comma"));
      const tags = field(t("trust.tags"), { autocomplete: "off", value: device.tags.join(", ") }, t("trust.comma"));
      const plan = select([["", t("trust.plan.default")], ...plans.filter((one) => one.id !== "default").map((one) => [one.id, one.name])], device.plan ?? "");
      return {
        body: [label.element, groups.element, tags.element, plans.length ? labelled(t("trust.plan"), plan) : null, complaint.element].filter(Boolean),
        focus: () => label.input,
        submit: async () => {
          complaint.clear();
          try {
            close(await api.changeDevice(device.endpoint_name, { label: label.input.value.trim(), groups: words(groups.input.value), tags: words(tags.input.value), ...(plans.length ? { plan: plan.value || null } : {}) }));
          } catch (error) {
            complaint.error(error);
          }
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("trust.keep")))],
      };
    }, { subtitle: device.endpoint_name });
    if (!kept) return;
    note(t("trust.changed"));
    this.#load();
  }
}
