// What can be done with a device as a whole.

import { confirm, menu, note, noteError } from "../dialog.js";
import { due } from "../format.js";
import { t } from "../i18n.js";
import { canOperate, DANGEROUS } from "../operate.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";

/** The menu of a device, at the button that was pressed. */
export function deviceMenu(anchor, name) {
  const row = store.state.devices.get(name);
  const gone = !row || ["offline", "deregistered"].includes(store.stateOf(row));
  const items = [
    { label: t("device.info"), icon: "info", action: () => go(deviceHash(name, ["info"])) },
    { label: t("device.tasks"), icon: "tasks", action: () => go(deviceHash(name, ["tasks"])) },
    { label: t("device.journal"), icon: "clock", action: () => go(deviceHash(name, ["events"])) },
    { label: t("device.security"), icon: "shield", action: () => go(`#/security/device/${encodeURIComponent(name)}`) },
    canOperate() ? { label: t("device.log"), icon: "log", action: () => go(`#/log?endpoint_name=${encodeURIComponent(name)}`) } : false,
  ];
  if (canOperate() && !gone) {
    items.push(
      { label: t("device.update"), icon: "refresh", action: () => execute(name, "/1/0/8", t("device.update")) },
      null,
      { label: t("device.reboot"), icon: "power", danger: true, action: () => dangerous(name, "/3/0/4") },
      { label: t("device.factory"), icon: "trash", danger: true, action: () => dangerous(name, "/3/0/5") },
    );
  }
  if (canOperate()) items.push(null, { label: t("device.forget"), icon: "trash", danger: true, action: () => forget(name) });
  menu(anchor, items.filter((item) => item !== false));
}

async function dangerous(name, path) {
  const what = DANGEROUS[path];
  if (await confirm(t(`confirm.${what}`), t(`confirm.${what}.text`, { name }), t(`confirm.${what}.action`))) await execute(name, path, t(`device.${what}`));
}

async function execute(name, path, title) {
  try {
    const outcome = await store.operate(name, { operation: "Execute", path });
    if (outcome.queued) return note(t("task.kept", { title, when: due(outcome.expected_at) ? t("task.fate.expected", { time: due(outcome.expected_at) }) : t("task.fate.waits") }));
    note(`${title}: ${outcome.code ?? ""} ${outcome.words}`, { kind: outcome.ok ? "good" : "bad" });
  } catch (error) {
    noteError(error);
  }
  return undefined;
}

export async function forget(name) {
  if (!(await confirm(t("confirm.forget"), t("confirm.forget.text", { name }), t("confirm.forget.action")))) return;
  try {
    await store.forget(name);
    note(t("device.forgotten", { name }));
    go("#/devices");
  } catch (error) {
    noteError(error);
  }
}
