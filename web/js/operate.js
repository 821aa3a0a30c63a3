// Operations as the page carries them out: who may, what is dangerous, and showing how it went.

import { note } from "./dialog.js";
import { milliseconds } from "./format.js";
import { t } from "./i18n.js";
import * as store from "./store.js";

/** Operations that stop a device from working, if only for a while; asked twice. */
export const DANGEROUS = { "/3/0/4": "reboot", "/3/0/5": "factory" };

/** Whether this session may change anything on devices. */
export function canOperate() {
  const scopes = store.state.session?.scopes ?? [];
  return scopes.includes("operate") || scopes.includes("admin");
}

export async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    note(t("copied"));
  } catch {
    note(t("copy.failed"), { kind: "bad", nextStep: text });
  }
}

/** One operation with its fate shown. Undefined when it failed. */
export async function carryOut(name, operation, fate, control) {
  control?.classList.add("busy");
  control?.setAttribute("aria-busy", "true");
  fate.pending(t("fate.pending", { operation: t(`operation.${operation.operation}`), path: operation.path }));
  try {
    const outcome = await store.operate(name, operation);
    fate.outcome(outcome, milliseconds(outcome.rtt_ms));
    return outcome;
  } catch (error) {
    fate.error(error);
    return undefined;
  } finally {
    control?.classList.remove("busy");
    control?.removeAttribute("aria-busy");
  }
}
