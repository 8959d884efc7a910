// A lesson: the classes of one learner, and the examples on their way to the server.

import { Refused, Unreachable, ask } from "./api.js";
import * as memory from "./memory.js";

const ENOUGH = 2; // classes with examples before there is anything to tell apart
const AT_ONCE = 50; // examples of a class in one request
const LETTERS = 6_000_000; // of a request's pictures, in base64

export const pause = (seconds) => new Promise((done) => setTimeout(done, 1000 * seconds));

export class Lesson {
  learner = null; // as the server describes it
  model = null;
  classes = []; // {name, count: on the server, samples: shown, waiting: not yet on the server, error}
  trouble = ""; // why the server does not take the lesson
  gone = false;
  #busy = false;
  #turn = 0;
  #step = Promise.resolve();

  /**
   * `changed(learned)` is called whenever something is new, with true where predictions may be; `refused` where the
   * server does not want an example; `outage()` waits until there is a server.
   */
  constructor({ changed, refused, outage }) {
    this.changed = changed;
    this.refused = refused;
    this.outage = outage;
  }

  /** Classes with an example. */
  get taught() {
    return this.classes.filter((each) => total(each));
  }

  get waiting() {
    return this.classes.some((each) => each.waiting.length);
  }

  get busy() {
    return this.#busy;
  }

  begin(model, names) {
    this.#turn++;
    Object.assign(this, { learner: null, model, classes: names.map(fresh), trouble: "", gone: false });
    this.changed(false);
  }

  /** Take up what this tab was about to teach before it was reloaded. */
  resume(model, classes) {
    this.begin(model, []);
    this.classes = classes.map(({ name, samples }) => ({ ...fresh(name), waiting: samples }));
    this.changed(false);
    this.#send();
  }

  /** Take up a learner of the server. */
  open(learner, model) {
    const known = memory.recall(learner.id);
    const classes = learner.classes.map(({ name, examples }) => {
      const samples = known.find((each) => each.name === name)?.samples ?? [];
      return { ...fresh(name), count: examples, samples: samples.slice(-examples) };
    });
    const names = new Set(classes.map(({ name }) => name));
    const empty = known.filter((each) => !names.has(each.name) && !each.samples.length).map(({ name }) => fresh(name));
    this.#turn++;
    Object.assign(this, { learner, model, classes: [...classes, ...empty], trouble: "", gone: false });
    this.changed(true);
  }

  add(name) {
    this.classes.push(fresh(name));
    this.#keep();
    this.changed(false);
  }

  /** Give examples of a class; they are sent as soon as there are two classes to tell apart. */
  teach(one, samples) {
    one.error = "";
    one.waiting.push(...samples);
    this.trouble = "";
    this.#keep();
    this.changed(false);
    this.#send();
  }

  /** Remove a class with its examples. Throws what the server says against it. */
  async remove(one) {
    one.waiting = [];
    await this.#step; // what is on its way would bring the class back
    if (this.learner && one.count) {
      await this.#settle(await ask("DELETE", `learners/${this.learner.id}/classes/${encodeURIComponent(one.name)}`));
    }
    this.classes = this.classes.filter((each) => each !== one);
    this.#keep();
    this.changed(true);
  }

  async readapt() {
    await this.#settle(await ask("POST", `learners/${this.learner.id}/readapt`));
    this.changed(true);
  }

  /** Try anew what was refused. */
  retry() {
    this.trouble = "";
    this.changed(false);
    this.#send();
  }

  save() {
    this.#keep();
  }

  async #send() {
    if (this.#busy) return;
    this.#busy = true;
    try {
      while (!this.trouble && !this.gone && this.waiting && (this.learner || this.taught.length >= ENOUGH)) await (this.#step = this.#next());
    } finally {
      this.#busy = false;
      this.changed(false);
    }
  }

  async #next() {
    const turn = this.#turn; // another lesson may have begun when the answer comes
    const batch = this.learner ? [this.classes.find((each) => each.waiting.length)] : this.taught;
    const sent = batch.map((one) => ({ one, samples: portion(one.waiting, LETTERS / batch.length) }));
    const examples = sent.flatMap(({ one, samples }) => samples.map(({ wire }) => ({ class: one.name, ...wire })));
    let refusal = null;
    try {
      const learner = await this.#post(examples, sent[0]);
      for (const { one, samples } of sent) {
        one.waiting.splice(0, samples.length);
        one.samples.push(...samples.map(({ show }) => ({ show })));
      }
      if (turn !== this.#turn) return;
      memory.dropDraft();
      this.#take(learner);
      this.changed(true);
      return;
    } catch (error) {
      refusal = error;
    }
    if (turn !== this.#turn) return;
    if (refusal instanceof Unreachable) await this.outage();
    else if (!(refusal instanceof Refused)) throw refusal;
    else if (refusal.passing) await this.#later(refusal);
    else this.#refused(refusal, sent);
  }

  /** The answer to examples; where a restart or a delay has hidden whether they arrived, their count tells. */
  async #post(examples, { one, samples }) {
    if (!this.learner) return ask("POST", "learners", { model: this.model.name, examples });
    try {
      return await ask("POST", `learners/${this.learner.id}/examples`, { examples });
    } catch (error) {
      if (error instanceof Unreachable) await this.outage();
      else if (error.code !== "timeout") throw error;
      const learner = await ask("GET", `learners/${this.learner.id}`);
      const held = learner.classes.find((each) => each.name === one.name)?.examples ?? 0;
      if (held < one.count + samples.length) throw error;
      return learner;
    }
  }

  async #later(refusal) {
    const seconds = Math.min(30, Math.max(1, refusal.wait));
    this.trouble = `${refusal.message} Trying again in ${seconds} ${seconds === 1 ? "second" : "seconds"}.`;
    this.changed(false);
    await pause(seconds);
    this.trouble = "";
  }

  #refused(refusal, sent) {
    if (this.learner && refusal.status === 404) this.gone = true;
    else if (this.learner) {
      for (const { one, samples } of sent) {
        one.waiting.splice(0, samples.length);
        one.error = refusal.message;
      }
      this.refused();
    } else this.trouble = refusal.message;
    this.changed(false);
  }

  /** Take the learner of an answer, or ask for it where the answer has none. */
  async #settle(answer) {
    this.#take(answer?.classes ? answer : await ask("GET", `learners/${this.learner.id}`));
  }

  /** The server's word on which classes there are and how many examples each has. */
  #take(learner) {
    this.learner = learner;
    for (const one of this.classes) one.count = 0;
    for (const { name, examples } of learner.classes) {
      let one = this.classes.find((each) => each.name === name);
      if (!one) this.classes.push((one = fresh(name))); // taught from elsewhere
      one.count = examples;
    }
    this.#keep();
  }

  #keep() {
    if (this.learner) memory.remember(this.learner.id, this.classes);
    else if (this.model) memory.writeDraft(this.model.name, this.classes);
  }
}

export const total = (one) => one.count + one.waiting.length;

/** As many of the first samples as one request may hold; one at least. */
function portion(samples, most) {
  let letters = 0;
  const fits = samples.findIndex(({ wire }) => (letters += wire.image?.length ?? 0) > most);
  return samples.slice(0, Math.min(AT_ONCE, fits < 0 ? AT_ONCE : Math.max(1, fits)));
}

const fresh = (name) => ({ name, count: 0, samples: [], waiting: [], error: "" });
