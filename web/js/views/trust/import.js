// Many devices at once from a list: it is checked first, and all of it is added or nothing.

import { button, fill, h, icon, Life } from "../../dom.js";
import { announce, confirm, note } from "../../dialog.js";
import { count } from "../../format.js";
import { t } from "../../i18n.js";
import { canAdmin } from "../../operate.js";
import { go } from "../../router.js";
import * as store from "../../store.js";
import * as api from "./api.js";
import { Complaint, labelled, linkButton, none, place, saveText, subHead } from "./parts.js";

const COLUMNS = ["endpoint_name", "label", "groups", "tags", "security", "psk_identity", "psk_key_hex", "public_key", "certificate", "bootstrap_psk_identity", "bootstrap_psk_key_hex", "plan", "nosec"];
const EXAMPLE = `${COLUMNS.slice(0, 5).join(",")}\nmeter-1,Cellar left,house-7;water,pilot,psk\nmeter-2,Cellar right,house-7;water,,psk\n`;
const CHECK_MS = 600;
const MOST_SHOWN = 300;
const MOST_BYTES = 8 * 1024 * 1024;
// What stands in the list of those that were made, beside the devices themselves.
const TOLD = ["uri", "security", "psk_identity", "psk_identity_hex", "psk_key_hex", "public_key_pem", "private_key_pem", "certificate_pem", "server_public_key_pem", "server_certificate_pem", "authority_pem"];
const OSCORE = ["sender_id", "recipient_id", "id_context", "master_secret", "master_salt"];

// What was made and is not said to be kept yet, and by whom: who looks at another page meanwhile finds it again.
let pending = null;

export class ImportView {
  #life = new Life();
  #file = null; // the list as it was chosen; null: what stands in the text area
  #timer = 0;
  #asked = 0;
  #good = 0;
  #complaint = new Complaint();
  #chosen = h("p", { class: "hint import-file", role: "status" });
  #report = h("div", { class: "import-report" });
  #area;
  #add = button("", () => this.#take(), { icon: "check", kind: "primary", disabled: true });

