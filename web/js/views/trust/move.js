// Many devices to new keys or another server: they are given a plan and bootstrapped anew.

import { button, fill, h, icon } from "../../dom.js";
import { dialog, note } from "../../dialog.js";
import { count } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import * as api from "./api.js";
import { checkbox, Complaint, labelled, select } from "./parts.js";

const AS_IS = "as-is";
const DEFAULT = "default";

const counted = (devices) => ({ n: devices.length, count: count(devices.length) });
const hasKey = (device) => device.credentials.some((key) => key.purpose === "bootstrap" && key.state !== "revoked");
export const withBootstrapKey = (devices) => devices.filter(hasKey);

/** Sets of devices to choose from, as (name, label, devices, what the gateway is sent). */
function choices(all, some, words) {
  const groups = [...new Set(all.flatMap((one) => one.groups))].sort();
  return [
    ...(some.length ? [["some", t(words, counted(some)), some, { endpoint_names: some.map((one) => one.endpoint_name) }]] : []),
    ...groups.map((group) => {
      const members = all.filter((one) => one.groups.includes(group));
      return [`g:${group}`, t("trust.rebootstrap.group", { name: group, ...counted(members) }), members, { group }];
    }),
  ];
}

/** Ask which devices, by which plan, and whether it is meant: a group of all of them, or `some`, whose words are named. True when they were asked. */
export async function moveDevices(all, some, words) {
  let plans = [];
  try {
    if (canAdmin()) ({ plans } = await api.plans());
  } catch {
    // Then each keeps the plan that it has.
  }
  const sets = choices(all, some, words);
  const asked = await dialog(t("trust.move"), (close) => {
    const complaint = new Complaint();
    const whom = select(sets, "", { onchange: () => tell() });
    whom.value = sets[0]?.[0] ?? "";
    const plan = select([[AS_IS, t("trust.move.same")], [DEFAULT, t("trust.plan.default")], ...plans.filter((one) => one.id !== DEFAULT).map((one) => [one.id, one.name])], AS_IS);
    const warning = h("div", { role: "status" });
    const sure = checkbox("", false);
    const start = h("button", { type: "submit", class: "button primary" });
    const chosen = () => sets.find(([name]) => name === whom.value) ?? ["", "", [], {}];
    const tell = () => {
      const [, , devices] = chosen();
      const open = devices.filter((one) => !hasKey(one));
      sure.input.checked = false; // it was meant for others
      fill(sure.element.lastElementChild, t("trust.move.sure", counted(devices)));
      fill(start, icon("refresh"), h("span", {}, t("trust.move.start", counted(devices))));
      fill(warning, open.length ? h("p", { class: "warning-line" }, icon("warning"), h("span", {}, t("trust.rebootstrap.without", counted(open)))) : null);
    };
    tell();
    return {
      body: [h("p", { class: "prose" }, t("trust.move.text")), labelled(t("trust.rebootstrap.whom"), whom), plans.length ? labelled(t("trust.move.plan"), plan, t("trust.move.plan.hint")) : null, warning, sure.element, complaint.element].filter(Boolean),
      focus: () => whom,
      submit: async () => {
        complaint.clear();
        const [name, , , request] = chosen();
        if (!name) return complaint.say(t("trust.rebootstrap.nobody"));
        if (!sure.input.checked) return complaint.say(t("trust.sure.missing"));
        start.disabled = true;
        try {
          if (plans.length && plan.value !== AS_IS) await api.givePlan({ ...request, plan: plan.value === DEFAULT ? null : plan.value });
          close(await api.rebootstrapMany(request));
        } catch (error) {
          complaint.error(error);
          start.disabled = false;
        }
        return undefined;
      },
      actions: [button(t("cancel"), () => close()), start],
    };
  });
  if (asked) note(t("trust.rebootstrap.asked", counted({ length: asked.asked })), { nextStep: t("trust.move.next") });
  return Boolean(asked);
}
