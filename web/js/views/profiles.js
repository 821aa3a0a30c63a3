// Profiles of LwM2M 1.2: an id that a device registers with in place of its list of objects.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, uniqueId } from "../dom.js";
import { dialog, note } from "../dialog.js";
import { field } from "../fields.js";
import { t } from "../i18n.js";
import { canOperate } from "../operate.js";
import * as store from "../store.js";

export function profilesDialog() {
  return dialog(t("profiles"), (close) => {
    const list = h("div", { class: "profile-list" }, h("span", { class: "spinner" }));
    const complaint = h("div", { class: "form-error", role: "alert" });
    const complain = (error) => {
      const { message, nextStep } = store.describe(error);
      fill(complaint, icon("warning"), h("p", {}, h("strong", {}, message), nextStep ? ` ${nextStep}` : ""));
    };
    const load = async () => {
      try {
        const { profiles } = await api.profiles();
        fill(list, profiles.length ? profiles.map(row) : h("p", { class: "muted" }, t("profiles.none")));
      } catch (error) {
        fill(list);
        complain(error);
      }
    };
    const row = (profile) => h("article", { class: "profile-row", "aria-label": profile.pid },
      h("div", { class: "grow" }, h("strong", { class: "mono" }, profile.pid), " ", h("span", { class: "badge plain" }, t(profile.learned ? "profiles.learned" : "profiles.told")), profile.devices === undefined ? null : h("span", { class: "muted" }, ` ${t("profiles.devices", { n: profile.devices })}`), h("p", { class: "mono muted links-text" }, profile.links)),
      canOperate() ? [iconButton("pencil", t("profiles.edit", { pid: profile.pid }), () => edit(profile)), iconButton("trash", t("profiles.remove", { pid: profile.pid }), async () => {
        try {
          await api.removeProfile(profile.pid);
          note(t("profiles.removed", { pid: profile.pid }));
        } catch (error) {
          complain(error);
        }
        await load();
      })] : null);
    const pid = field(t("profiles.pid"), { class: "input mono", autocomplete: "off", maxlength: 80 });
    const id = uniqueId("links");
    const links = h("textarea", { id, class: "input mono", rows: "3", spellcheck: "false", placeholder: "</1/0>,</3/0>,</3303/0>" });
    const form = h("details", { class: "more-fields" }, h("summary", {}, t("profiles.add")), pid.element, h("div", { class: "field" }, h("label", { for: id }, t("profiles.links")), links, h("p", { class: "hint" }, t("profiles.links.hint"))),
      h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("template.keep"))));
    const edit = (profile) => {
      form.open = true;
      pid.input.value = profile.pid;
      links.value = profile.links;
      links.focus();
    };
    load();
    return {
      body: [h("p", { class: "prose" }, t("profiles.text")), list, canOperate() ? form : null, complaint],
      submit: async () => {
        fill(complaint);
        try {
          await api.putProfile(pid.input.value.trim() || "-", links.value.trim());
          note(t("profiles.kept", { pid: pid.input.value.trim() }));
          pid.input.value = "";
          links.value = "";
          form.open = false;
        } catch (error) {
          complain(error);
        }
        await load();
      },
      actions: [button(t("close"), () => close())],
    };
  });
}