  constructor() {
    this.element = h("div", { class: "trust-view scrolling" }, subHead(place("keys"), t("trust.import")));
    if (pending?.account !== store.state.session?.account) pending = null;
    if (!canAdmin()) {
      this.element.append(none("lock", t("trust.admin.only"), t("trust.admin.only.hint")));
      return;
    }
    this.#life.add(() => clearTimeout(this.#timer));
    this.#life.listen(window, "beforeunload", (event) => {
      if (pending && !pending.saved) event.preventDefault();
    });
    if (pending) this.#drawMade();
    else this.#draw();
  }

  end() {
    this.#life.end();
  }

  #draw() {
    const input = h("input", { type: "file", class: "visually-hidden", tabindex: "-1", accept: ".csv,.json,.txt,text/csv,application/json", "aria-label": t("trust.import.choose"), onchange: () => {
      if (input.files[0]) this.#choose(input.files[0]);
      input.value = "";
    } });
    this.#area = h("textarea", { class: "input mono", rows: "7", spellcheck: "false", autocapitalize: "none", placeholder: EXAMPLE, oninput: () => {
      this.#file = null;
      fill(this.#chosen);
      this.#soon();
    } });
    const card = h("section", { class: "card import-card" },
      h("p", { class: "prose" }, t("trust.import.text")),
      h("div", { class: "button-row" }, button(t("trust.import.choose"), () => input.click(), { icon: "upload", kind: "primary" }), input,
        button(t("trust.import.example"), () => saveText("homard-devices.csv", EXAMPLE, "text/csv"), { icon: "download" })),
      this.#chosen,
      labelled(t("trust.import.paste"), this.#area),
      h("details", { class: "more-fields" }, h("summary", {}, t("trust.import.columns")), h("dl", { class: "facts" }, COLUMNS.map((one) => [h("dt", { class: "mono" }, one), h("dd", {}, t(`trust.column.${one}`))]))),
      this.#complaint.element, this.#report,
      h("div", { class: "card-actions" }, button(t("cancel"), () => go(place("keys"))), this.#add));
    card.addEventListener("dragover", (event) => {
      if (!event.dataTransfer?.types.includes("Files")) return;
      event.preventDefault();
      card.classList.add("dropping");
    });
    card.addEventListener("dragleave", (event) => {
      if (!card.contains(event.relatedTarget)) card.classList.remove("dropping");
    });
    card.addEventListener("drop", (event) => {
      event.preventDefault();
      card.classList.remove("dropping");
      if (event.dataTransfer.files[0]) this.#choose(event.dataTransfer.files[0]);
    });
    this.#offer(0);
    fill(this.element, subHead(place("keys"), t("trust.import")), card);
  }

  #choose(file) {
    this.#area.value = "";
    this.#file = file;
    fill(this.#chosen, icon("file"), h("span", {}, file.name));
    this.#check();
  }

  #soon() {
    clearTimeout(this.#timer);
    this.#offer(0);
    this.#timer = setTimeout(() => this.#check(), CHECK_MS);
  }

  #offer(n) {
    this.#good = n;
    this.#add.disabled = n === 0;
    fill(this.#add, icon("check"), h("span", {}, n ? t("trust.import.add", { n, count: count(n) }) : t("trust.import.add.none")));
  }

  /** What is sent, and as what: the file byte for byte, since the gateway knows the encodings of spreadsheets. */
  async #list() {
    if (!this.#file) return [this.#area.value, /^\s*[[{]/.test(this.#area.value) ? "application/json" : "text/csv"];
    const json = /^\s*[[{]/.test(await this.#file.slice(0, 200).text());
    return [this.#file, json ? "application/json" : "text/csv"];
  }

  /** A dry run: the rows with what is wrong with each, nothing is added. */
  async #check() {
    this.#asked += 1;
    const asked = this.#asked;
    this.#complaint.clear();
    fill(this.#report);
    this.#offer(0);
    if (this.#file && this.#file.size > MOST_BYTES) return this.#complaint.say(t("trust.import.large"));
    if (!this.#file && !this.#area.value.trim()) return undefined;
    try {
      const [list, type] = await this.#list();
      const { rows } = await api.importDevices(list, type, true);
      if (asked === this.#asked && !this.#life.ended) this.#tell(rows);
    } catch (error) {
      if (asked === this.#asked && !this.#life.ended) this.#refused(error);
    }
    return undefined;
  }

  #refused(error) {
    if (error.status === 422 && error.answer?.rows?.length) this.#tell(error.answer.rows);
    else this.#complaint.error(error);
  }

  #tell(rows) {
    const bad = rows.filter((one) => one.problems.length);
    this.#offer(bad.length ? 0 : rows.length);
    const shown = (bad.length ? bad : rows).slice(0, MOST_SHOWN);
    const sum = bad.length ? t("trust.import.bad", { n: bad.length, count: count(bad.length), all: count(rows.length) }) : t("trust.import.good", { n: rows.length, count: count(rows.length) });
    announce(sum);
    fill(this.#report,
      h("p", { class: `import-sum ${bad.length ? "bad" : "good"}` }, icon(bad.length ? "warning" : "check"), h("span", {}, sum)),
      h("ul", { class: "import-rows" }, shown.map((one) => h("li", { class: one.problems.length ? "bad" : "" },
        h("span", { class: "import-row" }, t("trust.import.row", { n: one.row })), h("strong", {}, one.endpoint_name || "–"), one.problems.length ? h("span", { class: "import-problems" }, one.problems.join("; ")) : null))),
      shown.length < (bad.length || rows.length) ? h("p", { class: "muted" }, t("trust.import.more", { n: (bad.length || rows.length) - shown.length, count: count((bad.length || rows.length) - shown.length) })) : null);
  }

  async #take() {
    const n = this.#good;
    if (!n || !(await confirm(t("trust.import"), t("trust.import.sure", { n, count: count(n) }), t("trust.import.add", { n, count: count(n) }), { danger: false }))) return;
    this.#offer(0);
    this.#complaint.clear();
    try {
      const [list, type] = await this.#list();
      const { devices } = await api.importDevices(list, type, false);
      pending = { devices, account: store.state.session?.account, saved: false };
      const added = t("trust.import.added", { n: devices.length, count: count(devices.length) });
      if (this.#life.ended) return note(added);
      this.#drawMade();
      announce(added); // for the ear; a note would lie over what is to be pressed next
    } catch (error) {
      if (!this.#life.ended) this.#refused(error);
    }
  }

  #drawMade() {
    const { devices } = pending;
    const groups = devices.map((one) => one.groups);
    const shared = groups[0]?.find((name) => groups.every((some) => some.includes(name))) ?? "";
    const save = (name, text, type) => {
      saveText(name, text, type);
      pending.saved = true;
    };
    fill(this.element, subHead(place("keys"), t("trust.import")), h("section", { class: "card" },
      h("p", { class: "import-sum good", role: "status" }, icon("check"), h("span", {}, t("trust.import.added", { n: devices.length, count: count(devices.length) }))),
      h("p", { class: "once" }, icon("eye"), h("span", {}, h("strong", {}, t("trust.once")), " ", t("trust.import.once"))),
      h("div", { class: "button-row" },
        button(t("trust.import.csv"), () => save("homard-keys.csv", keysAsCsv(devices), "text/csv"), { icon: "download", kind: "primary" }),
        button(t("trust.import.json"), () => save("homard-keys.json", `${JSON.stringify({ devices }, null, 1)}\n`, "application/json"), { icon: "download" }),
        linkButton(shared ? t("trust.sheet.of", { group: shared }) : t("trust.sheet"), api.sheetAddress(shared), "file", { target: "_blank", rel: "noopener" })),
      h("ul", { class: "import-rows" }, devices.slice(0, MOST_SHOWN).map((one) => h("li", {}, h("a", { href: place("device", one.endpoint_name), target: "_blank", rel: "noopener" }, one.endpoint_name), h("span", { class: "mono import-problems" }, one.credentials.map((key) => key.identity).join(" · ") || "NoSec")))),
      devices.length > MOST_SHOWN ? h("p", { class: "muted" }, t("trust.import.more", { n: devices.length - MOST_SHOWN, count: count(devices.length - MOST_SHOWN) })) : null,
      h("div", { class: "card-actions" }, button(t("trust.kept"), () => this.#leave(), { icon: "check", kind: "primary" }))));
  }

  async #leave() {
    if (!pending.saved && !(await confirm(t("trust.import.unsaved"), t("trust.import.unsaved.text"), t("trust.import.leave")))) return;
    pending = null;
    go(place("keys"));
  }
}

/** What was made with its keys, a line for each device; a spreadsheet takes no cell for a formula. */
function keysAsCsv(devices) {
  const line = ({ endpoint_name: name, label, groups, tags, provisioning: facts }) => [
    name, label, groups.join(";"), tags.join(";"), ...TOLD.map((key) => facts[key]), ...OSCORE.map((key) => facts.oscore?.[key]),
    facts.bootstrap?.uri, facts.bootstrap?.psk_identity, facts.bootstrap?.psk_key_hex, ...TOLD.slice(5).map((key) => facts.bootstrap?.[key]), ...OSCORE.map((key) => facts.bootstrap?.oscore?.[key])];
  const heads = ["endpoint_name", "label", "groups", "tags", ...TOLD, ...OSCORE.map((key) => `oscore_${key}`),
    "bootstrap_uri", "bootstrap_psk_identity", "bootstrap_psk_key_hex", ...TOLD.slice(5).map((key) => `bootstrap_${key}`), ...OSCORE.map((key) => `bootstrap_oscore_${key}`)];
  const rows = devices.map(line);
  const used = heads.map((_, index) => index < 4 || rows.some((row) => row[index]));
  const cell = (value) => {
    const text = String(value ?? "").replace(/^(?='*[=+@-](?!----BEGIN))/, "'");
    return /[",;\r\n\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
  };
  return [heads, ...rows].map((row) => row.filter((_, index) => used[index]).map(cell).join(",")).join("\r\n").concat("\r\n");
}
