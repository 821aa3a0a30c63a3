// Start: language, who is there, then the page that fits.

import * as api from "./api.js";
import { noteError, startTooltips } from "./dialog.js";
import { button, fill, h } from "./dom.js";
import { startAges } from "./format.js";
import { startLanguage, t } from "./i18n.js";
import * as store from "./store.js";
import { loginPage, setupPage } from "./views/entrance.js";
import { Shell } from "./views/shell.js";

const app = document.getElementById("app");
let shell = null;

async function open(session) {
  store.state.session = session;
  shell?.end();
  shell = new Shell(app, { onLogout: leave });
  try {
    await store.start();
  } catch (error) {
    if (error.status !== 401) noteError(error);
  }
}

function close() {
  shell?.end();
  shell = null;
  store.stop();
  store.state.session = null;
}

function showLogin(message = "") {
  close();
  fill(app, loginPage(open, message));
}

async function leave() {
  try {
    await api.logout();
  } catch (error) {
    if (error.status !== 401) return noteError(error);
  }
  return showLogin();
}

async function begin() {
  try {
    await open(await api.session());
  } catch (error) {
    if (error.status !== 401) return showUnreachable(error);
    try {
      const { needed } = await api.setupState();
      if (needed) fill(app, setupPage(open));
      else showLogin();
    } catch (failure) {
      showUnreachable(failure);
    }
  }
  return undefined;
}

function showUnreachable(error) {
  fill(app, h("main", { class: "entrance" }, h("section", { class: "entrance-card" },
    h("h1", {}, t("unreachable")), h("p", { class: "prose" }, error.message), error.nextStep ? h("p", { class: "prose" }, error.nextStep) : null,
    button(t("again"), begin, { kind: "primary", icon: "refresh" }))));
}

await startLanguage();
startTooltips();
startAges();
api.whenUnauthorized(() => {
  if (shell) showLogin(t("login.ended"));
});
await begin();
