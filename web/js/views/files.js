// The file store: firmware and other files that devices fetch by a link, or are sent block by block.

import * as api from "../api.js";
import { button, fill, h, icon, iconButton, Life, setText } from "../dom.js";
import { confirm, note, noteError } from "../dialog.js";
import { bytes, count, when } from "../format.js";
import { t } from "../i18n.js";
import { canOperate, copyText } from "../operate.js";
import * as store from "../store.js";

export class FilesPage {
  #life = new Life();
  #most = Infinity;
  #summary = h("p", { class: "summary", role: "status" }, t("loading"));
  #sending = h("div", { class: "upload-list" });
  #list = h("div", { class: "file-list" });

  constructor() {
    const input = h("input", { type: "file", class: "visually-hidden", tabindex: "-1", multiple: true, "aria-label": t("files.upload"), onchange: () => {
      this.#upload([...input.files]);
      input.value = "";
    } });
    const page = h("div", { class: "page files" },
      h("header", { class: "page-head" }, h("div", {}, h("h1", {}, t("nav.files")), this.#summary), h("div", { class: "tools" }, canOperate() ? [button(t("files.upload"), () => input.click(), { icon: "upload", kind: "primary" }), input] : null)),
      h("p", { class: "prose page-text" }, t("files.text")), this.#sending, h("div", { class: "card-body scrolling" }, this.#list));
    this.element = page;
    if (canOperate()) {
      this.#life.listen(page, "dragover", (event) => {
        if (!event.dataTransfer?.types.includes("Files")) return;
        event.preventDefault();
        page.classList.add("dropping");
      });
      this.#life.listen(page, "dragleave", (event) => {
        if (!page.contains(event.relatedTarget)) page.classList.remove("dropping");
      });
      this.#life.listen(page, "drop", (event) => {
        event.preventDefault();
        page.classList.remove("dropping");
        this.#upload([...event.dataTransfer.files]);
      });
    }
    this.#load();
  }

  end() {
    this.#life.end();
  }

  async #load() {
    try {
      const { files, total_bytes: total, max_total_bytes: most, max_file_bytes: largest } = await api.files();
      if (this.#life.ended) return;
      this.#most = largest;
      setText(this.#summary, t("files.summary", { n: files.length, count: count(files.length), used: bytes(total), most: bytes(most), largest: bytes(largest) }));
      fill(this.#list, files.length ? files.map((file) => this.#row(file)) : h("div", { class: "empty" }, icon("file", "icon hero"), h("h2", {}, t("files.none")), h("p", {}, t("files.none.hint"))));
    } catch (error) {
      setText(this.#summary, "");
      const { message, nextStep } = store.describe(error);
      fill(this.#list, h("div", { class: "empty" }, icon("warning", "icon hero"), h("h2", {}, message), h("p", {}, nextStep), button(t("again"), () => this.#load(), { icon: "refresh" })));
    }
  }

  #row(file) {
    return h("article", { class: "file-row", "aria-label": file.name }, icon("file"),
      h("div", { class: "grow" },
        h("div", { class: "file-name" }, h("strong", {}, file.name), h("span", { class: "badge plain" }, bytes(file.size_bytes)), h("span", { class: "muted" }, when(file.added_at))),
        file.damaged ? h("p", { class: "warning-line red" }, icon("warning"), h("span", {}, `${t("files.damaged")} ${file.damaged}`)) : null,
        h("p", { class: "muted hash", title: file.id }, `SHA-256 ${file.id.slice(0, 16)}…`),
        file.urls.length ? h("ul", { class: "url-list" }, file.urls.map((url) => h("li", {}, h("code", { class: "mono" }, url), iconButton("copy", t("files.copy", { scheme: url.split(":")[0] }), () => copyText(url))))) : null),
      canOperate() ? h("div", { class: "task-actions" }, iconButton("copy", t("files.copyhash"), () => copyText(file.id)), iconButton("trash", t("files.remove.of", { name: file.name }), () => this.#remove(file))) : null);
  }

  async #upload(files) {
    for (const file of files) {
      if (file.size > this.#most) {
        note(t("files.toolarge", { name: file.name, size: bytes(file.size), most: bytes(this.#most) }), { kind: "bad" });
        continue;
      }
      const bar = h("progress", { max: "100", value: 0, "aria-label": file.name });
      const words = h("span", { class: "muted" }, "0 %");
      const sending = api.addFile(file, (sent, total) => {
        const done = total ? Math.floor((100 * sent) / total) : 0;
        bar.value = done;
        // All sent is not yet all kept: the gateway still writes it down.
        setText(words, done < 100 ? `${done} % · ${bytes(sent)} / ${bytes(total)}` : t("files.keeping"));
      });
      const row = h("div", { class: "upload-row" }, icon("upload"), h("strong", {}, file.name), bar, words, iconButton("close", t("files.abort", { name: file.name }), () => sending.abort()));
      this.#sending.append(row);
      try {
        const kept = await sending.done;
        note(t("files.kept", { name: kept.name }));
      } catch (error) {
        error.message = `${file.name}: ${error.message}`;
        noteError(error);
      } finally {
        row.remove();
      }
      if (!this.#life.ended) await this.#load();
    }
  }

  async #remove(file) {
    if (!(await confirm(t("files.remove"), t("files.remove.text", { name: file.name }), t("files.remove.action")))) return;
    try {
      await api.removeFile(file.id);
      note(t("files.removed", { name: file.name }));
    } catch (error) {
      noteError(error);
    }
    await this.#load();
  }
}
