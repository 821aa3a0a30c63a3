// Elements without markup in strings: nothing a device sends can become HTML.

const SVG = "http://www.w3.org/2000/svg";

/** An element. Attributes: on… are listeners, `style` an object (CSSOM), false and null are left out. */
export function h(tag, attributes, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === false || value === null || value === undefined) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "style") Object.assign(element.style, value);
    else if (name === "value" || name === "checked" || name === "disabled" || name === "readOnly") element[name] = value;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** Replace all children. */
export function fill(element, ...children) {
  element.replaceChildren(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

// Icons of our own, 24 by 24, drawn with strokes. "f:" in front of a path fills it.
const ICONS = {
  devices: ["M4 5h16v10H4z", "M9 19h6", "M12 15v4", "M7.5 11.5l2-2 2 2 4-4"],
  events: ["M4 6h2M10 6h10", "M4 12h2M10 12h10", "M4 18h2M10 18h10"],
  cube: ["M12 3l8 4.5v9L12 21l-8-4.5v-9z", "M4.2 7.6L12 12l7.8-4.4", "M12 12v8.8"],
  key: ["M11 12.5a4 4 0 1 1-2.5-2.5L20 3", "M16 6.5l2.5 2.5", "M13.6 8.9l2 2"],
  eye: ["M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12z", "M12 9.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6z"],
  book: ["M12 6.5C10 5 7 4.5 3.5 4.5v13.5c3.5 0 6.5.5 8.5 2 2-1.5 5-2 8.5-2V4.5C17 4.5 14 5 12 6.5z", "M12 6.5V20"],
  pencil: ["M4 20l1-4.5L16.5 4a2.1 2.1 0 0 1 3 3L8.5 19z", "M14.5 6l3.5 3.5"],
  play: ["f:M8 5.2v13.6a.7.7 0 0 0 1.06.6l11-6.8a.7.7 0 0 0 0-1.2l-11-6.8A.7.7 0 0 0 8 5.2z"],
  plus: ["M12 5v14M5 12h14"],
  minus: ["M5 12h14"],
  close: ["M6 6l12 12M18 6L6 18"],
  search: ["M10.5 4a6.5 6.5 0 1 1 0 13 6.5 6.5 0 0 1 0-13z", "M15.5 15.5L20 20"],
  table: ["M4 5h16v14H4z", "M4 10h16M4 14.5h16M10 10v9"],
  cards: ["M4 4h7v7H4zM13 4h7v7h-7zM4 13h7v7H4zM13 13h7v7h-7z"],
  info: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 11v5.5", "M12 7.5v.2"],
  sun: ["M12 8a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M18.7 5.3l-1.4 1.4M6.7 17.3l-1.4 1.4"],
  moon: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z"],
  left: ["M14.5 5.5L8 12l6.5 6.5"],
  right: ["M9.5 5.5L16 12l-6.5 6.5"],
  down: ["M5.5 9L12 15.5 18.5 9"],
  warning: ["M12 4L2.8 19.5h18.4z", "M12 10v4.5", "M12 17v.2"],
  lock: ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 7 0v3"],
  unlock: ["M6 11h12v9H6z", "M8.5 11V8a3.5 3.5 0 0 1 6.8-1.2"],
  battery: ["M3 8h15v8H3z", "M18 10.5h2.5v3H18"],
  upload: ["M12 16V4.5M7 9l5-4.5L17 9", "M4 16v4h16v-4"],
  trash: ["M5 7h14M10 7V4.5h4V7M7 7l1 13h8l1-13M10.5 10.5v6M13.5 10.5v6"],
  copy: ["M9 9h11v11H9z", "M15 9V4H4v11h5"],
  check: ["M5 12.5l4.5 4.5L19 7"],
  sliders: ["M4 7h9M17 7h3M15 5v4M4 17h3M11 17h9M9 15v4M4 12h13"],
  discover: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M15.5 8.5l-2 5-5 2 2-5z"],
  more: ["f:M5 10.5a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zM12 10.5a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3zM19 10.5a1.5 1.5 0 1 1 0 3 1.5 1.5 0 0 1 0-3z"],
  power: ["M12 3.5V11", "M7 6.2a7.5 7.5 0 1 0 10 0"],
  logout: ["M10 4H5v16h5", "M14 8l4 4-4 4M18 12H9.5"],
  columns: ["M4 5h16v14H4z", "M10 5v14"],
  clock: ["M12 3.5a8.5 8.5 0 1 1 0 17 8.5 8.5 0 0 1 0-17z", "M12 7.5V12l3 2"],
  refresh: ["M19.5 12a7.5 7.5 0 1 1-2.2-5.3", "M19.5 3.5v4h-4"],
  user: ["M12 4a4 4 0 1 1 0 8 4 4 0 0 1 0-8z", "M4.5 20.5c.8-4 3.8-6 7.5-6s6.7 2 7.5 6"],
  link: ["M10 14a4 4 0 0 0 5.7 0l3-3A4 4 0 0 0 13 5.3l-1 1", "M14 10a4 4 0 0 0-5.7 0l-3 3A4 4 0 0 0 11 18.7l1-1"],
  tasks: ["M4 6.5l1.6 1.6L8.5 5", "M4 13l1.6 1.6 2.9-3.1", "M11.5 7H20M11.5 13.5H20M11.5 19H20", "M5 19h2"],
  layers: ["M12 3.5l8.5 4.5-8.5 4.5L3.5 8z", "M4.5 12.5L12 16.5l7.5-4", "M4.5 16.5L12 20.5l7.5-4"],
  log: ["M4 5h16v14H4z", "M7.5 9.5l2.5 2.5-2.5 2.5", "M12.5 15H16"],
  template: ["M5 4h14v16H5z", "M8.5 9h7M8.5 12.5h7M8.5 16h4"],
  file: ["M6 3.5h8l4.5 4.5v12.5H6z", "M13.5 3.5V8.5h5"],
  download: ["M12 4.5V16M7 11.5l5 4.5 5-4.5", "M4 16v4h16v-4"],
  up: ["M5.5 15L12 8.5 18.5 15"],
  pause: ["M8.5 5.5v13M15.5 5.5v13"],
  retry: ["M4.5 12a7.5 7.5 0 1 0 2.2-5.3", "M4.5 3.5v4h4"],
  moonlit: ["M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z"],
  send: ["M4 12L20 4.5 14.5 20l-3-6.5z", "M11.5 13.5L20 4.5"],
  shield: ["M12 3l7.5 3v5.5c0 4.6-3 7.9-7.5 9.5-4.5-1.6-7.5-4.9-7.5-9.5V6z", "M8.8 12l2.3 2.3 4.2-4.6"],
  home: ["M4 11l8-7 8 7", "M6 9.5V20h4.5v-5.5h3V20H18V9.5"],
};

/** An icon of the sprite above; decoration for assistive technology. */
export function icon(name, className = "icon") {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", className);
  svg.setAttribute("aria-hidden", "true");
  svg.setAttribute("focusable", "false");
  for (const shape of ICONS[name]) {
    const path = document.createElementNS(SVG, "path");
    const filled = shape.startsWith("f:");
    path.setAttribute("d", filled ? shape.slice(2) : shape);
    if (filled) path.setAttribute("class", "filled");
    svg.append(path);
  }
  return svg;
}

/** A button that is only an icon: its name is read aloud and shown as a tooltip. */
export function iconButton(name, label, onclick, attributes = {}) {
  const { class: more, ...rest } = attributes;
  return h(
    "button",
    { type: "button", "aria-label": label, "data-tooltip": label, onclick, ...rest, class: `icon-button ${more ?? ""}`.trim() },
    icon(name),
  );
}

/** A button with words, and an icon when one is named. */
export function button(label, onclick, { icon: name, kind = "", ...attributes } = {}) {
  return h("button", { type: "button", class: `button ${kind}`.trim(), onclick, ...attributes }, name ? icon(name) : null, h("span", {}, label));
}

let serial = 0;
export function uniqueId(prefix) {
  serial += 1;
  return `${prefix}-${serial}`;
}

const sheets = new Map();

/** Fetch a style sheet of pages that come later. */
export function addStyle(name) {
  if (!sheets.has(name)) sheets.set(name, new Promise((resolve, reject) => {
    const link = h("link", { rel: "stylesheet", href: `css/${name}.css`, onload: resolve, onerror: () => {
      sheets.delete(name);
      link.remove();
      reject(new Error(`css/${name}.css`));
    } });
    document.head.append(link);
  }));
  return sheets.get(name);
}

/** The life of a view: what it subscribed to ends with it. */
export class Life {
  #ends = [];
  ended = false;

  add(end) {
    this.#ends.push(end);
    return end;
  }

  listen(target, type, listener, options) {
    target.addEventListener(type, listener, options);
    this.add(() => target.removeEventListener(type, listener, options));
  }

  every(milliseconds, action) {
    const timer = setInterval(action, milliseconds);
    this.add(() => clearInterval(timer));
  }

  end() {
    this.ended = true;
    for (const end of this.#ends.splice(0)) end();
  }
}
