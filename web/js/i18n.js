// Words. A message is a string with {names}, or an object of plural forms chosen by {n}.

export const LANGUAGES = { en: "English", es: "Español" };
const RIGHT_TO_LEFT = new Set(["ar", "fa", "he", "ur"]);

let language = "en";
let messages = {};
let fallback = {};
let plural = new Intl.PluralRules("en");

async function load(code, part = "") {
  const response = await fetch(`i18n/${part}${code}.json`);
  if (!response.ok) throw new Error(`the messages of ${code} are missing`);
  return response.json();
}

/** Load the language chosen before, else one the browser asks for, else English. */
export async function startLanguage() {
  let chosen = null;
  try {
    chosen = localStorage.getItem("homard.language");
  } catch {
    // Storage may be refused; the browser's languages decide then.
  }
  const wanted = [chosen, ...navigator.languages.map((tag) => tag.split("-")[0])].find((code) => code && /^[a-z]{2,3}$/.test(code) && (code in LANGUAGES || code === chosen));
  fallback = await load("en");
  await useLanguage(wanted ?? "en");
}

async function useLanguage(code) {
  try {
    messages = code === "en" ? fallback : await load(code);
    language = code;
  } catch {
    messages = fallback;
    language = "en";
  }
  try {
    plural = new Intl.PluralRules(language);
  } catch {
    plural = new Intl.PluralRules("en");
  }
  document.documentElement.lang = language;
  document.documentElement.dir = RIGHT_TO_LEFT.has(language) ? "rtl" : "ltr";
}

const parts = new Map();

/** The words of pages that are fetched later, from a folder of their own: i18n/PART/en.json. */
export function addWords(part) {
  if (!parts.has(part)) parts.set(part, readWords(part).catch((error) => {
    parts.delete(part);
    throw error;
  }));
  return parts.get(part);
}

async function readWords(part) {
  Object.assign(fallback, await load("en", `${part}/`));
  if (language === "en") return;
  try {
    Object.assign(messages, await load(language, `${part}/`));
  } catch {
    // English is better than keys.
  }
}

export function chooseLanguage(code) {
  try {
    localStorage.setItem("homard.language", code);
  } catch {
    // The choice then lasts as long as the page.
  }
  location.reload();
}

export const currentLanguage = () => language;

/** The message of a key with its {names} filled in; the key itself when nobody wrote it. */
export function t(key, parameters = {}) {
  let message = messages[key] ?? fallback[key] ?? key;
  if (typeof message === "object") message = message[plural.select(Number(parameters.n))] ?? message.other;
  return message.replace(/\{(\w+)\}/g, (whole, name) => (name in parameters ? String(parameters[name]) : whole));
}
