// The list of classes: a row each, with its name, its bar, its examples and what can be done with it.

import { total } from "./lesson.js";
import { bitmapOf } from "./samples.js";

const SHOWN = 8; // examples in a row

/** An element with properties, attributes (where a name has a dash or is no property) and children. */
export function make(tag, given = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(given)) {
    if (name in element) element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

export const percent = (p) => (p > 0.995 ? ">99 %" : p < 0.005 ? "<1 %" : `${Math.round(100 * p)} %`);

export const counted = (n, one, many = `${one}s`) => `${n} ${n === 1 ? one : many}`;

/** Rows for the classes of a lesson, kept from one update to the next so that focus stays where it is. */
export class Rows {
  #rows = new Map();

  /** `acts`: teach(one), files(one, files), rename(one, name) -> why not, remove(one). */
  constructor(list, acts) {
    this.list = list;
    this.acts = acts;
  }

  /** Show classes; `state` has {input, prediction, before, files: words, accept: types of files}. */
  update(classes, state) {
    for (const [one, row] of this.#rows) {
      if (classes.includes(one)) continue;
      row.root.remove();
      this.#rows.delete(one);
    }
    classes.forEach((one, at) => {
      if (!this.#rows.has(one)) this.#rows.set(one, new Row(one, this.acts));
      const row = this.#rows.get(one);
      if (this.list.children[at] !== row.root) this.list.insertBefore(row.root, this.list.children[at] ?? null);
      row.update(state);
    });
  }

  /** The class whose row holds an element, if any. */
  holding(element) {
    for (const [one, row] of this.#rows) if (row.root.contains(element)) return one;
    return null;
  }

  /** Put the focus on a class: on its name while that can be changed. */
  focus(one) {
    const row = this.#rows.get(one);
    if (row.name.isConnected) row.name.select();
    else row.teach.focus();
  }
}

/** Say whether a button does anything now. It keeps the focus either way, as a disabled one does not. */
export function able(button, yes) {
  button.setAttribute("aria-disabled", String(!yes));
}

let made = 0;

class Row {
  #shown = null;

  constructor(one, acts) {
    this.one = one;
    const id = `class-${++made}`;
    this.name = make("input", { type: "text", maxLength: 60, autocomplete: "off", spellcheck: false, value: one.name, "aria-label": "Name of the class" });
    this.name.setAttribute("aria-describedby", `${id}-error`);
    this.title = make("h3", { id: `${id}-title` });
    this.share = make("span", { className: "share num", ariaHidden: "true" });
    this.fill = make("span", { className: "fill" });
    this.tick = make("span", { className: "tick", hidden: true });
    this.bar = make("div", { className: "bar", role: "meter", "aria-valuemin": 0, "aria-valuemax": 100 }, this.fill, this.tick);
    this.samples = make("ul", { className: "samples" });
    this.count = make("span", { className: "count soft small" });
    this.teach = make("button", { type: "button", className: "teach" });
    this.chosen = make("input", { type: "file", multiple: true, hidden: true });
    this.choose = make("button", { type: "button", className: "quiet" });
    this.remove = make("button", { type: "button", className: "quiet cross" }, "✕");
    this.error = make("p", { id: `${id}-error`, className: "error", role: "alert" });
    this.head = make("div", { className: "head" }, this.name, this.count, this.share, this.remove);
    const buttons = make("div", { className: "acts" }, this.teach, this.choose, this.chosen);
    const body = make("div", { className: "body" }, this.samples, buttons);
    this.root = make("li", { className: "class card" }, this.head, this.bar, body, this.error);
    this.#listen(acts);
  }

  #listen(acts) {
    const { one } = this;
    this.name.addEventListener("input", () => {
      one.error = acts.rename(one, this.name.value);
    });
    this.name.addEventListener("keydown", (event) => {
      if (event.key === "Enter") this.teach.focus();
    });
    this.teach.addEventListener("click", () => acts.teach(one));
    this.remove.addEventListener("click", () => acts.remove(one));
    this.choose.addEventListener("click", () => this.chosen.click());
    this.chosen.addEventListener("change", () => {
      acts.files(one, [...this.chosen.files]);
      this.chosen.value = "";
    });
    this.root.addEventListener("dragover", (event) => {
      event.preventDefault();
      this.root.classList.add("over");
    });
    for (const end of ["dragleave", "drop"]) this.root.addEventListener(end, () => this.root.classList.remove("over"));
    this.root.addEventListener("drop", (event) => {
      event.preventDefault();
      event.stopPropagation();
      acts.files(one, [...event.dataTransfer.files]);
    });
  }

  update({ input, prediction, before, accept, files }) {
    const { one } = this;
    const called = one.name || "it";
    const held = total(one);
    this.#named(held);
    this.error.textContent = one.error;
    this.name.setAttribute("aria-invalid", String(!one.name));
    this.#probability(prediction, before);
    this.teach.textContent = `This is ${called}`;
    able(this.teach, Boolean(input) && !input.taught && Boolean(one.name));
    this.choose.textContent = files;
    this.choose.setAttribute("aria-label", `${files} to ${called}`);
    this.chosen.accept = accept;
    this.chosen.setAttribute("aria-label", `Examples of ${called}`);
    this.remove.title = `Delete class ${called}`;
    this.remove.setAttribute("aria-label", this.remove.title);
    this.#examples(held);
  }

  /** A name can be changed until the class has an example. */
  #named(held) {
    const shown = held ? this.title : this.name;
    const other = held ? this.name : this.title;
    this.title.textContent = this.one.name;
    if (!shown.isConnected) {
      const focused = document.activeElement === other;
      if (other.isConnected) other.replaceWith(shown);
      else this.head.prepend(shown);
      if (focused) this.teach.focus();
    }
    if (document.activeElement !== this.name) this.name.value = this.one.name;
  }

  #probability(prediction, before) {
    const p = prediction?.probabilities[this.one.name];
    const was = before?.probabilities[this.one.name];
    const best = prediction?.class === this.one.name && prediction.known !== false;
    this.root.classList.toggle("best", Boolean(best));
    this.bar.classList.toggle("unsaid", p === undefined);
    this.fill.style.setProperty("width", `${100 * (p ?? 0)}%`);
    this.tick.hidden = p === undefined || was === undefined || Math.abs(was - p) < 0.02;
    this.tick.style.setProperty("left", `calc(${100 * (was ?? 0)}% - ${3 * (was ?? 0)}px)`);
    this.share.textContent = p === undefined ? "" : percent(p);
    this.bar.setAttribute("aria-label", `How likely it is ${this.one.name || "this class"}`);
    this.bar.setAttribute("aria-valuenow", Math.round(100 * (p ?? 0)));
    this.bar.setAttribute("aria-valuetext", p === undefined ? "nothing asked yet" : percent(p));
  }

  #examples(held) {
    const samples = [...this.one.samples, ...this.one.waiting];
    const state = `${held} ${samples.length} ${this.one.waiting.length}`;
    if (state === this.#shown) return;
    this.#shown = state;
    const seen = samples.slice(-SHOWN);
    const first = held - seen.length + 1;
    this.samples.hidden = !seen.length;
    this.samples.replaceChildren(...seen.map(({ show }, at) => example(show, `Example ${first + at} of ${this.one.name}`)));
    const more = seen.length && held > seen.length ? `, the last ${seen.length} shown` : "";
    this.count.textContent = held ? counted(held, "example") + more : "No example yet";
  }
}

function example(show, label) {
  if (show.text) return make("li", { className: "quote", title: show.text }, show.text);
  const tile = make("canvas", { width: 96, height: 96, className: show.drawn ? "drawn" : "", role: "img", "aria-label": label });
  bitmapOf(show.thumb).then((bitmap) => tile.getContext("2d").drawImage(bitmap, 0, 0, 96, 96), () => tile.remove());
  return make("li", {}, tile);
}
