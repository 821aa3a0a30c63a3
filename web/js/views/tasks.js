// What is to be done at devices: queued, waiting for one that sleeps, under way, and how it ended.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { confirm, dialog, note, noteError } from "../dialog.js";
import { ageElement, bytes, count, expected, moment, when } from "../format.js";
import { t } from "../i18n.js";
import { canOperate } from "../operate.js";
import { deviceHash, go } from "../router.js";
import * as store from "../store.js";
import { figure, percent } from "./instance.js";

const OPEN = new Set(["queued", "waiting", "sent"]);
const FILTERS = ["open", "", "waiting", "done", "failed", "expired", "unknown", "cancelled"];
const ICONS = { queued: "tasks", waiting: "clock", sent: "send", done: "check", failed: "warning", expired: "clock", cancelled: "close", unknown: "info", superseded: "close" };
const PAGE = 100;
const PROGRESS_MS = 2000;

export function taskBadge(state) {
  return h("span", { class: `task-state ${state}` }, icon(ICONS[state] ?? "info"), h("span", {}, t(`task.${state}`)));
}

/** What is to be written, where it is one short value. */
function given({ request, operation }) {
  const { value } = request ?? {};
  const text = operation === "Write" && value !== undefined && typeof value !== "object" ? String(value) : (request?.arguments ?? "");
  return text ? h("span", { class: "task-given" }, text.length > 40 ? `${text.slice(0, 40)}…` : text) : null;
}

const about = (task) => task.path ?? (task.paths ?? []).join(", ");

/** Why it stands where it stands: when the device is expected, what it answered, or the gateway's reason. */
function words(task) {
  // Of what went well its mark says enough.
  if (task.state === "done") return task.outcome && task.outcome.words !== task.outcome.text ? task.outcome.words : "";
  const told = task.outcome && !OPEN.has(task.state) ? task.outcome.words : task.reason;
  const due = task.state === "waiting" ? expected(task.expected_at) : "";
  const until = OPEN.has(task.state) && task.expires_at ? t("task.until", { time: moment(task.expires_at) }) : "";
  const tries = task.attempts > 1 ? t("task.attempts", { n: task.attempts }) : "";
  return [told, due, until, tries].filter(Boolean).join(" · ");
}

/** A living list of tasks: of a device, of a batch, or of all. */
class TaskList {
  #life;
  #query;
  #filter = "open";
  #tasks = [];
  #next = null;
  #rows = new Map(); // id -> {element, key}
  #chips = h("div", { class: "chips", role: "group", "aria-label": t("tasks.filter") });
  #list = h("ul", { class: "task-list" });
  #empty = h("div", { class: "empty" }, h("span", { class: "spinner large" }));
  #more;
  #timer = 0;
  #chosenByHand = false;
  #asked = 0;

