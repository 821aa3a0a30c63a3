// What is to be put into a device: shown once, since the gateway never tells a key again.

import { fill, h, icon, uniqueId } from "../../dom.js";
import { t } from "../../i18n.js";
import * as api from "./api.js";
import { copyRow, drawing, linkButton, modeBadge } from "./parts.js";

// Members in the order in which one types them in; keys and secrets are marked.
const LINES = [
  ["uri", {}], ["psk_identity", {}], ["psk_identity_hex", {}], ["psk_key_hex", { secret: true }],
  ["public_key_pem", { block: true }], ["certificate_pem", { block: true }], ["private_key_pem", { secret: true, block: true }],
  ["server_public_key_pem", { block: true }], ["server_certificate_pem", { block: true }], ["authority_pem", { block: true }],
];
const OSCORE = [["sender_id", {}], ["recipient_id", {}], ["id_context", {}], ["master_secret", { secret: true }], ["master_salt", { secret: true }], ["aead", {}], ["hkdf", {}]];
const CLIENTS = { leshan: "Leshan", anjay: "Anjay", wakaama: "Wakaama", zephyr: "Zephyr" };

function account(facts) {
  const rows = LINES.filter(([key]) => facts[key] && !(key === "psk_identity_hex" && facts.psk_identity)).map(([key, how]) => copyRow(t(`trust.fact.${key}`), facts[key], how));
  const context = OSCORE.filter(([key]) => facts.oscore?.[key] !== undefined && facts.oscore[key] !== null).map(([key, how]) => copyRow(t(`trust.fact.${key}`), String(facts.oscore[key]), how));
  return [h("p", { class: "flash-mode" }, modeBadge(facts.security)), ...rows, ...context];
}

/** Whether there is a secret in an answer of the gateway, that it will not tell again. */
export const tellsSecrets = (device) => /"(psk_key_hex|private_key_pem|master_secret)"/.test(JSON.stringify(device.provisioning));

/** The whole of it for one answer of the gateway. */
export function provisioningCard(device) {
  const facts = device.provisioning;
  const name = device.endpoint_name;
  const hasSecret = tellsSecrets(device);
  const inCode = [facts, facts.bootstrap].some((one) => one?.psk_key_hex); // no other key fits into it
  const own = facts.security && (!facts.bootstrap || facts.psk_identity_hex || facts.oscore || facts.public_key_pem || facts.certificate_pem);
  return h("div", { class: "provision" },
    hasSecret ? h("p", { class: "once" }, icon("eye"), h("span", {}, h("strong", {}, t("trust.once")), " ", t("trust.once.text"))) : null,
    facts.security === "nosec" && !facts.bootstrap ? h("p", { class: "warning-line red" }, icon("unlock"), h("span", {}, t("security.nosec"))) : null,
    h("div", { class: "flash-columns" },
      h("div", { class: "flash-facts" }, copyRow(t("trust.endpoint"), name),
        facts.bootstrap ? [h("h3", {}, t("trust.flash.bootstrap")), account(facts.bootstrap)] : null,
        own ? [facts.bootstrap ? h("h3", {}, t("trust.flash.server")) : null, account(facts)] : null),
      h("figure", { class: "flash-code" }, facts.qr_svg ? drawing(facts.qr_svg, t("trust.qr.of", { name })) : null,
        h("figcaption", {}, t(inCode ? "trust.qr.secret" : "trust.qr")),
        h("div", { class: "button-row" }, linkButton(t("trust.label"), api.labelAddress(name), "download", { download: `${name}.svg` }), linkButton(t("trust.print"), api.labelAddress(name), "file", { target: "_blank", rel: "noopener" })),
        h("p", { class: "hint" }, t("trust.label.hint")))),
    facts.commands && Object.keys(facts.commands).length ? [h("h3", {}, t("trust.commands")), clientTabs(facts.commands)] : null);
}

/** Ready command lines, one tab for each client. */
function clientTabs(commands) {
  const names = Object.keys(CLIENTS).filter((one) => commands[one]);
  const id = uniqueId("client");
  const panel = h("div", { class: "client-panel", role: "tabpanel", id: `${id}-panel`, "aria-labelledby": `${id}-${names[0]}` });
  const choose = (name) => {
    for (const tab of bar.children) {
      const mine = tab.id === `${id}-${name}`;
      tab.setAttribute("aria-selected", String(mine));
      tab.tabIndex = mine ? 0 : -1;
    }
    panel.setAttribute("aria-labelledby", `${id}-${name}`);
    fill(panel, copyRow(t("trust.command.of", { client: CLIENTS[name] }), commands[name], { block: true }));
  };
  const bar = h("div", { class: "client-tabs", role: "tablist", "aria-label": t("trust.commands"), onkeydown: (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    const here = names.findIndex((name) => document.activeElement.id === `${id}-${name}`);
    const next = names[(here + step + names.length) % names.length];
    choose(next);
    document.getElementById(`${id}-${next}`).focus();
  } }, names.map((name) => h("button", { type: "button", role: "tab", id: `${id}-${name}`, "aria-controls": `${id}-panel`, onclick: () => choose(name) }, CLIENTS[name])));
  choose(names[0]);
  return h("div", { class: "clients" }, bar, panel);
}
