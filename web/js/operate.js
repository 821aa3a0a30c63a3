// Operations as the page carries them out: who may, what is dangerous, and showing how it went.

import { note } from "./dialog.js";
import { h, icon } from "./dom.js";
import { due, milliseconds } from "./format.js";
import { t } from "./i18n.js";
import * as store from "./store.js";

/** Operations that stop a device from working, if only for a while; asked twice. */
export const DANGEROUS = { "/3/0/4": "reboot", "/3/0/5": "factory" };

/** Whether this session may change anything on devices. */
export function canOperate() {
  const scopes = store.state.session?.scopes ?? [];
  return scopes.includes("operate") || scopes.includes("admin");
}

/** Whether it may decide who is trusted. */
export const canAdmin = () => (store.state.session?.scopes ?? []).includes("admin");

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    note(t("copied"));
  } catch {
    note(t("copy.failed"), { kind: "bad", nextStep: text });
  }
}

const DAY_S = 86_400;

/** One operation with its fate shown. Undefined when it failed. */
export async function carryOut(name, operation, fate, control) {
  control?.classList.add("busy");
  control?.setAttribute("aria-busy", "true");
  fate.pending(t("fate.pending", { operation: t(`operation.${operation.operation}`), path: operation.path ?? "" }));
  try {
    const outcome = await store.operate(name, operation);
    fate.outcome(outcome, milliseconds(outcome.rtt_ms));
    return outcome;
  } catch (error) {
    fate.error(error, remedy(name, operation, error, () => carryOut(name, { ...operation, ttl_s: DAY_S }, fate, control)));
    return undefined;
  } finally {
    control?.classList.remove("busy");
    control?.removeAttribute("aria-busy");
  }
}

/** A device that is away can be waited for. What it may have done already, only its answer lost, is not offered again. */
function remedy(name, operation, error, action) {
  if (error.code !== "unreachable" || operation.ttl_s) return null;
  const row = store.state.devices.get(name);
  const away = !row || ["offline", "deregistered"].includes(store.stateOf(row));
  if (!away && ["Execute", "Create"].includes(operation.operation)) return null;
  return { label: t("task.whenback"), action };
}

/** What a dialog says before it sends to a device that does not listen now; null when it listens. */
export function sleepNotice(name) {
  if (!store.sleeps(name)) return null;
  const at = due(store.state.devices.get(name)?.expected_at);
  return h("p", { class: "state-line waiting" }, icon("clock"), h("span", {}, at ? t("sleep.notice.expected", { time: at }) : t("sleep.notice")));
}
