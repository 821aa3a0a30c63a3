// The gateway's HTTP API. Every failure is one ApiError with a message and, where there is one, the next step.

import { t } from "./i18n.js";

const ROOT = "api/v1";

let csrf = null;
let skewMs = 0;
let onUnauthorized = () => {};

export class ApiError extends Error {
  constructor(status, code, message, nextStep) {
    super(message);
    this.status = status;
    this.code = code;
    this.nextStep = nextStep;
  }
}

/** What to do when the session has ended. */
export function whenUnauthorized(action) {
  onUnauthorized = action;
}

/** The gateway's clock in epoch milliseconds, as far as its Date headers tell. */
export const gatewayNow = () => Date.now() + skewMs;

export const address = (...parts) => `/${parts.map(encodeURIComponent).join("/")}`;

/** JSON where whole numbers beyond 2^53 (BigInt) keep every digit. */
export function toJson(value) {
  const mark = `big${crypto.getRandomValues(new Uint32Array(2)).join("")}:`;
  const text = JSON.stringify(value, (_, member) => (typeof member === "bigint" ? mark + member : member));
  return text.replace(new RegExp(`"${mark}(-?\\d+)"`, "g"), "$1");
}

export async function request(method, path, { query, json, body, type, signal, quiet = false } = {}) {
  const headers = { Accept: "application/json" };
  if (method !== "GET" && csrf) headers["X-CSRF-Token"] = csrf;
  if (json !== undefined) headers["Content-Type"] = "application/json";
  if (type) headers["Content-Type"] = type;
  let response;
  try {
    response = await fetch(ROOT + path + search(query), {
      method, headers, signal, credentials: "same-origin", cache: "no-store", redirect: "error",
      body: json !== undefined ? toJson(json) : body,
    });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new ApiError(0, "offline", t("error.offline"), t("error.offline.next"));
  }
  noteClock(response);
  if (response.status === 204) return null;
  const answer = parsed(await response.text());
  if (response.ok) return answer;
  if (response.status === 401 && !quiet) onUnauthorized();
  throw failure(response.status, answer);
}

function search(query) {
  const parameters = new URLSearchParams();
  for (const [name, value] of Object.entries(query ?? {})) {
    if (value !== undefined && value !== null && value !== "") parameters.set(name, value);
  }
  return parameters.size ? `?${parameters}` : "";
}

function parsed(text) {
  try {
    return text ? JSON.parse(text) : null;
  } catch {
    return null; // A proxy's page, perhaps: the status is all there is to say.
  }
}

function failure(status, answer) {
  const told = answer?.error;
  const error = new ApiError(status, told?.code ?? "failed", told?.message ?? t("error.status", { status }), told?.next_step ?? "");
  error.answer = answer;
  return error;
}

function noteClock(response) {
  const date = Date.parse(response.headers.get("Date") ?? "");
  // Date has whole seconds: a difference below two seconds says nothing.
  if (date) skewMs = Math.abs(date - Date.now()) < 2000 ? 0 : date - Date.now() + 500;
}

function opened(session) {
  csrf = session.csrf;
  return session;
}

export const get = (path, query, more) => request("GET", path, { query, ...more });
export const post = (path, json) => request("POST", path, { json });

export const setupState = () => get("/setup");
export const setup = async (code, name, password) => opened(await request("POST", "/setup", { json: { code, name, password }, quiet: true }));
export const session = async () => opened(await get("/session", undefined, { quiet: true }));
export const login = async (name, password) => opened(await request("POST", "/session", { json: { name, password }, quiet: true }));
export const logout = () => request("DELETE", "/session", { quiet: true });

