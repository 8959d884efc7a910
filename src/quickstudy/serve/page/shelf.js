// The learners on the server, to come back to or to delete.

import { Refused, Unreachable, ask } from "./api.js";
import * as memory from "./memory.js";
import { counted, make } from "./rows.js";

const AT_ONCE = 200; // learners asked for at once

const $ = (id) => document.getElementById(id);

/** Ask in a dialog, in words; whether the answer is yes. */
export function sure(text, yes = "Delete", no = "Keep it") {
  const dialog = $("sure");
  $("sure-text").textContent = text;
  $("sure-yes").textContent = yes;
  $("sure-no").textContent = no;
  dialog.returnValue = "";
  dialog.showModal();
  $("sure-no").focus();
  return new Promise((done) => dialog.addEventListener("close", () => done(dialog.returnValue === "yes"), { once: true }));
}

export function listenToSure() {
  $("sure-yes").addEventListener("click", () => $("sure").close("yes"));
  $("sure-no").addEventListener("click", () => $("sure").close(""));
}

/** The dialog with the list. `open(id)` and `deleted(id)` tell what a person did. */
export class Shelf {
  #next = null;
  #known = [];

  constructor({ open, deleted, current }) {
    this.acts = { open, deleted, current };
    $("open-list").addEventListener("click", () => this.show());
    $("close-list").addEventListener("click", () => $("list").close());
    $("more").addEventListener("click", () => this.#page());
  }

  async show() {
    this.#known = [];
    this.#next = null;
    $("learners").replaceChildren();
    if (!$("list").open) $("list").showModal();
    $("close-list").focus();
    await this.#page();
  }

  async #page() {
    $("list-error").textContent = "";
    try {
      const after = this.#next ? `&after=${encodeURIComponent(this.#next)}` : "";
      const page = await ask("GET", `learners?limit=${AT_ONCE}${after}`);
      this.#next = page.next;
      $("more").hidden = !this.#next;
      this.#known.push(...page.learners); // they come in the order of their ids: by chance
      this.#known.sort((a, b) => Date.parse(b.updated) - Date.parse(a.updated));
      $("learners").replaceChildren(...this.#known.map((learner) => this.#item(learner)));
      if (!this.#known.length) $("learners").append(make("li", { className: "soft" }, "None yet: teach one and it is listed here."));
    } catch (error) {
      if (!(error instanceof Refused || error instanceof Unreachable)) throw error;
      $("list-error").textContent = error.message;
    }
  }

  #item(learner) {
    const names = learner.classes.map(({ name }) => name).join(", ") || "no classes";
    const title = learner.name || names;
    const held = learner.classes.reduce((sum, { examples }) => sum + examples, 0);
    const now = learner.id === this.acts.current();
    const facts = [learner.name ? names : "", counted(held, "example"), learner.model, when(learner.updated), now ? "on the page now" : ""];
    const open = make("button", { type: "button", className: "link" }, title);
    const remove = make("button", { type: "button", className: "quiet", "aria-label": `Delete learner ${title}` }, "Delete");
    const item = make("li", {}, make("div", {}, open, make("p", { className: "soft small" }, facts.filter(Boolean).join(" · "))), remove);
    open.addEventListener("click", () => {
      $("list").close();
      this.acts.open(learner.id);
    });
    remove.addEventListener("click", () => this.#delete(learner, title, item));
    return item;
  }

  async #delete(learner, title, item) {
    if (!(await sure(`Delete the learner “${title}” from the server? What it was taught is gone then.`))) return;
    try {
      await ask("DELETE", `learners/${learner.id}`);
    } catch (error) {
      if (!(error instanceof Refused && error.status === 404)) {
        $("list-error").textContent = error.message;
        return;
      }
    }
    memory.forget(learner.id);
    this.#known = this.#known.filter((each) => each !== learner);
    item.remove();
    $("close-list").focus();
    this.acts.deleted(learner.id);
  }
}

function when(text) {
  const date = new Date(text);
  if (Number.isNaN(date.valueOf())) return "";
  const year = date.getFullYear() === new Date().getFullYear() ? undefined : "numeric";
  return date.toLocaleString([], { year, month: "short", day: "numeric", hour: "2-digit", minute: "2-digit" });
}
