// A list that keeps only the rows in sight: thousands of items, a bounded number of elements.
// Arrow keys move one roving focus; Home, End and the page keys do what they say.

import { h } from "./dom.js";

const OVERSCAN = 6;

export class VirtualList {
  #items = [];
  #rows = new Map(); // key -> element
  #active = 0;
  #columns = 1;
  #rowHeight;
  #options;
  #sizer;
  #frame = 0;

  /**
   * scroller: the scrolling element. rowHeight: pixels, or a function of the width. columns: a function of the
   * width. make(item) gives an element, update(element, item) refreshes it, key(item) names it, open(item).
   */
  constructor(scroller, options, life) {
    this.scroller = scroller;
    this.#options = options;
    this.#sizer = h("div", { class: "virtual-sizer", role: "presentation" });
    scroller.append(this.#sizer);
    life.listen(scroller, "scroll", () => this.#soon(), { passive: true });
    life.listen(scroller, "keydown", (event) => this.#key(event));
    life.listen(this.#sizer, "focusin", (event) => this.#focused(event));
    const observer = new ResizeObserver(() => this.#soon());
    observer.observe(scroller);
    life.add(() => observer.disconnect());
  }

  set items(items) {
    this.#items = items;
    this.#active = Math.max(0, Math.min(this.#active, items.length - 1));
    this.#soon();
  }

  /** Draw again: the items are the same, what they say may not be. */
  refresh() {
    this.#soon();
  }

  reveal(index) {
    const top = Math.floor(index / this.#columns) * this.#height();
    const { scrollTop, clientHeight } = this.scroller;
    if (top < scrollTop) this.scroller.scrollTop = top;
    else if (top + this.#height() > scrollTop + clientHeight) this.scroller.scrollTop = top + this.#height() - clientHeight;
  }

  set active(index) {
    this.#active = index;
  }

  focus() {
    this.#move(this.#active);
  }

  #height() {
    const { rowHeight } = this.#options;
    return typeof rowHeight === "function" ? rowHeight(this.scroller.clientWidth) : rowHeight;
  }

  #soon() {
    if (this.#frame) return;
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
    });
  }

  #draw() {
    const { key, make, update, columns } = this.#options;
    const width = this.scroller.clientWidth;
    this.#columns = Math.max(1, columns ? columns(width) : 1);
    this.#rowHeight = this.#height();
    const lines = Math.ceil(this.#items.length / this.#columns);
    this.#sizer.style.height = `${lines * this.#rowHeight}px`;
    const first = Math.max(0, Math.floor(this.scroller.scrollTop / this.#rowHeight) - OVERSCAN);
    const last = Math.min(lines, Math.ceil((this.scroller.scrollTop + this.scroller.clientHeight) / this.#rowHeight) + OVERSCAN);
    const wanted = [];
    for (let index = first * this.#columns; index < Math.min(this.#items.length, last * this.#columns); index += 1) wanted.push(index);
    // The row that has the focus stays, or a keyboard user would be thrown back to the top of the page.
    if (this.#sizer.contains(document.activeElement) && !wanted.includes(this.#active) && this.#active < this.#items.length) wanted.push(this.#active);
    const keep = new Set();
    for (const index of wanted) {
      const item = this.#items[index];
      const name = key(item);
      keep.add(name);
      let element = this.#rows.get(name);
      if (!element) {
        element = make(item);
        this.#rows.set(name, element);
        this.#sizer.append(element);
      }
      element.dataset.index = index;
      element.setAttribute("aria-rowindex", index + 2);
      element.tabIndex = index === this.#active ? 0 : -1;
      const line = Math.floor(index / this.#columns);
      const column = index % this.#columns;
      element.style.insetBlockStart = `${line * this.#rowHeight}px`;
      element.style.insetInlineStart = `${(column * 100) / this.#columns}%`;
      element.style.inlineSize = `${100 / this.#columns}%`;
      element.style.blockSize = `${this.#rowHeight}px`;
      update(element, item);
    }
    for (const [name, element] of this.#rows) {
      if (keep.has(name)) continue;
      element.remove();
      this.#rows.delete(name);
    }
    if (!wanted.includes(this.#active) && wanted.length) {
      const element = this.#rows.get(key(this.#items[wanted[0]]));
      element.tabIndex = 0; // Tab must find the list wherever it was scrolled to
    }
  }

  #focused(event) {
    const row = event.target.closest("[data-index]");
    if (!row || row.parentElement !== this.#sizer) return;
    const index = Number(row.dataset.index);
    if (index === this.#active) return;
    this.#active = index;
    for (const other of this.#rows.values()) other.tabIndex = other === row ? 0 : -1;
  }

  #move(index) {
    if (this.#items.length === 0) return;
    this.#active = Math.max(0, Math.min(index, this.#items.length - 1));
    this.reveal(this.#active);
    this.#draw();
    this.#rows.get(this.#options.key(this.#items[this.#active]))?.focus({ preventScroll: true });
  }

  #key(event) {
    const row = event.target.closest("[data-index]");
    if (!row || event.target !== row) return;
    const page = Math.max(1, Math.floor(this.scroller.clientHeight / this.#height()) - 1) * this.#columns;
    const steps = { ArrowDown: this.#columns, ArrowUp: -this.#columns, ArrowRight: this.#columns > 1 ? 1 : 0, ArrowLeft: this.#columns > 1 ? -1 : 0, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in steps && steps[event.key]) {
      event.preventDefault();
      this.#move(steps[event.key] === Infinity ? this.#items.length - 1 : steps[event.key] === -Infinity ? 0 : this.#active + steps[event.key]);
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      this.#options.open(this.#items[Number(row.dataset.index)]);
    }
  }
}

/** Arrow keys among the buttons or links of an ordinary list; one of them is in the Tab order. */
export function rovingFocus(container, selector) {
  const items = () => [...container.querySelectorAll(selector)].filter((item) => item.offsetParent !== null);
  container.addEventListener("keydown", (event) => {
    const all = items();
    const here = all.indexOf(document.activeElement);
    if (here < 0) return;
    const to = { ArrowDown: here + 1, ArrowUp: here - 1, Home: 0, End: all.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    const target = all[Math.max(0, Math.min(to, all.length - 1))];
    for (const item of all) item.tabIndex = item === target ? 0 : -1;
    target.focus();
  });
  container.addEventListener("focusin", (event) => {
    const item = event.target.closest(selector);
    if (!item) return;
    for (const other of items()) other.tabIndex = other === item ? 0 : -1;
  });
  return () => {
    const all = items();
    const current = all.find((item) => item.getAttribute("aria-current") === "true") ?? all.find((item) => item.tabIndex === 0) ?? all[0];
    for (const item of all) item.tabIndex = item === current ? 0 : -1;
  };
}
