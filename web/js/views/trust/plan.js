// One bootstrap plan as a form; what is wrong with it is said while it is written.

import { toJson } from "../../api.js";
import { button, fill, h, icon, iconButton, Life } from "../../dom.js";
import { note } from "../../dialog.js";
import { field } from "../../fields.js";
import { t } from "../../i18n.js";
import { canAdmin, copyText } from "../../operate.js";
import { go } from "../../router.js";
import { describe } from "../../store.js";
import * as api from "./api.js";
import { checkbox, Complaint, failed, labelled, place, select, subHead, waiting } from "./parts.js";

const SERVER = {
  short_server_id: 1, uri: "$uri", security: "auto", key: "fresh", certificate_usage: null, server_public_key: null, sni: "", lifetime_s: 300, binding: "U", queue_mode: false,
  default_pmin_s: null, default_pmax_s: null, disable_timeout_s: null, notification_storing: true, trigger: null, mute_send: false, preferred_transport: null, resources: {},
};
const BOOTSTRAP_SERVER = { uri: "", security: "auto", hold_off_s: null, account_timeout_s: null, certificate_usage: null, server_public_key: null };
const EMPTY = { name: "", description: "", servers: [SERVER], bootstrap_servers: [], access_control: [], deletes: ["/0", "/1", "/2", "/21"], writes: {}, write_by: "instance", read_back: false };
const RIGHTS = [[1, "read"], [2, "write"], [4, "execute"], [8, "delete"], [16, "create"]];
const NOBODY = 65535;
const CHECK_MS = 400;

export class PlanView {
  #life = new Life();
  #id;
  #plan = null;
  #writes = []; // [path, text] as they are typed
  #resources = []; // of each server, as they are typed
  #timer = 0;
  #asked = 0;
  #servers = h("div", { class: "entry-list" });
  #further = h("div", { class: "entry-list" });
  #access = h("div", { class: "entry-list" });
  #writeRows = h("div", { class: "entry-list" });
  #lint = h("div", { class: "lint", role: "status", "aria-live": "polite" });
  #save = h("button", { type: "submit", class: "button primary" }, icon("check"), h("span", {}, t("trust.keep")));

  constructor(route) {
    this.#id = route.rest[0] === "new" ? null : route.rest[0];
    this.element = h("div", { class: "trust-view scrolling" }, waiting());
    this.#life.add(() => clearTimeout(this.#timer));
    this.#load(this.#id ?? route.query.get("from"));
  }

  end() {
    this.#life.end();
  }

