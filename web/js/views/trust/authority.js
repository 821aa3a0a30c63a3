// The own certificate authority, what it signs, and the authorities of other people that are believed.

import { button, fill, h, icon, iconButton, Life } from "../../dom.js";
import { confirm, dialog, note, noteError } from "../../dialog.js";
import { field } from "../../fields.js";
import { when } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import * as api from "./api.js";
import { Complaint, copyRow, expiryBadge, failed, labelled, linkButton, saveText, waiting } from "./parts.js";

const PEM = "application/x-pem-file";

export class AuthorityView {
  #life = new Life();
  #own = h("div", { class: "trust-column" }, waiting());
  #anchors = h("div", {}, waiting());

  constructor() {
    this.element = h("div", { class: "trust-view scrolling" }, h("div", { class: "trust-columns" }, this.#own,
      h("div", { class: "trust-column" }, canAdmin() ? this.#signCard() : null,
        h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.anchors")), canAdmin() ? button(t("trust.anchor.add"), () => this.#add(), { icon: "plus", kind: "small" }) : null),
          h("p", { class: "prose" }, t("trust.anchors.text")), this.#anchors))));
    this.#load();
    this.#loadAnchors();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      const own = await api.authority();
      if (this.#life.ended) return;
      fill(this.#own,
        h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.authority.own")), expiryBadge(own.not_after)),
          h("p", { class: "prose" }, t("trust.authority.text")),
          h("dl", { class: "facts" }, h("dt", {}, t("trust.subject")), h("dd", {}, own.subject), h("dt", {}, t("trust.until")), h("dd", {}, when(own.not_after))),
          copyRow(t("trust.fingerprint"), own.fingerprint),
          h("div", { class: "button-row card-foot-row" }, button(t("trust.authority.save"), () => saveText("homard-authority.pem", own.certificate_pem, PEM), { icon: "download" }),
            linkButton(t("trust.crl"), api.crlAddress(), "download", { download: "homard-revoked.pem" }))),
        h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t("trust.server.certificate")), expiryBadge(own.server.not_after)),
          h("p", { class: "prose" }, t("trust.server.certificate.text")),
          h("dl", { class: "facts" }, h("dt", {}, t("trust.names")), h("dd", {}, own.server.names.join(", ")), h("dt", {}, t("trust.until")), h("dd", {}, when(own.server.not_after))),
          copyRow(t("trust.fingerprint"), own.server.fingerprint), copyRow(t("trust.fact.public_key_pem"), own.server.public_key_pem, { block: true })));
    } catch (error) {
      if (!this.#life.ended) fill(this.#own, failed(error, () => this.#load()));
    }
  }

  async #loadAnchors() {
    try {
      const { anchors } = await api.anchors();
      if (this.#life.ended) return;
      fill(this.#anchors, anchors.length ? h("ul", { class: "anchor-list" }, anchors.map((one) => h("li", {}, icon("shield"),
        h("div", { class: "grow" }, h("strong", {}, one.subject), h("span", { class: "anchor-facts" }, t("trust.expires.at", { when: when(one.not_after) }), expiryBadge(one.not_after)), h("code", { class: "mono anchor-print" }, one.fingerprint)),
        one.certificate_pem ? iconButton("download", t("trust.anchor.save.of", { name: one.subject }), () => saveText("authority.pem", one.certificate_pem, PEM)) : null,
        canAdmin() ? iconButton("trash", t("trust.anchor.remove.of", { name: one.subject }), () => this.#remove(one)) : null))) : h("p", { class: "muted" }, t("trust.anchors.none")));
    } catch (error) {
      if (!this.#life.ended) fill(this.#anchors, failed(error, () => this.#loadAnchors()));
    }
  }

  async #remove(one) {
    if (!(await confirm(t("trust.anchor.remove"), t("trust.anchor.remove.text", { name: one.subject }), t("trust.anchor.remove")))) return;
    try {
      await api.removeAnchor(one.fingerprint);
      note(t("trust.anchor.removed", { name: one.subject }));
    } catch (error) {
      noteError(error);
    }
    await this.#loadAnchors();
  }

  async #add() {
    const added = await dialog(t("trust.anchor.add"), (close) => {
      const complaint = new Complaint();
      const file = h("input", { type: "file", class: "input", accept: ".pem,.crt,.cer,.der,application/x-pem-file,application/pkix-cert" });
      const area = h("textarea", { class: "input mono", rows: "6", spellcheck: "false", autocapitalize: "none", placeholder: "-----BEGIN CERTIFICATE-----" });
      return {
        body: [h("p", { class: "prose" }, t("trust.anchor.text")), labelled(t("trust.anchor.file"), file), labelled(t("trust.anchor.paste"), area), complaint.element],
        submit: async () => {
          complaint.clear();
          const given = file.files[0] ?? area.value.trim();
          if (!given) return complaint.say(t("trust.pem.missing"));
          try {
            close(await api.addAnchor(given));
          } catch (error) {
            complaint.error(error);
          }
          return undefined;
        },
        actions: [button(t("cancel"), () => close()), h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("trust.anchor.add")))],
      };
    });
    if (!added) return;
    note(t("trust.anchor.added", { name: added.anchors.map((one) => one.subject).join("; ") }));
    await this.#loadAnchors();
  }

  #signCard() {
    const complaint = new Complaint();
    const name = field(t("trust.endpoint"), { maxlength: 255, autocomplete: "off", placeholder: "meter-17" }, t("trust.sign.name"));
    const request = h("textarea", { class: "input mono", rows: "5", spellcheck: "false", autocapitalize: "none", placeholder: "-----BEGIN CERTIFICATE REQUEST-----" });
    const result = h("div", { class: "signed", role: "status", "aria-live": "polite" });
    const send = h("button", { type: "submit", class: "button primary" }, icon("pencil"), h("span", {}, t("trust.sign.now")));
    return h("section", { class: "card" }, h("h2", {}, t("trust.sign")), h("p", { class: "prose" }, t("trust.sign.text")),
      h("form", { novalidate: true, onsubmit: async (event) => {
        event.preventDefault();
        complaint.clear();
        fill(result);
        if (!name.input.value.trim()) return complaint.say(t("trust.name.missing"));
        if (!request.value.includes("-----BEGIN")) return complaint.say(t("trust.pem.missing"));
        send.disabled = true;
        try {
          const { chain_pem: chain } = await api.sign(name.input.value.trim(), request.value);
          const file = `${name.input.value.trim().replace(/[^\w.-]/g, "_")}.pem`;
          fill(result, copyRow(t("trust.signed"), chain, { block: true }), h("div", { class: "button-row" }, button(t("trust.signed.save"), () => saveText(file, chain, PEM), { icon: "download" })));
        } catch (error) {
          complaint.error(error);
        }
        send.disabled = false;
        return undefined;
      } }, name.element, labelled(t("trust.csr"), request, t("trust.csr.hint")), complaint.element, h("div", { class: "card-actions" }, send)), result);
  }
}
