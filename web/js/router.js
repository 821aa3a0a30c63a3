// Deep links: #/devices, #/devices/NAME, #/devices/NAME/3303/0;3/0 (two panels), …/info, …/events, #/models/3.

/** {page, name?, panels?: [{kind, objectId, instanceId, resourceId}], …} of a hash. */
export function parse(hash) {
  const [place, query = ""] = hash.replace(/^#\/?/, "").split("?");
  const [page, first, ...rest] = place.split("/");
  if (page === "devices" && first) {
    const panels = rest.join("/").split(";").map(panel).filter(Boolean);
    return { page: "device", name: decode(first), panels };
  }
  if (page === "models") return { page, id: /^\d+$/.test(first ?? "") ? Number(first) : null, version: new URLSearchParams(query).get("version") };
  if (page === "tasks") return { page, query: new URLSearchParams(query) };
  if (page === "log") return { page, query: new URLSearchParams(query) };
  if (page === "security") return { page, view: first || "keys", rest: rest.map(decode), query: new URLSearchParams(query) };
  if (["events", "access", "templates", "files"].includes(page)) return { page };
  return { page: "fleet" };
}

function panel(text) {
  if (["info", "events", "tasks", "composite"].includes(text)) return { kind: text, key: text };
  const ids = text.split("/");
  if (!ids.length || ids.length > 3 || !ids.every((id) => /^\d{1,5}$/.test(id))) return null;
  const [objectId, instanceId = null, resourceId = null] = ids.map(Number);
  return { kind: "instance", objectId, instanceId, resourceId, key: instanceId === null ? `${objectId}` : `${objectId}/${instanceId}` };
}

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

export function deviceHash(name, panels = []) {
  return `#/devices/${encodeURIComponent(name)}${panels.length ? `/${panels.map((one) => (typeof one === "string" ? one : one.key)).join(";")}` : ""}`;
}

export function go(hash, replace = false) {
  if (location.hash === hash) return;
  if (replace) {
    history.replaceState(null, "", hash);
    dispatchEvent(new HashChangeEvent("hashchange"));
  } else {
    location.hash = hash;
  }
}