export const status = () => get("/status");
export const devices = (after, limit = 500) => get("/devices", { after, limit });
export const device = (name) => get(address("devices", name));
export const forgetDevice = (name) => request("DELETE", address("devices", name));
export const objects = (name) => get(`${address("devices", name)}/objects`);
export const values = (name, path = "/") => get(`${address("devices", name)}/values`, { path });
export const observations = (name) => get(`${address("devices", name)}/observations`);
export const operate = (name, operation) => post(`${address("devices", name)}/operations`, operation);
export const observe = (name, path, attributes) => request("PUT", `${address("devices", name)}/observations`, { query: { path }, json: { attributes } });
export const cancelObservation = (name, path) => request("DELETE", `${address("devices", name)}/observations`, { query: { path } });

export const observeComposite = (name, paths, attributes) => post(`${address("devices", name)}/observations/composite`, { paths, attributes });
export const setAwake = (name, awakeS) => request("PUT", `${address("devices", name)}/awake`, { json: { awake_s: awakeS } });
export const timeline = (name, before, limit = 100) => get(`${address("devices", name)}/timeline`, { before, limit });

export const tasks = (query) => get("/tasks", query);
export const submit = (order) => post("/tasks", order);
export const cancelTask = (id) => request("DELETE", address("tasks", id));
export const retryTask = (id) => request("POST", `${address("tasks", id)}/retry`);

export const templates = () => get("/templates");
export const putTemplate = (id, template) => (id ? request("PUT", address("templates", id), { json: template }) : post("/templates", template));
export const removeTemplate = (id) => request("DELETE", address("templates", id));
export const profiles = () => get("/profiles");
export const putProfile = (pid, links) => request("PUT", address("profiles", pid), { json: { links } });
export const removeProfile = (pid) => request("DELETE", address("profiles", pid));

export const log = (query) => get("/log", query);
/** Of the live log and of its downloads: "/log/stream", "/log.txt", "/log.pcap". */
export const logAddress = (path, query) => `${ROOT}${path}${search(query)}`;

export const files = () => get("/files");
export const removeFile = (id) => request("DELETE", address("files", id));

/** Store a file; `progress(sent, total)`. fetch does not tell how far an upload is, so this is the older way. */
export function addFile(file, progress) {
  const sending = new XMLHttpRequest();
  const done = new Promise((resolve, reject) => {
    sending.open("POST", `${ROOT}/files${search({ name: file.name })}`);
    sending.setRequestHeader("Accept", "application/json");
    sending.setRequestHeader("Content-Type", file.type || "application/octet-stream");
    if (csrf) sending.setRequestHeader("X-CSRF-Token", csrf);
    sending.upload.addEventListener("progress", (event) => progress(event.loaded, event.total));
    sending.addEventListener("error", () => reject(new ApiError(0, "offline", t("error.offline"), t("error.offline.next"))));
    sending.addEventListener("abort", () => reject(new ApiError(0, "aborted", t("files.aborted"), "")));
    sending.addEventListener("load", () => {
      const answer = parsed(sending.responseText);
      if (sending.status < 300) return resolve(answer);
      if (sending.status === 401) onUnauthorized();
      return reject(failure(sending.status, answer));
    });
    sending.send(file);
  });
  return { done, abort: () => sending.abort() };
}

export const models = () => get("/models");
export const model = (id, version) => get(address("models", id), { version });
export const addModel = (xml) => request("POST", "/models", { body: xml, type: "application/xml" });
export const removeModel = (id, version) => request("DELETE", address("models", id), { query: { version } });

export const strangers = () => get("/strangers");
export const events = (after, limit, endpointName) => get("/events", { after, limit, endpoint_name: endpointName });

export const tokens = () => get("/tokens");
export const createToken = (token) => post("/tokens", token);
export const revokeToken = (id) => request("DELETE", address("tokens", id));
export const changePassword = async (name, current, password) => {
  const session = await request("PUT", `${address("accounts", name)}/password`, { json: { current_password: current, password }, quiet: true });
  if (session?.csrf) opened(session);
};

export const streamAddress = (after) => `${ROOT}/stream${after === null ? "" : `?after=${after}`}`;
