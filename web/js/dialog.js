// Dialogs, menus, tooltips, short notes and the live region.

import { button, fill, h, icon, iconButton, setText, uniqueId } from "./dom.js";
import { due, eventWords } from "./format.js";
import { t } from "./i18n.js";
import { cancelTask, describe, followTask } from "./store.js";

const announcer = h("div", { class: "visually-hidden", role: "status", "aria-live": "polite" });
const notes = h("div", { class: "notes", role: "region", "aria-label": "" });
const tooltip = h("div", { class: "tooltip", id: "tooltip", popover: "manual", role: "tooltip" });

/** Said aloud to those who listen. */
export function announce(text) {
  setText(announcer, "");
  requestAnimationFrame(() => setText(announcer, text));
}

/** A note that goes by itself; an error stays until it is closed. */
export function note(text, { kind = "good", nextStep = "" } = {}) {
  const close = iconButton("close", t("close"), () => element.remove());
  const element = h("div", { class: `note ${kind}` }, icon(kind === "good" ? "check" : "warning"), h("div", {}, h("p", {}, text), nextStep ? h("p", { class: "next-step" }, nextStep) : null), close);
  notes.append(element);
  announce(nextStep ? `${text} ${nextStep}` : text);
  if (kind === "good") setTimeout(() => element.remove(), 5000);
}

export function noteError(error) {
  const { message, nextStep } = describe(error);
  note(message, { kind: "bad", nextStep });
}

/**
 * A modal dialog. `build(close)` gives {body, actions, focus?}; Escape and the backdrop close it.
 * Resolves with what close() was given, undefined when it was dismissed.
 */
export function dialog(title, build, { kind = "", subtitle = "" } = {}) {
  return new Promise((resolve) => {
    let result;
    const id = uniqueId("dialog");
    const opener = document.activeElement;
    const element = h("dialog", { class: `dialog ${kind}`, "aria-labelledby": id });
    const close = (value) => {
      result = value;
      element.close();
    };
    const { body, actions = [], focus, submit } = build(close);
    const form = h("form", { method: "dialog", novalidate: true, onsubmit: (event) => {
      event.preventDefault();
      submit?.();
    } },
    h("header", { class: "dialog-head" }, h("div", {}, h("h2", { id }, title), subtitle ? h("p", { class: "path" }, subtitle) : null), iconButton("close", t("close"), () => close())),
    h("div", { class: "dialog-body" }, body),
    actions.length ? h("footer", { class: "dialog-actions" }, actions) : null);
    element.append(form);
    // Back, or another place in the address bar: what the dialog was about is not on the page any more.
    const leave = () => close();
    addEventListener("hashchange", leave);
    element.addEventListener("close", () => {
      removeEventListener("hashchange", leave);
      element.remove();
      if (opener?.isConnected) opener.focus();
      resolve(result);
    });
    element.addEventListener("pointerdown", (event) => {
      if (event.target === element) close();
    });
    document.body.append(element);
    element.showModal();
    (focus?.() ?? element.querySelector("[autofocus]") ?? element.querySelector(".dialog-actions .primary"))?.focus();
  });
}

/** Yes or no. Resolves true only for yes. */
export function confirm(title, text, action, { danger = true } = {}) {
  return dialog(title, (close) => ({
    body: h("p", { class: "prose" }, text),
    submit: () => close(true),
    actions: [
      button(t("cancel"), () => close(false), danger ? { autofocus: true } : {}),
      h("button", { type: "submit", class: `button ${danger ? "danger" : "primary"}` }, h("span", {}, action)),
    ],
  }), { kind: danger ? "dangerous" : "" });
}

