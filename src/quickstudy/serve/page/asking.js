// The input in question: what is drawn, laid, typed or pasted, and what the model makes of it while it changes.

import { Refused, Unreachable, ask } from "./api.js";
import { pause } from "./lesson.js";
import { Paper } from "./paper.js";
import { Unfit, ofPicture, ofRows, ofSheet, ofText } from "./samples.js";

const DRAWING = 130; // ms between questions about a drawing that goes on
const TYPING = 300; // ms that a text rests before it is asked about

const $ = (id) => document.getElementById(id);

export class Asking {
  /** What is asked: {samples, drawn, taught: a class's name or null}, or null. */
  input = null;
  prediction = null;
  /** The prediction for the same input before the last thing it learned. */
  before = null;
  #timer = 0;
  #turn = 0;
  #running = false;
  #again = false;

  /** `begun` is called as an input takes the place of another, `changed` whenever something is new. */
  constructor(lesson, { changed, begun, outage }) {
    this.lesson = lesson;
    this.changed = changed;
    this.begun = begun;
    this.outage = outage;
    this.paper = new Paper($("paper"), { began: () => this.#began(), changed: () => this.#drew() });
    $("clear").addEventListener("click", () => this.clear());
    $("undo").addEventListener("click", () => this.paper.undo());
    $("choose").addEventListener("click", () => $("chosen").click());
    $("chosen").addEventListener("change", () => {
      if ($("chosen").files.length) this.lay([...$("chosen").files]);
      $("chosen").value = "";
    });
    $("written").addEventListener("input", () => this.#wrote());
  }

  /** Make ready for a kind of input. */
  begin(model) {
    const image = model.kind === "image";
    $("paper-box").hidden = $("choose").hidden = $("undo").hidden = !image;
    $("writing").hidden = image;
    const numbers = model.item.reduce((a, b) => a * b, 1);
    $("written-label").textContent = model.kind === "text" ? "A text" : `A row of ${numbers} numbers; several rows teach several examples`;
    this.clear();
  }

  clear() {
    $("written").value = "";
    this.#error("");
    this.#set(null);
    if (!this.paper.empty) this.paper.clear();
    this.changed();
  }

  /** Ask about a picture file. */
  async lay(files) {
    const [file, ...others] = files;
    const turn = ++this.#turn;
    try {
      const { bitmap, ...sample } = await ofPicture(file);
      if (turn !== this.#turn) return;
      this.paper.lay(bitmap);
      this.#set({ samples: [sample], drawn: false, taught: null });
      this.#error(others.length ? `Only ${file.name} is asked about. Drop several on a class to teach them all.` : "");
      this.#after(0);
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      this.#error(error.message);
    }
    this.changed();
  }

  /** The examples that the input makes when it is taught; empty where it makes none. */
  async samples() {
    if (this.paper.drawn && this.lesson.model.kind === "image") return [await ofSheet(this.paper.sheet(sideFor(this.lesson.model)))];
    return this.input?.samples ?? [];
  }

  /** The input is an example of a class now; what comes next is a new one. */
  taught(name) {
    if (!this.input) return;
    this.input.taught = name;
    this.before = this.prediction;
    this.paper.settle();
    if (this.lesson.model.kind !== "image") $("written").select();
    this.changed();
  }

  /** It was not taken as an example after all. */
  refused() {
    if (this.input) this.input.taught = null;
  }

  /** Ask anew: what is known has changed. */
  anew() {
    if (this.input) this.#after(0);
    else this.prediction = null;
  }

  #began() {
    this.#turn++;
    this.#set({ samples: [], drawn: true, taught: null });
    this.#error("");
    this.changed();
  }

  #drew() {
    if (this.lesson.model?.kind !== "image") return;
    const { input } = this;
    if (this.paper.empty) this.#set(null);
    else if (this.paper.drawn) {
      if (!input?.drawn || input.taught) this.#set({ samples: [], drawn: true, taught: null });
      this.#timer ||= this.#after(DRAWING);
    }
    if (this.input !== input) this.changed();
  }

  #wrote() {
    const { model } = this.lesson;
    this.#error("");
    let samples = [];
    try {
      const text = $("written").value;
      samples = model.kind === "text" ? [ofText(text)].filter(Boolean) : ofRows(text, model.item);
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      this.#error(error.message);
    }
    this.#set(samples.length ? { samples, drawn: false, taught: null } : null);
    this.#after(TYPING);
    this.changed();
  }

  #set(input) {
    this.input = input;
    this.begun();
    this.before = null;
    if (!input) this.prediction = null;
  }

  #after(delay) {
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => {
      this.#timer = 0;
      this.#predict();
    }, delay);
    return this.#timer;
  }

  /** One question at a time; what changes meanwhile is asked when the answer is there. */
  async #predict() {
    if (this.#running) {
      this.#again = true;
      return;
    }
    this.#running = true;
    try {
      do {
        this.#again = false;
        await this.#question();
      } while (this.#again);
    } finally {
      this.#running = false;
    }
  }

  async #question() {
    const { lesson } = this;
    const { learner } = lesson;
    const asked = this.input;
    if (!learner || !asked || lesson.gone) return;
    const [sample] = await this.samples();
    if (!sample) return;
    try {
      const answer = await ask("POST", `learners/${learner.id}/predict`, { inputs: [sample.wire] });
      if (lesson.learner?.id !== learner.id || this.input !== asked) return;
      [this.prediction] = answer.predictions;
      this.#error("");
      this.changed();
    } catch (error) {
      await this.#failed(error, learner, asked);
    }
  }

  async #failed(error, learner, asked) {
    const { lesson } = this;
    if (error instanceof Unreachable) {
      await this.outage();
      this.#again = true;
    } else if (!(error instanceof Refused)) throw error;
    else if (error.passing) {
      await pause(Math.min(30, Math.max(0.5, error.wait)));
      this.#again = true;
    } else if (lesson.learner?.id !== learner.id || this.input !== asked) return;
    else if (error.status === 404) lesson.gone = true;
    else this.#error(error.message);
    this.changed();
  }

  #error(message) {
    $("asking-error").textContent = message;
  }
}

/** Pixels a side that are sent of a drawing: enough for the model to scale down smoothly. */
function sideFor({ item }) {
  return Math.min(512, Math.max(112, 4 * Math.max(...item.slice(1))));
}
