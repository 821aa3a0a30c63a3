// Values, ages and numbers as people read them.

import { currentLanguage, t } from "./i18n.js";
import { gatewayNow } from "./api.js";
import { h, setText } from "./dom.js";

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** "3 min ago" for an ISO time, by the gateway's clock. */
export function age(iso) {
  if (!iso) return t("age.never");
  const passed = gatewayNow() - Date.parse(iso);
  if (passed < -5 * MINUTE) return when(iso); // its clock is ahead: the date says more than an age
  if (passed < 2 * SECOND) return t("age.now");
  if (passed < MINUTE) return t("age.seconds", { n: Math.floor(passed / SECOND) });
  if (passed < HOUR) return t("age.minutes", { n: Math.floor(passed / MINUTE) });
  if (passed < DAY) return t("age.hours", { n: Math.floor(passed / HOUR) });
  return t("age.days", { n: Math.floor(passed / DAY) });
}

const dateFormats = new Map();
function dateFormat(options) {
  const key = currentLanguage() + JSON.stringify(options);
  if (!dateFormats.has(key)) {
    let made;
    try {
      made = new Intl.DateTimeFormat(currentLanguage(), options);
    } catch {
      made = new Intl.DateTimeFormat("en", options);
    }
    dateFormats.set(key, made);
  }
  return dateFormats.get(key);
}

/** Date and time in the browser's zone. */
export function when(iso) {
  const time = Date.parse(iso ?? "");
  return Number.isNaN(time) ? (iso ?? "–") : dateFormat({ dateStyle: "medium", timeStyle: "medium" }).format(time);
}

/** The words of an event of the journal without the operation, path and state that the page shows beside them. */
export function eventWords({ operation, path, state, words }) {
  const text = words ?? "";
  const begin = [[operation, path, state], [operation, path]].map((parts) => `${parts.filter(Boolean).join(" ")}: `).find((one) => operation && text.startsWith(one));
  return begin ? text.slice(begin.length) : text;
}

/** "14:05", with the date when it is not today; to the minute. */
export function moment(iso) {
  const time = Date.parse(iso);
  const near = new Date(time).toDateString() === new Date(gatewayNow()).toDateString();
  return dateFormat(near ? { hour: "2-digit", minute: "2-digit", hourCycle: "h23" } : { month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", hourCycle: "h23" }).format(time);
}

/** "14:05" when that is still to come, else "". */
export const due = (iso) => (iso && Date.parse(iso) > gatewayNow() ? moment(iso) : "");

/** When a sleeper is expected: "expected 14:05", or that the time has passed; "" when nobody knows. */
export function expected(iso) {
  if (!iso) return "";
  return t(Date.parse(iso) + MINUTE < gatewayNow() ? "expected.overdue" : "expected.at", { time: moment(iso) });
}

/** "14:05:09.250": of messages that follow each other in milliseconds. */
export function precise(iso) {
  return dateFormat({ hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, hourCycle: "h23" }).format(Date.parse(iso));
}

export function clockTime(iso) {
  return dateFormat({ hour: "2-digit", minute: "2-digit", second: "2-digit" }).format(Date.parse(iso));
}

/** A <time> that grows older by itself. */
export function ageElement(iso, className = "age") {
  const element = h("time", { class: className });
  setAge(element, iso);
  return element;
}

export function setAge(element, iso) {
  element.dataset.at = iso ?? "";
  if (iso) {
    element.dateTime = iso;
    element.title = when(iso);
  }
  setText(element, age(iso));
}

/** Once a second every age on the page; rows are bounded, so this is cheap. */
export function startAges() {
  setInterval(() => {
    if (document.hidden) return;
    for (const element of document.querySelectorAll("time[data-at]")) setText(element, age(element.dataset.at));
  }, SECOND);
}

export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds === 0) return t("duration.forever");
  if (seconds < 120) return t("duration.seconds", { n: seconds });
  if (seconds < 7200) return t("duration.minutes", { n: Math.round(seconds / 60) });
  if (seconds < 172800) return t("duration.hours", { n: Math.round(seconds / 3600) });
  return t("duration.days", { n: Math.round(seconds / 86400) });
}

export function count(number) {
  return Number(number).toLocaleString(currentLanguage());
}

export function milliseconds(value) {
  if (value === null || value === undefined) return "";
  return value >= 1000 ? `${(value / 1000).toLocaleString(currentLanguage(), { maximumFractionDigits: 1 })} s` : `${Math.round(value)} ms`;
}

export function bytes(value) {
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  if (value < 1e9) return `${(value / 1e6).toFixed(1)} MB`;
  return `${(value / 1e9).toFixed(1)} GB`;
}

const UNITS = { Cel: "°C", "%RH": "% RH", lx: "lx", "/100": "%", "%": "%", degC: "°C", C: "°C", cel: "°C" };

export const units = (text) => UNITS[text] ?? text ?? "";

// Numbers of the specification whose meaning every user asks for (OMA Core, appendices E and G).
const ENUMERATIONS = {
  "3/6": ["power.dc", "power.internal", "power.external", "power.fuelcell", "power.poe", "power.usb", "power.ac", "power.solar"],
  "3/11": ["fault.none", "fault.lowbattery", "fault.supplyoff", "fault.gps", "fault.signal", "fault.memory", "fault.sms", "fault.ip", "fault.peripheral"],
  "3/20": ["battery.normal", "battery.charging", "battery.complete", "battery.damaged", "battery.low", "battery.absent", "battery.unknown"],
  "5/3": ["firmware.idle", "firmware.downloading", "firmware.downloaded", "firmware.updating"],
};

/** The meaning of a number, where the specification gives it one. */
export function meaning(path, value) {
  const [objectId, , resourceId] = path.slice(1).split("/");
  const key = ENUMERATIONS[`${objectId}/${resourceId}`]?.[value];
  return key ? t(key) : "";
}

/** What is shown for a value of the API: {text, unit}. */
export function shown(value) {
  const { type, text } = value;
  switch (type) {
    case "boolean":
      return { text: value.value ? t("value.true") : t("value.false"), unit: "" };
    case "time":
      return { text: when(value.value), unit: "" };
    case "opaque":
      return { text: spacedHex(text), unit: text ? t("value.bytes", { n: text.length / 2 }) : t("value.bytes", { n: 0 }) };
    case "objlnk":
      return { text: text === "65535:65535" ? t("value.nolink") : text, unit: "" };
    case "float":
      return { text: tidy(text), unit: units(value.units) };
    case "string":
      return { text: text === "" ? "“”" : text, unit: units(value.units) };
    default: {
      const word = meaning(value.path, value.value);
      return { text, unit: word ? `– ${word}` : units(value.units) };
    }
  }
}

function tidy(text) {
  // 21.299999237060547 is a 32-bit float told in 64 bits; seven digits are what it knew.
  if (text.length < 10 || !/^-?\d+\.\d+$/.test(text)) return text;
  return String(Number(Number(text).toPrecision(7)));
}

function spacedHex(hex) {
  const part = hex.slice(0, 64).replace(/(..)(?=.)/g, "$1 ");
  return hex.length > 64 ? `${part} …` : part;
}
