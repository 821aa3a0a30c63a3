// The part of the HTTP API that decides who is trusted.

import { address, get, logAddress, post, request } from "../../api.js";

const vault = (name, ...more) => address("vault", "devices", name, ...more);

export const devices = () => get("/vault/devices");
export const device = (name) => get(vault(name));
export const addDevice = (body) => post("/vault/devices", body);
export const changeDevice = (name, body) => request("PATCH", vault(name), { json: body });
export const removeDevice = (name) => request("DELETE", vault(name));
export const rotate = (name, body) => post(vault(name, "rotate"), body);
export const revoke = (name, reason) => post(vault(name, "revoke"), { reason });
export const reinstate = (name) => post(vault(name, "reinstate"), {});
export const rebootstrap = (name) => post(vault(name, "rebootstrap"), {});
export const givePlan = (body) => post("/vault/plan", body);
export const rebootstrapMany = (body) => post("/vault/rebootstrap", body);
export const withdrawRebootstrap = (names) => post("/vault/rebootstrap/withdraw", { endpoint_names: names });
export const importDevices = (body, type, dryRun) => request("POST", "/vault/import", { query: { dry_run: dryRun ? "true" : "" }, body, type });
export const groups = () => get("/vault/groups");
export const audit = (before, limit) => get("/vault/audit", { before, limit });

export const accounts = () => get("/accounts");
export const permissions = () => get("/vault/permissions");
export const putPermissions = (account, rights) => request("PUT", address("vault", "permissions", account), { json: { groups: rights } });
export const removePermissions = (account) => request("DELETE", address("vault", "permissions", account));

export const strangers = () => get("/strangers");
export const decide = (id, what) => post(address("strangers", id, what), {});
export const forgetStranger = (id) => request("DELETE", address("strangers", id));

export const plans = () => get("/bootstrap/plans");
export const plan = (id) => get(address("bootstrap", "plans", id));
export const putPlan = (id, body) => (id ? request("PUT", address("bootstrap", "plans", id), { json: body }) : post("/bootstrap/plans", body));
export const removePlan = (id) => request("DELETE", address("bootstrap", "plans", id));
export const checkPlan = (body) => post("/bootstrap/plans/check", body);
export const sessions = (name, limit = 50) => get("/bootstrap/sessions", { endpoint_name: name, limit });
export const session = (id) => get(address("bootstrap", "sessions", id));

export const authority = () => get("/authority");
export const anchors = () => get("/authority/anchors");
export const addAnchor = (body) => request("POST", "/authority/anchors", { body, type: "application/octet-stream" });
export const removeAnchor = (fingerprint) => request("DELETE", address("authority", "anchors", fingerprint));
export const sign = (name, csr) => post("/authority/sign", { endpoint_name: name, csr_pem: csr });

// Addresses of files, for links.
export const labelAddress = (name) => logAddress(vault(name, "label.svg"));
export const sheetAddress = (group) => logAddress("/vault/labels.svg", { group });
export const exportAddress = (format) => logAddress("/vault/export", { format });
export const crlAddress = () => logAddress("/authority/crl");
