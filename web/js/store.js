// What the page knows of the gateway, and who wants to hear of it. Topics are strings; however often one is
// touched, its listeners run at most once a frame.

import * as api from "./api.js";
import { t } from "./i18n.js";
import { Stream } from "./stream.js";

const KEPT_EVENTS = 500;
const KEPT_OUTCOMES = 100;
const ONE_BY_ONE = 8; // more changed devices than this, and the list is read anew

const listeners = new Map();
const touched = new Set();

export const state = {
  session: null,
  status: null,
  devices: new Map(), // endpoint name -> DeviceRow
  loaded: false,
  detail: null, // {name, device, objects, values: Map, observations: Map, tasks: [open ones], error}
  events: [], // newest first, as they arrive
  strangers: 0, // how many knocked and wait for somebody to decide
  link: "waiting",
  pending: 0,
  outcomes: [], // {answered, rttMs}, newest last
};

export function on(topic, action, life) {
  if (!listeners.has(topic)) listeners.set(topic, new Set());
  listeners.get(topic).add(action);
  const off = () => {
    const there = listeners.get(topic);
    there?.delete(action);
    if (there?.size === 0) listeners.delete(topic);
  };
  life?.add(off);
  return off;
}

export function touch(...topics) {
  if (touched.size === 0) requestAnimationFrame(tell);
  for (const topic of topics) touched.add(topic);
}

function tell() {
  const topics = [...touched];
  touched.clear();
  for (const topic of topics) for (const action of [...(listeners.get(topic) ?? [])]) action();
}

let stream = null;
let timers = [];
const changed = new Set();

/** After login: the status, the journal from its head on, the list of devices. */
export async function start() {
  state.status = await api.status();
  stream?.close();
  stream = new Stream(state.status.journal_head ?? null, take, (link) => {
    const back = state.link === "stale" && link !== "waiting";
    state.link = link;
    touch("link");
    if (back) loadDevices().catch(() => {});
  });
  timers = [setInterval(refreshChanged, 1000), setInterval(() => touch("late"), 5000), setInterval(loadStatus, 60_000)];
  loadStrangers();
  await loadDevices();
}

export function stop() {
  stream?.close();
  stream = null;
  for (const timer of timers) clearInterval(timer);
  timers = [];
  changed.clear();
  state.devices = new Map();
  state.loaded = false;
  state.detail = null;
  state.events = [];
  state.outcomes = [];
  state.pending = 0;
}

/** Devices that speak in the clear. */
export const openDevices = () => [...state.devices.values()].filter((row) => row.security === "NoSec" && !row.gateway).length;

export async function loadStrangers() {
  try {
    const { strangers } = await api.strangers();
    state.strangers = strangers.filter((one) => one.state === "waiting").length;
    touch("status", "strangers");
  } catch {
    // The next event asks again, and the list itself says what is wrong.
  }
}

/** The count from a list that a page has read anyway. */
export function noteStrangers(strangers) {
  const waiting = strangers.filter((one) => one.state === "waiting").length;
  if (waiting === state.strangers) return;
  state.strangers = waiting;
  touch("status");
}

async function loadStatus() {
  if (document.hidden) return;
  loadStrangers();
  try {
    state.status = await api.status();
    touch("status");
  } catch {
    // The banner of the live channel tells that the gateway is away.
  }
}

let loading = null;
export function loadDevices() {
  loading ??= readDevices().finally(() => (loading = null));
  return loading;
}

async function readDevices() {
  const found = new Map();
  let after;
  do {
    const page = await api.devices(after);
    for (const row of page.devices) found.set(row.endpoint_name, row);
    after = page.next;
    if (!state.loaded) {
      // The first page is worth showing while the others are on their way.
      state.devices = new Map(found);
      touch("devices");
    }
  } while (after);
  state.devices = found;
  state.loaded = true;
  touch("devices", "status");
}

/** The state shown: a registration whose time has passed is late, whatever was last told. */
export function stateOf(row) {
  if ((row.state === "online" || row.state === "asleep") && row.expires_at && Date.parse(row.expires_at) < api.gatewayNow()) return "late";
  return row.state;
}

export const STATES = ["online", "asleep", "late", "offline", "deregistered"];

export function counts() {
  const by = Object.fromEntries(STATES.map((one) => [one, 0]));
  for (const row of state.devices.values()) by[stateOf(row)] += 1;
  return by;
}

/** Open tasks of all devices, and those of them that wait for a device. */
export function taskCounts() {
  let [open, waiting] = [0, 0];
  for (const { tasks } of state.devices.values()) {
    open += tasks?.open ?? 0;
    waiting += tasks?.waiting ?? 0;
  }
  return { open, waiting };
}

/** Whether a request would wait: the device does not listen now, and will when it wakes or comes back. */
export function sleeps(name) {
  const row = state.devices.get(name);
  return Boolean(row?.queue_mode) && stateOf(row) !== "online";
}