  constructor(life, query) {
    this.#life = life;
    this.#query = query;
    this.#more = button(t("tasks.older"), () => this.#older(), { icon: "down" });
    this.element = h("div", { class: "task-area" }, this.#chips, this.#list, this.#empty, h("div", { class: "list-foot" }, this.#more));
    this.#more.hidden = true;
    for (const state of FILTERS) {
      this.#chips.append(h("button", { type: "button", class: "chip", "data-state": state, onclick: () => {
        this.#filter = state;
        this.#chosenByHand = true;
        this.load();
      } }, h("span", {}, t(`tasks.${{ "": "all", open: "unended" }[state] ?? state}`)), h("span", { class: "chip-count" })));
    }
    store.on("task-list", () => this.#soon(), life);
    store.on("late", () => this.#draw(), life);
    life.every(PROGRESS_MS, () => {
      if (!document.hidden && this.#tasks.some((task) => task.state === "sent" && task.progress)) this.load();
    });
    life.add(() => clearTimeout(this.#timer));
    this.load();
  }

  set query(query) {
    this.#query = query;
    this.load();
  }

  /** However many events arrive, the list is read twice a second at most. */
  #soon() {
    if (this.#timer) return;
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.load();
    }, 400);
  }

  async load() {
    this.#asked += 1;
    const asked = this.#asked;
    try {
      const page = await api.tasks({ ...this.#query, state: this.#filter, limit: PAGE });
      if (this.#life.ended || asked !== this.#asked) return undefined;
      // With nothing to wait for, what was done lately says more than an empty list.
      if (!page.tasks.length && this.#filter === "open" && !this.#chosenByHand && Object.keys(page.counts).length) {
        this.#chosenByHand = true;
        this.#filter = "";
        return this.load();
      }
      this.#take(page, []);
    } catch (error) {
      const { message, nextStep } = store.describe(error);
      fill(this.#empty, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.load(), { icon: "refresh" }));
      this.#empty.hidden = false;
    }
    return undefined;
  }

  async #older() {
    try {
      this.#take(await api.tasks({ ...this.#query, state: this.#filter, limit: PAGE, after: this.#next }), this.#tasks);
    } catch (error) {
      noteError(error);
    }
  }

  #take(page, before) {
    this.#tasks = [...before, ...page.tasks];
    this.#next = page.next;
    this.#more.hidden = page.next === null;
    const open = [...OPEN].reduce((sum, state) => sum + (page.counts[state] ?? 0), 0);
    const all = Object.values(page.counts).reduce((sum, n) => sum + n, 0);
    for (const chip of this.#chips.children) {
      const { state } = chip.dataset;
      const n = state === "" ? all : state === "open" ? open : page.counts[state] ?? 0;
      chip.setAttribute("aria-pressed", String(state === this.#filter));
      chip.hidden = !["", "open"].includes(state) && n === 0 && state !== this.#filter;
      setText(chip.querySelector(".chip-count"), count(n));
    }
    this.#draw();
  }

  #draw() {
    const keep = new Set();
    this.#tasks.forEach((task, index) => {
      keep.add(task.id);
      const key = JSON.stringify([task, words(task)]);
      let row = this.#rows.get(task.id);
      if (!row) this.#rows.set(task.id, (row = { element: h("li", { class: "task-row" }), key: "" }));
      if (row.key !== key) {
        row.key = key;
        row.element.dataset.task = task.id;
        fill(row.element, this.#content(task));
      }
      if (this.#list.children[index] !== row.element) this.#list.insertBefore(row.element, this.#list.children[index] ?? null);
    });
    for (const [id, { element }] of this.#rows) {
      if (keep.has(id)) continue;
      element.remove();
      this.#rows.delete(id);
    }
    this.#empty.hidden = this.#tasks.length > 0;
    if (!this.#tasks.length) fill(this.#empty, icon("tasks", "icon hero"), h("h2", {}, t("tasks.none")), h("p", {}, t("tasks.none.hint")));
  }

  #content(task) {
    const { state, progress } = task;
    const done = progress ? percent(progress) : 0;
    const said = words(task);
    const values = state === "done" && task.operation.startsWith("Read") ? (task.outcome?.values ?? []).slice(0, 3) : [];
    return [
      h("div", { class: "task-main" },
        h("div", { class: "task-what" }, h("strong", {}, t(`operation.${task.operation}`)), " ", h("span", { class: "path" }, about(task)), given(task), values.length ? h("span", { class: "task-values" }, values.map((value) => figure(value))) : null),
        h("div", { class: "task-where" }, taskBadge(state), this.#query.endpoint_name ? null : h("a", { class: "task-device", href: deviceHash(task.endpoint_name, ["tasks"]) }, task.endpoint_name), ageElement(task.ended_at ?? task.created_at)),
        progress && OPEN.has(state) ? h("div", { class: "task-progress" }, h("progress", { max: "100", value: done, "aria-label": t("task.progress", { percent: done }) }), h("span", {}, `${done} % · ${bytes(progress.sent_bytes)} / ${bytes(progress.total_bytes)}`)) : null,
        said ? h("p", { class: "task-words" }, said) : null),
      h("div", { class: "task-actions" },
        iconButton("info", t("task.details", { id: task.id }), () => this.#details(task)),
        !canOperate() ? null : OPEN.has(state) ? iconButton("close", t("task.cancel.id", { id: task.id }), (event) => this.#cancel(task, event.currentTarget))
          : state === "superseded" ? null : iconButton("retry", t("task.retry.id", { id: task.id }), (event) => this.#retry(task, event.currentTarget))),
    ];
  }

  async #cancel(task, control) {
    control.disabled = true;
    try {
      await store.cancelTask(task.id);
      note(t("task.cancelled.note", { id: task.id }));
    } catch (error) {
      noteError(error);
    }
    this.load();
  }

  async #retry(task, control) {
    // What may have happened already is not done twice by a slip of the finger.
    if (task.state === "unknown" || (task.state === "done" && ["Execute", "Create", "Delete"].includes(task.operation))) {
      const text = t(task.state === "unknown" ? "confirm.retry.unknown" : "confirm.retry.done", { operation: t(`operation.${task.operation}`), path: about(task), name: task.endpoint_name });
      if (!(await confirm(t("confirm.retry"), text, t("task.retry")))) return;
    }
    control.disabled = true;
    try {
      const again = await api.retryTask(task.id);
      note(t("task.retried", { id: again.id, state: t(`task.${again.state}`) }));
      if (this.#filter && this.#filter !== "open") this.#filter = "";
    } catch (error) {
      noteError(error);
    }
    this.load();
  }

  #details(task) {
    const facts = [
      ["task.fact.device", h("a", { href: deviceHash(task.endpoint_name) }, task.endpoint_name)], ["task.fact.origin", task.origin || "–"], ["task.fact.priority", `${task.priority} / 9`],
      ["task.fact.created", when(task.created_at)], task.sent_at ? ["task.fact.sent", when(task.sent_at)] : null, task.ended_at ? ["task.fact.ended", when(task.ended_at)] : null,
      OPEN.has(task.state) && task.expected_at ? ["task.fact.expected", when(task.expected_at)] : null, task.expires_at ? ["task.fact.expires", when(task.expires_at)] : null,
      ["task.fact.attempts", String(task.attempts)], task.batch ? ["task.fact.batch", h("a", { href: `#/tasks?batch=${encodeURIComponent(task.batch)}` }, task.batch)] : null,
    ].filter(Boolean);
    dialog(`${t(`operation.${task.operation}`)} ${about(task)}`, (close) => ({
      body: [
        h("p", { class: "task-detail-state" }, taskBadge(task.state), h("span", {}, words(task))),
        task.state === "unknown" ? h("p", { class: "warning-line" }, icon("warning"), h("span", {}, t("task.unknown.text"))) : null,
        h("dl", { class: "facts" }, facts.map(([key, value]) => [h("dt", {}, t(key)), h("dd", {}, value)])),
        task.outcome?.values?.length ? valueTable(task.outcome.values) : null,
        h("h3", {}, t("task.fact.request")), h("pre", { class: "code" }, JSON.stringify(task.request, null, 1)),
      ].filter(Boolean),
      actions: [button(t("close"), () => close(), { kind: "primary" })],
    }), { subtitle: t("task.number", { id: task.id }) });
  }
}

/** Values that an answer brought, as a table. */
export function valueTable(values) {
  return h("div", { class: "table-scroll" }, h("table", { class: "plain" }, h("thead", {}, h("tr", {}, ["path", "model.name", "value"].map((key) => h("th", { scope: "col" }, t(key))))),
    h("tbody", {}, values.map((value) => h("tr", {}, h("td", { class: "mono" }, value.path), h("td", {}, value.name ?? ""), h("td", {}, figure(value)))))));
}

/** The queue of all devices. */
export class TasksPage {
  #life = new Life();
  #list;
  #about = h("div", { class: "filter-line", hidden: true });

  constructor(route) {
    this.#list = new TaskList(this.#life, asked(route));
    this.element = h("div", { class: "page tasks" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.tasks")), h("p", { class: "summary" }, t("tasks.summary"))),
        h("div", { class: "tools" }, canOperate() ? button(t("batch.new"), () => this.#new(), { icon: "plus", kind: "primary" }) : null)),
      this.#about, h("div", { class: "card-body scrolling" }, this.#list.element));
    this.#showFilter(asked(route));
  }

  show(route) {
    this.#list.query = asked(route);
    this.#showFilter(asked(route));
    return true;
  }

  end() {
    this.#life.end();
  }

  #showFilter(query) {
    this.#about.hidden = !query.batch;
    if (query.batch) fill(this.#about, h("span", {}, t("tasks.batch", { batch: query.batch })), button(t("tasks.showall"), () => go("#/tasks"), { kind: "small" }));
  }

  async #new() {
    const { batchDialog } = await import("./batch.js");
    const made = await batchDialog();
    if (!made) return;
    const { batch, tasks, refused } = made;
    note(t("batch.made", { n: tasks, count: count(tasks) }), refused.length ? { kind: "bad", nextStep: t("batch.refused", { n: refused.length, words: refused.slice(0, 3).map((one) => `${one.endpoint_name}: ${one.words}`).join(" · ") }) } : {});
    go(`#/tasks?batch=${encodeURIComponent(batch)}`);
  }
}

const asked = (route) => ({ batch: route.query?.get("batch") ?? "" });

/** The queue of one device. */
export class TaskPanel {
  #life = new Life();

  constructor(name, { close }) {
    const list = new TaskList(this.#life, { endpoint_name: name });
    const notice = h("div", {});
    const tell = () => {
      const row = store.state.devices.get(name);
      const at = row && store.stateOf(row) === "asleep" ? row.expected_at : null;
      const text = !row || store.stateOf(row) !== "asleep" ? "" : at ? t("tasks.sleeping", { time: expected(at) }) : t("tasks.sleeping.unknown");
      if (notice.textContent !== text) fill(notice, text ? h("p", { class: "state-line waiting" }, icon("clock"), h("span", {}, text)) : []);
    };
    this.element = h("section", { class: "panel", "aria-label": t("device.tasks") },
      h("header", { class: "panel-head" }, h("div", { class: "panel-title" }, iconButton("left", t("back"), close, { class: "phone-only" }), h("div", { class: "panel-names" }, h("span", { class: "panel-device" }, name), h("h2", {}, t("device.tasks"))), iconButton("close", t("close.panel"), close, { class: "wide-only" })), notice),
      h("div", { class: "panel-body" }, list.element));
    store.on("devices", tell, this.#life);
    tell();
  }

  end() {
    this.#life.end();
  }
}