/** A menu below a button: items are {label, icon, action, danger} or null for a line. */
export function menu(anchor, items) {
  document.querySelector(".menu")?.remove();
  const element = h("div", { class: "menu", role: "menu", popover: "manual" });
  const close = (back = true) => {
    removeEventListener("pointerdown", outside, true);
    removeEventListener("resize", closeQuietly);
    element.remove();
    anchor.setAttribute("aria-expanded", "false");
    if (back) anchor.focus();
  };
  const closeQuietly = () => close(false);
  const outside = (event) => {
    if (!element.contains(event.target)) close(false);
  };
  for (const item of items) {
    if (!item) {
      element.append(h("hr", { role: "separator" }));
      continue;
    }
    element.append(h("button", {
      type: "button", role: item.checked === undefined ? "menuitem" : "menuitemradio", tabindex: "-1", class: item.danger ? "danger-text" : "",
      "aria-checked": item.checked === undefined ? null : String(item.checked),
      onclick: () => {
        close();
        item.action();
      },
    }, icon(item.checked ? "check" : (item.icon ?? "right")), h("span", {}, item.label)));
  }
  element.addEventListener("keydown", (event) => {
    const all = [...element.querySelectorAll("button")];
    const here = all.indexOf(document.activeElement);
    const to = { ArrowDown: (here + 1) % all.length, ArrowUp: (here - 1 + all.length) % all.length, Home: 0, End: all.length - 1 }[event.key];
    if (to !== undefined) {
      event.preventDefault();
      all[to].focus();
    } else if (event.key === "Escape" || event.key === "Tab") {
      event.preventDefault();
      event.stopPropagation();
      close();
    }
  });
  anchor.setAttribute("aria-haspopup", "menu");
  anchor.setAttribute("aria-expanded", "true");
  (anchor.closest("dialog") ?? document.body).append(element);
  element.showPopover?.();
  place(element, anchor.getBoundingClientRect());
  addEventListener("pointerdown", outside, true);
  addEventListener("resize", closeQuietly);
  element.querySelector("button")?.focus();
}

function place(element, box, gap = 4) {
  const { offsetWidth: width, offsetHeight: height } = element;
  const below = box.bottom + gap + height <= innerHeight;
  const top = below ? box.bottom + gap : Math.max(4, box.top - gap - height);
  const left = Math.min(Math.max(4, box.left + box.width / 2 - width / 2), innerWidth - width - 4);
  element.style.top = `${top}px`;
  element.style.left = `${left}px`;
}

/** Tooltips for everything with data-tooltip, on hover and on keyboard focus. */
export function startTooltips() {
  fill(document.body.appendChild(h("div", { class: "overlays" })), announcer, notes, tooltip);
  notes.setAttribute("aria-label", t("notes"));
  let timer = 0;
  let shownFor = null;
  const hide = () => {
    clearTimeout(timer);
    if (shownFor && tooltip.hidePopover && tooltip.matches(":popover-open")) tooltip.hidePopover();
    shownFor = null;
  };
  const show = (target) => {
    if (!target.isConnected || !tooltip.showPopover) return;
    shownFor = target;
    setText(tooltip, target.dataset.tooltip);
    if (!tooltip.matches(":popover-open")) tooltip.showPopover();
    place(tooltip, target.getBoundingClientRect(), 6);
  };
  document.addEventListener("pointerover", (event) => {
    const target = event.target.closest?.("[data-tooltip]");
    if (target === shownFor || event.pointerType === "touch") return;
    hide();
    if (target) timer = setTimeout(show, 350, target);
  });
  document.addEventListener("focusin", (event) => {
    hide();
    if (event.target.matches("[data-tooltip]:focus-visible")) show(event.target);
  });
  document.addEventListener("pointerdown", hide);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") hide();
  });
  document.addEventListener("scroll", hide, { capture: true, passive: true });
  new MutationObserver(() => {
    if (shownFor && !shownFor.isConnected) hide();
  }).observe(document.body, { childList: true, subtree: true });
}

/**
 * The line that shows how a request fares: under way, its code in words and its round trip, what to do, or that
 * it waits for a device that sleeps, and then what became of it.
 */
export class Fate {
  #timer = 0;
  #unfollow = () => {};
  task = null; // the number of the task that is waited for