/** End devices below their gateway, everything else in the order it has. */
export function underGateways(rows) {
  const shown = new Set(rows.map((row) => row.endpoint_name));
  const children = new Map();
  for (const row of rows) {
    if (!row.gateway || !shown.has(row.gateway)) continue;
    if (!children.has(row.gateway)) children.set(row.gateway, []);
    children.get(row.gateway).push(row);
  }
  if (!children.size) return rows;
  return rows.filter((row) => !row.gateway || !shown.has(row.gateway)).flatMap((row) => [row, ...(children.get(row.endpoint_name) ?? [])]);
}

async function refreshChanged() {
  if (changed.size === 0 || loading) return;
  const names = [...changed];
  changed.clear();
  if (names.length > ONE_BY_ONE) {
    await loadDevices().catch(() => {});
    if (state.detail && names.includes(state.detail.name)) await loadDetail(state.detail.name);
    return;
  }
  await Promise.all(names.map(refreshDevice));
}

async function refreshDevice(name) {
  try {
    const device = await api.device(name);
    state.devices.set(name, device);
    touch("devices", `device:${name}`);
    if (state.detail?.name === name) await loadDetail(name);
  } catch (error) {
    if (error.status === 404) dropDevice(name);
  }
}

function dropDevice(name) {
  if (state.devices.delete(name)) touch("devices", `device:${name}`);
}

/** All of one device; earlier values stay on the page while it is read anew. */
export async function loadDetail(name) {
  if (state.detail?.name !== name) {
    state.detail = { name, device: null, objects: null, values: new Map(), observations: new Map(), tasks: [], error: null };
  }
  const detail = state.detail;
  try {
    const [device, { objects }, { values }, { observations }, { tasks }] = await Promise.all([
      api.device(name), api.objects(name), api.values(name), api.observations(name), api.tasks({ endpoint_name: name, state: "open" }),
    ]);
    if (state.detail !== detail) return;
    Object.assign(detail, { device, objects, tasks, error: null });
    detail.observations = new Map(observations.map((row) => [row.path, row]));
    const fresh = new Map(values.map((value) => [value.path, value]));
    for (const [path, value] of detail.values) {
      const other = fresh.get(path);
      if (other && value.at > other.at) fresh.set(path, value); // arrived while we were reading
    }
    detail.values = fresh;
    state.devices.set(name, device);
  } catch (error) {
    if (state.detail !== detail) return;
    detail.error = error;
  }
  touch("detail", "values", "devices");
}

async function loadTasks(name) {
  try {
    const { tasks } = await api.tasks({ endpoint_name: name, state: "open" });
    if (state.detail?.name !== name) return;
    state.detail.tasks = tasks;
    touch("values");
  } catch {
    // What was known stays; the next event asks again.
  }
}

/** Hear of a task until it has ended: `action` gets its events, those of the journal with its number. */
const followed = new Map();
export function followTask(id, action) {
  followed.set(id, action);
  return () => followed.delete(id);
}

function tellTask(event) {
  const action = followed.get(event.task);
  if (!action) return;
  if (!["waiting", "queued", "sent"].includes(event.state)) followed.delete(event.task);
  action(event);
}

async function loadObservations(name) {
  try {
    const { observations } = await api.observations(name);
    if (state.detail?.name !== name) return;
    state.detail.observations = new Map(observations.map((row) => [row.path, row]));
    touch("values", "observations");
  } catch {
    // What was known stays; the next event asks again.
  }
}

function take(event) {
  if (event.kind === "reset") {
    loadDevices().catch(() => {});
    if (state.detail) loadDetail(state.detail.name);
    return;
  }
  state.events.unshift(event);
  if (state.events.length > KEPT_EVENTS) state.events.length = KEPT_EVENTS;
  touch("events");
  const name = event.endpoint_name;
  const row = state.devices.get(name);
  switch (event.kind) {
    case "value":
    case "send":
      keepValues(name, event.values ?? [], event.gone ?? []);
      if (row && (event.kind === "send" || event.values?.some((value) => value.source === "notify"))) row.last_seen_at = event.at;
      touch("devices");
      break;
    case "task":
      changed.add(name);
      tellTask(event);
      touch("tasks", "task-list");
      if (state.detail?.name === name) loadTasks(name);
      break;
    case "operation":
      if (event.task) {
        tellTask(event);
        touch("task-list");
        if (row?.tasks?.open) changed.add(name);
        if (state.detail?.name === name && state.detail.tasks.some((one) => one.id === event.task)) loadTasks(name);
      }
      noteOutcome(Boolean(event.code), event.rtt_ms ?? null);
      if (row && event.code) row.last_seen_at = event.at;
      // Somebody else's, perhaps: what it changes is not in the event.
      if (event.ok && ["Create", "Delete"].includes(event.operation)) changed.add(name);
      if (["Observe", "Cancel"].includes(event.operation) && state.detail?.name === name) loadObservations(name);
      touch("devices");
      break;
    case "observation":
      changed.add(name);
      if (state.detail?.name === name) loadObservations(name);
      break;
    case "stranger":
      loadStrangers();
      break;
    case "removed":
      dropDevice(name);
      break;
    default:
      changed.add(name); // registered, updated, deregistered, expired and what later versions add
  }
}

