// A bootstrap session in one line, for the lists of them.

import { h, icon } from "../../dom.js";
import { ageElement } from "../../format.js";
import { t } from "../../i18n.js";
import { place } from "./parts.js";

const ICONS = { running: "refresh", finished: "check", failed: "warning" };

export function sessionState(state) {
  return h("span", { class: `session-state ${state}` }, icon(ICONS[state] ?? "info"), h("span", {}, t(`trust.session.${state}`)));
}

export function sessionRow(session, { named = false } = {}) {
  return h("li", {}, h("a", { class: "session-row", href: place("session", session.id) }, sessionState(session.state),
    h("span", { class: "session-words" }, named ? h("strong", {}, session.endpoint_name) : null, h("span", {}, session.text)),
    h("span", { class: "session-meta" }, t("trust.steps", { n: session.steps.length, count: session.steps.length }), " · ", ageElement(session.started_at)), icon("right")));
}