  async #load(id) {
    try {
      const found = id ? await api.plan(id) : null;
      if (this.#life.ended) return;
      this.#take(found ?? {});
      if (!this.#id && found) this.#plan.name = t("trust.plan.copied", { name: found.name });
      this.builtIn = Boolean(this.#id && found?.built_in);
      this.#draw();
      this.#check();
    } catch (error) {
      fill(this.element, subHead(place("bootstrap"), t("trust.plan")), failed(error, () => this.#load(id)));
    }
  }

  /** A plan as the gateway or a person wrote it; what is left out is as usual. */
  #take(found) {
    const plan = structuredClone({ ...EMPTY, ...found });
    plan.servers = (plan.servers ?? []).map((one) => ({ ...SERVER, ...one }));
    plan.bootstrap_servers = (plan.bootstrap_servers ?? []).map((one) => ({ ...BOOTSTRAP_SERVER, ...one }));
    plan.access_control = (plan.access_control ?? []).map((one) => ({ object_id: 0, instance_id: 0, owner: NOBODY, ...one, rights: { ...one.rights } }));
    plan.deletes = [plan.deletes ?? []].flat();
    const typedBack = (value) => (typeof value === "string" && typed(value) === value ? value : JSON.stringify(value));
    this.#writes = Object.entries(plan.writes ?? {}).map(([path, value]) => [path, typedBack(value)]);
    this.#resources = plan.servers.map((one) => Object.entries(one.resources ?? {}).map(([key, value]) => `${key} = ${typedBack(value)}`).join("\n"));
    this.#plan = plan;
  }

  #changed() {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#check(), CHECK_MS);
  }

  /** What the gateway is sent. */
  #body() {
    const { id: _id, built_in: _builtIn, ...plan } = this.#plan;
    const servers = plan.servers.map((one, index) => ({ ...one, resources: Object.fromEntries(lines(this.#resources[index] ?? "").map((line) => {
      const [key, ...rest] = line.split("=");
      return [key.trim(), typed(rest.join("=").trim())];
    })) }));
    return { ...plan, servers, writes: Object.fromEntries(this.#writes.filter(([path]) => path.trim()).map(([path, text]) => [path.trim(), typed(text)])) };
  }

  async #check() {
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const { problems, warnings } = await api.checkPlan(this.#body());
      if (!this.#life.ended && asked === this.#asked) this.#tell(problems, warnings);
    } catch (error) {
      if (asked === this.#asked && !this.#life.ended) this.#tell([describe(error).message], []);
    }
  }

  #tell(problems, warnings) {
    this.#save.disabled = problems.length > 0;
    this.#mark(problems, warnings);
    fill(this.#lint,
      problems.length ? h("div", { class: "lint-part bad" }, h("h3", {}, icon("warning"), t("trust.lint.problems", { n: problems.length, count: problems.length })), h("ul", {}, problems.map((text) => this.#told(text)))) : null,
      warnings.length ? h("div", { class: "lint-part warn" }, h("h3", {}, icon("info"), t("trust.lint.warnings", { n: warnings.length, count: warnings.length })), h("ul", {}, warnings.map((text) => this.#told(text)))) : null,
      !problems.length ? h("p", { class: "lint-good" }, icon("check"), h("span", {}, t("trust.lint.good"))) : null);
  }

  /** A sentence of the check; one about an entry leads to it. */
  #told(text) {
    return h("li", {}, this.#entryOf(text) ? h("button", { type: "button", class: "link-button", "aria-label": t("trust.lint.goto", { text }), onclick: () => {
      const entry = this.#entryOf(text);
      entry?.querySelector("input, select")?.focus();
      entry?.scrollIntoView({ block: "nearest" });
    } }, text) : text);
  }

  /** The entry that a sentence of the check begins with ("Server 2: …", "/3/0/14 …"), as far as there is one. */
  #entryOf(text) {
    const [, kind, number] = /^(Server|Bootstrap server|Access control) (\d+)/.exec(text) ?? [];
    if (kind) return { Server: this.#servers, "Bootstrap server": this.#further, "Access control": this.#access }[kind].children[number - 1];
    const row = this.#writes.findIndex(([path]) => path && (text.startsWith(`${path} `) || text.startsWith(`${path}:`) || text.startsWith(`'${path}'`)));
    return row < 0 ? undefined : this.#writeRows.children[row];
  }

  /** What is wrong, also where it is. */
  #mark(problems, warnings) {
    for (const place of this.element.querySelectorAll(".entry-told")) fill(place);
    for (const [texts, kind] of [[problems, "bad"], [warnings, "warn"]]) {
      for (const text of texts) {
        this.#entryOf(text)?.querySelector(".entry-told")?.append(h("p", { class: kind }, icon(kind === "bad" ? "warning" : "info"), h("span", {}, text.replace(/^(Server|Bootstrap server|Access control) \d+: /, ""))));
      }
    }
  }

  #draw() {
    const plan = this.#plan;
    const admin = canAdmin();
    const name = this.#text(plan, "name", t("name"), { maxlength: 64 });
    const description = this.#text(plan, "description", t("trust.plan.description"), { maxlength: 1000, autocapitalize: "sentences" });
    const deletes = h("textarea", { class: "input mono", rows: "4", spellcheck: "false", autocapitalize: "none", oninput: () => {
      plan.deletes = deletes.value.split(/[\s,]+/).filter(Boolean);
      this.#changed();
    } });
    deletes.value = plan.deletes.join("\n");
    const by = select([["instance", t("trust.writeby.instance")], ["object", t("trust.writeby.object")]], plan.write_by, { onchange: () => {
      plan.write_by = by.value;
      this.#changed();
    } });
    const back = this.#flag(plan, "read_back", t("trust.readback"));
    const form = h("form", { class: "plan-form", novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      this.#keep();
    } },
    h("fieldset", { class: "plan-fields", disabled: !admin },
      h("section", { class: "card" }, h("div", { class: "field-pair top" }, name, description), this.builtIn ? h("p", { class: "state-line" }, icon("info"), h("span", {}, t("trust.plan.builtin.text"))) : null),
      this.#part("trust.servers", "trust.servers.text", this.#servers, () => {
        plan.servers.push({ ...structuredClone(SERVER), short_server_id: 1 + Math.max(0, ...plan.servers.map((one) => Number(one.short_server_id) || 0)) });
        this.#resources.push("");
        this.#drawServers();
      }, "trust.server.add"),
      this.#part("trust.clean", "trust.clean.text", h("div", {}, labelled(t("trust.deletes"), deletes, t("trust.deletes.hint")), h("div", { class: "field-pair top" }, labelled(t("trust.writeby"), by), back))),
      this.#part("trust.writes", "trust.writes.text", this.#writeRows, () => {
        this.#writes.push(["", ""]);
        this.#drawWrites();
      }, "trust.write.add"),
      this.#part("trust.acl", "trust.acl.text", this.#access, () => {
        plan.access_control.push({ object_id: 3, instance_id: 0, owner: Number(plan.servers[0]?.short_server_id ?? 1), rights: {} });
        this.#drawAccess();
      }, "trust.acl.add"),
      this.#part("trust.further", "trust.further.text", this.#further, () => {
        plan.bootstrap_servers.push({ ...BOOTSTRAP_SERVER });
        this.#drawFurther();
      }, "trust.further.add"),
      this.#jsonPart()),
    h("aside", { class: "card lint-card" }, h("h2", {}, t("trust.lint")), this.#lint, admin ? h("div", { class: "button-row" }, button(t("cancel"), () => go(place("bootstrap"))), this.#save) : null));
    fill(this.element, subHead(place("bootstrap"), this.#id ? plan.name : t("trust.plan.new")), form);
    this.#drawServers(false);
    this.#drawFurther(false);
    this.#drawAccess(false);
    this.#drawWrites(false);
  }

  /** The whole as JSON, to take along and to bring. */
  #jsonPart() {
    const complaint = new Complaint();
    const area = h("textarea", { class: "input mono", rows: "14", spellcheck: "false", autocapitalize: "none", "aria-label": t("trust.json") });
    const details = h("details", { class: "card more-fields", ontoggle: () => {
      if (details.open) area.value = JSON.stringify(JSON.parse(toJson(this.#body())), null, 2);
    } }, h("summary", {}, t("trust.json")), h("p", { class: "prose" }, t("trust.json.text")), area, complaint.element, h("div", { class: "button-row" },
      h("button", { type: "button", class: "button small", onclick: () => copyText(area.value) }, icon("copy"), h("span", {}, t("copy"))),
      canAdmin() ? button(t("trust.json.take"), () => {
        complaint.clear();
        try {
          const read = JSON.parse(area.value);
          if (!read || typeof read !== "object" || !Array.isArray(read.servers ?? [])) throw new TypeError(t("trust.json.shape"));
          this.#take(read);
          this.#draw();
          this.#check();
          note(t("trust.json.taken"));
        } catch (error) {
          complaint.say(error instanceof SyntaxError ? t("trust.json.bad", { why: error.message }) : error.message);
        }
      }, { icon: "check", kind: "small" }) : null));
    return details;
  }

  #part(title, text, content, add, label) {
    return h("section", { class: "card" }, h("div", { class: "card-title" }, h("h2", {}, t(title)), add && canAdmin() ? button(t(label), () => {
      add();
      this.#changed();
      content.lastElementChild?.querySelector("input, select")?.focus();
    }, { icon: "plus", kind: "small" }) : null), h("p", { class: "prose" }, t(text)), content);
  }

  // Fields that keep what they are given in a member of an object

  #text(target, key, label, attributes = {}, hint = "") {
    const { element, input } = field(label, { autocomplete: "off", value: target[key] ?? "", ...attributes, oninput: () => {
      target[key] = input.value || (SERVER[key] === null ? null : "");
      this.#changed();
    } }, hint);
    return element;
  }

  #number(target, key, label, attributes = {}, hint = "") {
    const { element, input } = field(label, { inputmode: "numeric", autocomplete: "off", value: target[key] ?? "", ...attributes, oninput: () => {
      const text = input.value.trim();
      // What is no number is sent as it stands: the check says what is wrong with it.
      target[key] = text === "" ? null : /^\d+$/.test(text) ? Number(text) : text;
      this.#changed();
    } }, hint);
    return element;
  }

  #flag(target, key, label) {
    const { element, input } = checkbox(label, Boolean(target[key]), { onchange: () => {
      target[key] = input.checked;
      this.#changed();
    } });
    return element;
  }

  #choice(target, key, label, options, hint = "", redraw = null) {
    const control = select(options, String(target[key] ?? ""), { onchange: () => {
      const { value } = control;
      target[key] = value === "" ? null : /^\d+$/.test(value) ? Number(value) : value;
      redraw?.();
      this.#changed();
    } });
    return labelled(label, control, hint);
  }

  #remover(label, list, index, redraw) {
    return canAdmin() ? iconButton("trash", label, () => {
      list.splice(index, 1);
      redraw();
      this.#changed();
    }) : null;
  }

  #modes() {
    return [["auto", t("trust.security.auto")], ["psk", "PSK"], ["rpk", "RPK"], ["x509", "X.509"], ["est", t("trust.security.est")], ["oscore", "OSCORE"], ["nosec", "NoSec"]];
  }

  #drawServers(again = true) {
    const { servers } = this.#plan;
    fill(this.#servers, servers.map((server, index) => {
      const resources = h("textarea", { class: "input mono", rows: "2", spellcheck: "false", autocapitalize: "none", placeholder: "17 = 3", oninput: () => {
        this.#resources[index] = resources.value;
        this.#changed();
      } });
      resources.value = this.#resources[index] ?? "";
      const remove = canAdmin() ? iconButton("trash", t("trust.server.remove", { id: index + 1 }), () => {
        servers.splice(index, 1);
        this.#resources.splice(index, 1);
        this.#drawServers();
        this.#changed();
      }) : null;
      return h("article", { class: `entry ${server.security === "nosec" ? "open" : ""}` },
        h("div", { class: "entry-head" }, h("h3", {}, t("trust.server.n", { id: index + 1 })), server.security === "nosec" ? h("span", { class: "badge nosec" }, icon("unlock"), "NoSec") : null, remove),
        h("div", { class: "entry-told" }),
        h("div", { class: "field-pair top" }, this.#text(server, "uri", t("trust.fact.uri"), { class: "input mono", placeholder: "$uri" }, t("trust.uri.hint")), this.#number(server, "short_server_id", t("trust.ssid"))),
        h("div", { class: "field-pair top" }, this.#choice(server, "security", t("trust.step.security"), this.#modes(), "", () => this.#drawServers()), this.#choice(server, "key", t("trust.psk.key"), [["fresh", t("trust.key.fresh.long")], ["current", t("trust.key.current.long")]], t("trust.key.hint"))),
        h("div", { class: "field-triple" }, this.#number(server, "lifetime_s", t("trust.lifetime")), this.#text(server, "binding", t("trust.binding"), { maxlength: 6 }), this.#flag(server, "queue_mode", t("trust.queue"))),
        h("details", { class: "more-fields" }, h("summary", {}, t("trust.further.fields")),
          h("div", { class: "field-triple" }, this.#number(server, "default_pmin_s", t("trust.pmin")), this.#number(server, "default_pmax_s", t("trust.pmax")), this.#number(server, "disable_timeout_s", t("trust.disable"))),
          h("div", { class: "field-pair top" }, this.#text(server, "sni", "SNI"), this.#text(server, "preferred_transport", t("trust.transport"), { maxlength: 1 })),
          this.#choice(server, "certificate_usage", t("trust.usage"), [["", t("trust.usage.none")], ...[0, 1, 2, 3].map((one) => [String(one), t(`trust.usage.${one}`)])]),
          this.#text(server, "server_public_key", t("trust.serverkey"), { class: "input mono" }, t("trust.serverkey.hint")),
          h("div", { class: "choices" }, this.#flag(server, "notification_storing", t("trust.storing")), this.#flag(server, "trigger", t("trust.trigger")), this.#flag(server, "mute_send", t("trust.mute"))),
          labelled(t("trust.resources"), resources, t("trust.resources.hint"))));
    }), servers.length ? null : h("p", { class: "muted" }, t("trust.servers.none")));
    if (again) this.#drawAccess(false);
  }

  #drawFurther() {
    const list = this.#plan.bootstrap_servers;
    fill(this.#further, list.map((one, index) => h("article", { class: "entry" },
      h("div", { class: "entry-head" }, h("h3", {}, t("trust.further.n", { n: index + 1 })), this.#remover(t("trust.further.remove", { n: index + 1 }), list, index, () => this.#drawFurther())),
      h("div", { class: "entry-told" }),
      h("div", { class: "field-pair top" }, this.#text(one, "uri", "URI", { class: "input mono", placeholder: "coaps://[2001:db8::1]:5684" }), this.#choice(one, "security", t("trust.step.security"), this.#modes())),
      h("div", { class: "field-pair top" }, this.#number(one, "hold_off_s", t("trust.holdoff")), this.#number(one, "account_timeout_s", t("trust.accounttimeout"))))));
  }

  #drawWrites() {
    fill(this.#writeRows, this.#writes.map((row, index) => {
      const path = field(t("path"), { class: "input mono", autocomplete: "off", value: row[0], placeholder: "/3/0/14", oninput: () => {
        row[0] = path.input.value;
        this.#changed();
      } });
      const value = field(t("value"), { class: "input mono", autocomplete: "off", value: row[1], placeholder: "+02:00", oninput: () => {
        row[1] = value.input.value;
        this.#changed();
      } });
      return h("div", { class: "entry-row" }, path.element, value.element, this.#remover(t("trust.write.remove", { path: row[0] || index + 1 }), this.#writes, index, () => this.#drawWrites()), h("div", { class: "entry-told" }));
    }));
  }

  #drawAccess() {
    const { access_control: list, servers } = this.#plan;
    const ids = [...new Set(servers.map((one) => Number(one.short_server_id)).filter(Boolean))];
    fill(this.#access, list.map((one, index) => h("article", { class: "entry" },
      h("div", { class: "entry-head" }, h("h3", { class: "mono" }, `/${one.object_id}/${one.instance_id}`), this.#remover(t("trust.acl.remove", { path: `/${one.object_id}/${one.instance_id}` }), list, index, () => this.#drawAccess())),
      h("div", { class: "entry-told" }),
      h("div", { class: "field-triple" }, this.#number(one, "object_id", t("trust.object")), this.#number(one, "instance_id", t("trust.instance")),
        this.#choice(one, "owner", t("trust.owner"), [...ids.map((id) => [String(id), t("trust.server.ssid", { id })]), [String(NOBODY), t("trust.owner.nobody")]])),
      h("div", { class: "rights-scroll table-scroll" }, h("table", { class: "plain rights" }, h("thead", {}, h("tr", {}, h("th", { scope: "col" }, t("trust.who")), RIGHTS.map(([, key]) => h("th", { scope: "col" }, t(`trust.right.${key}`))))),
        h("tbody", {}, [...ids, 0].map((id) => h("tr", {}, h("th", { scope: "row" }, id ? t("trust.server.ssid", { id }) : t("trust.others")), RIGHTS.map(([bit, key]) => {
          const box = h("input", { type: "checkbox", checked: Boolean((one.rights[id] ?? 0) & bit), "aria-label": `${id ? t("trust.server.ssid", { id }) : t("trust.others")}: ${t(`trust.right.${key}`)}`, onchange: () => {
            const bits = box.checked ? (one.rights[id] ?? 0) | bit : (one.rights[id] ?? 0) & ~bit;
            if (bits) one.rights[id] = bits;
            else delete one.rights[id];
            this.#changed();
          } });
          return h("td", { "data-label": t(`trust.right.${key}`) }, h("label", { class: "cell-box" }, box));
        })))))))));
  }

  async #keep() {
    if (this.#save.disabled) return;
    this.#save.disabled = true;
    try {
      const kept = await api.putPlan(this.#id, this.#body());
      note(t("trust.plan.kept", { name: kept.name }));
      go(place("bootstrap"));
    } catch (error) {
      const { message, nextStep } = describe(error);
      this.#tell([`${message} ${nextStep}`.trim()], []);
      this.#save.disabled = false;
    }
  }
}

const lines = (text) => text.split("\n").map((one) => one.trim()).filter((one) => one.includes("="));

/** A number, true or false as such; anything else is a text, and so is what stands in quotes. */
function typed(text) {
  if (/^(-?\d+(\.\d+)?([eE][+-]?\d+)?|true|false|".*")$/.test(text)) {
    try {
      const value = JSON.parse(text);
      if (typeof value !== "number" || Number.isSafeInteger(value) || !Number.isInteger(value)) return value;
      return BigInt(text);
    } catch {
      return text;
    }
  }
  return text;
}