function keepValues(name, values, gone) {
  const row = state.devices.get(name);
  const detail = state.detail?.name === name ? state.detail : null;
  for (const value of values) {
    if (row) {
      if (value.path === "/3/0/9") row.battery = value.value;
      else if (value.path === "/4/0/2") row.rssi = value.value;
      else if (value.path === "/3/0/0") row.manufacturer = value.value;
      else if (value.path === "/3/0/1") row.model = value.value;
    }
    const known = detail?.values.get(value.path);
    if (detail && !(known && known.at > value.at)) detail.values.set(value.path, value);
  }
  if (detail) {
    for (const path of gone) detail.values.delete(path);
    touch("values");
  }
}

function noteOutcome(answered, rttMs) {
  state.outcomes.push({ answered, rttMs });
  if (state.outcomes.length > KEPT_OUTCOMES) state.outcomes.shift();
  touch("tasks");
}

/** Share of requests that were answered (0 to 1) and their median round trip; null when there were none. */
export function statistics() {
  const { outcomes } = state;
  if (outcomes.length === 0) return null;
  const times = outcomes.map((one) => one.rttMs).filter((time) => time !== null).sort((a, b) => a - b);
  return {
    reliability: outcomes.filter((one) => one.answered).length / outcomes.length,
    rttMs: times.length ? times[Math.floor(times.length / 2)] : null,
  };
}

async function task(action) {
  state.pending += 1;
  touch("tasks");
  try {
    const outcome = await action();
    // The journal tells of every operation too, but not yet of its round trip.
    if (outcome?.rtt_ms) state.outcomes.push({ answered: true, rttMs: outcome.rtt_ms });
    return outcome;
  } finally {
    state.pending -= 1;
    touch("tasks");
  }
}

/**
 * One operation; values that come back are kept, changes of instances are read again. Throws ApiError.
 * For a device that does not listen now the answer is {queued: true, ok: true, task, state, expected_at, words}.
 */
export async function operate(name, operation) {
  const outcome = await task(() => api.operate(name, operation));
  if (outcome.task && outcome.code === undefined) {
    changed.add(name);
    if (state.detail?.name === name) loadTasks(name);
    touch("task-list");
    return { ...outcome, queued: true, ok: true, operation: operation.operation, path: operation.path ?? "", values: [] };
  }
  keepValues(name, outcome.values ?? [], []);
  if (outcome.ok && (operation.operation === "Create" || operation.operation === "Delete")) await loadDetail(name);
  return outcome;
}

export async function observe(name, path, attributes) {
  try {
    const outcome = await task(() => api.observe(name, path, attributes));
    keepValues(name, outcome.values ?? [], []);
    return outcome;
  } finally {
    await loadObservations(name);
  }
}

export async function cancelObservation(name, path) {
  try {
    return await task(() => api.cancelObservation(name, path));
  } finally {
    await loadObservations(name);
  }
}

export async function observeComposite(name, paths, attributes) {
  try {
    const outcome = await task(() => api.observeComposite(name, paths, attributes));
    keepValues(name, outcome.values ?? [], []);
    return outcome;
  } finally {
    await loadObservations(name);
  }
}

/** Open tasks that name a path, or something above it. */
export function tasksOf(path) {
  return (state.detail?.tasks ?? []).filter((one) => [one.path, ...(one.paths ?? [])].some((at) => at && (path === at || path.startsWith(`${at}/`))));
}

export async function cancelTask(id) {
  const row = await api.cancelTask(id);
  touch("task-list");
  if (state.detail?.name === row.endpoint_name) await loadTasks(row.endpoint_name);
  return row;
}

export async function forget(name) {
  await api.forgetDevice(name);
  dropDevice(name);
}

/** How a path is observed: {state, path, reason, attributes} of itself or of what contains it, or null. */
export function observationOf(path) {
  const observations = state.detail?.observations;
  if (!observations) return null;
  for (let at = path; at; at = at.slice(0, at.lastIndexOf("/"))) {
    const found = observations.get(at);
    if (found) return found;
  }
  for (const row of observations.values()) if (row.composite && row.paths?.some((at) => path === at || path.startsWith(`${at}/`))) return row;
  return null;
}

export function describe(error) {
  return { message: error.message || t("error.unknown"), nextStep: error.nextStep ?? "" };
}