  constructor() {
    this.element = h("div", { class: "fate", hidden: true });
  }

  pending(what) {
    this.#stop();
    this.element.hidden = false;
    this.element.className = "fate pending";
    fill(this.element, h("span", { class: "spinner" }), h("span", {}, what));
  }

  outcome(outcome, rtt) {
    if (outcome.queued) return this.queued(outcome);
    this.#stop();
    const code = outcome.code ? `${outcome.code} ${outcome.text}` : outcome.text || outcome.words;
    // The words begin with the name of the code; it is not said twice.
    const rest = outcome.words && outcome.words !== outcome.text && outcome.words !== code ? outcome.words.replace(`${outcome.text}: `, "") : "";
    this.element.hidden = false;
    this.element.className = `fate ${outcome.ok ? "good" : "bad"}`;
    fill(this.element, icon(outcome.ok ? "check" : "warning"),
      h("span", {}, h("strong", {}, code), rest ? ` – ${rest}` : "", rtt ? h("span", { class: "rtt" }, ` · ${rtt}`) : null),
      outcome.ok ? null : iconButton("close", t("close"), () => this.clear(), { class: "small" }));
    announce(`${outcome.operation} ${outcome.path}: ${code}. ${rest}`);
    if (outcome.ok) this.#timer = setTimeout(() => this.clear(), 8000);
    return undefined;
  }

  /** It waits for the device: said when it is expected, and how it ends as soon as it does. */
  queued(answer) {
    this.#stop();
    this.task = answer.task;
    const show = (state, expectedAt) => {
      const time = due(expectedAt);
      const words = t(state === "sent" ? "task.fate.sent" : time ? "task.fate.expected" : "task.fate.waits", { time });
      this.element.hidden = false;
      this.element.className = "fate waiting";
      fill(this.element, icon("clock"), h("span", {}, h("strong", {}, t("task.fate.kept")), ` ${words} `, h("a", { href: "#/tasks" }, t("task.number", { id: answer.task }))),
        button(t("task.cancel"), () => this.#cancel(answer.task), { kind: "small" }));
      announce(`${t("task.fate.kept")} ${words}`);
    };
    show(answer.state, answer.expected_at);
    this.#unfollow = followTask(answer.task, (event) => {
      if (event.kind === "operation") this.outcome({ ...event, code: null, text: eventWords(event), words: "", queued: false });
      else if (event.state === "waiting" || event.state === "queued") show(event.state, answer.expected_at);
      else this.#ended({ state: event.state, words: eventWords(event) });
    });
  }

  async #cancel(id) {
    try {
      await cancelTask(id);
      this.#ended({ state: "cancelled", words: "" });
    } catch (error) {
      this.error(error);
    }
  }

  #ended({ state, words }) {
    this.#stop();
    const text = t(`task.${state}`);
    this.element.className = `fate ${state === "cancelled" || state === "superseded" ? "pending" : "bad"}`;
    fill(this.element, icon(state === "cancelled" ? "close" : "warning"), h("span", {}, h("strong", {}, text), words ? ` – ${words}` : ""), iconButton("close", t("close"), () => this.clear(), { class: "small" }));
    announce(`${text}. ${words}`);
  }

  #stop() {
    clearTimeout(this.#timer);
    this.#unfollow();
    this.task = null;
  }

  /** `remedy`, if there is one: {label, action}. */
  error(error, remedy = null) {
    this.#stop();
    const { message, nextStep } = describe(error);
    this.element.hidden = false;
    this.element.className = "fate bad";
    fill(this.element, icon("warning"), h("span", {}, h("strong", {}, message), nextStep ? h("span", { class: "next-step" }, ` ${nextStep}`) : null),
      remedy ? button(remedy.label, remedy.action, { kind: "small" }) : null, iconButton("close", t("close"), () => this.clear(), { class: "small" }));
    announce(`${message} ${nextStep}`);
  }

  clear() {
    this.#stop();
    this.element.hidden = true;
    fill(this.element);
  }
}
