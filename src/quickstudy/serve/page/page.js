// The page: brings lesson, input and list together, and shows what they hold.

import { Refused, address, ask, key } from "./api.js";
import { Asking } from "./asking.js";
import { outage, patiently } from "./door.js";
import { Lesson, total } from "./lesson.js";
import * as memory from "./memory.js";
import { Rows, able } from "./rows.js";
import { ofFiles } from "./samples.js";
import { Shelf, listenToSure, sure } from "./shelf.js";
import { advice, command, described, introduced, verdict } from "./words.js";

const FIRST = ["A", "B"]; // names to begin with
const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";

const $ = (id) => document.getElementById(id);
const lesson = new Lesson({ changed: learned, refused: () => asking.refused(), outage });
const asking = new Asking(lesson, { changed: show, begun, outage });
const rows = new Rows($("classes"), { teach, files, rename, remove });
const shelf = new Shelf({ open: (id) => go(id), deleted, current: () => lesson.learner?.id });

let models = [];
let speaking = 0;

// --- what is shown ---------------------------------------------------------------------------------------------

function show() {
  const { model } = lesson;
  if (!model) return;
  const { input, prediction, before } = asking;
  say($("coach"), advice(lesson, input, prediction));
  const files = { image: "Add pictures", text: "Add a text file", vector: "Add a CSV file" }[model.kind];
  const accept = model.kind === "image" ? "image/*" : ".txt,.csv,.tsv,text/plain,text/csv";
  rows.update(lesson.classes, { input, prediction, before, files, accept });
  const full = Boolean(model.ways) && lesson.classes.length >= model.ways;
  able($("add-class"), !full);
  say($("class-limit"), full ? `This model takes up to ${model.ways} classes.` : "");
  showSheet(model, input);
  showAnswer();
  showTrouble();
  $("use").hidden = !lesson.learner;
  if (lesson.learner) $("curl").textContent = command(address(`learners/${lesson.learner.id}/predict`), model.kind, Boolean(key.get()), model.item);
  $("newer").hidden = !lesson.learner || lesson.gone || lesson.learner.newest;
}

function showSheet(model, input) {
  const { paper } = asking;
  $("paper-hint").textContent = paper.empty ? "Draw here, or drop or paste a picture" : "";
  $("paper-note").hidden = !input?.taught;
  $("paper-note").textContent = input?.taught ? `Taught: ${input.taught}` : "";
  $("paper").classList.toggle("drawn", paper.drawn || paper.empty);
  $("paper-box").classList.toggle("settled", Boolean(input?.taught));
  const state = paper.empty ? "empty" : paper.drawn ? "with a drawing" : "with a picture";
  $("paper").setAttribute("aria-label", `Drawing area, ${state}. Without a pointer, choose a picture instead.`);
  able($("clear"), model.kind === "image" ? !paper.empty : Boolean($("written").value));
  able($("undo"), paper.drawn);
}

function showAnswer() {
  const { prediction, input } = asking;
  const { text, note, unknown } = verdict(lesson.learner && prediction, input, lesson);
  say($("verdict"), text);
  say($("verdict-note"), note);
  $("verdict").classList.toggle("unknown", unknown);
  $("verdict").classList.toggle("idle", !prediction);
  clearTimeout(speaking);
  if (!prediction) return;
  // Spoken once the input rests: a screen reader is not to be talked over at every stroke.
  speaking = setTimeout(() => say($("spoken"), `It says: ${text}. ${note}`), 700);
}

function showTrouble() {
  const error = $("classes-error");
  const ours = Boolean(lesson.trouble) && !lesson.busy;
  if (error.dataset.said === `${ours} ${lesson.trouble}`) return;
  error.dataset.said = `${ours} ${lesson.trouble}`;
  error.textContent = lesson.trouble;
  if (!ours) return;
  const again = document.createElement("button");
  again.type = "button";
  again.className = "link";
  again.textContent = "Try again";
  again.addEventListener("click", () => lesson.retry());
  error.append(" ", again);
}

/** Text that is only touched where it differs, so that it is announced once. */
function say(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** A new input: what was said of the last one is over. */
function begun() {
  for (const one of lesson.classes) if (one.name) one.error = "";
}

function learned(fresh) {
  if (lesson.learner && !lesson.gone) place(lesson.learner.id, { instead: true });
  if (fresh) asking.anew();
  show();
}

// --- what a person does ----------------------------------------------------------------------------------------

async function teach(one) {
  const { input } = asking;
  const first = { image: "Draw something first, or add pictures", text: "Type a text first", vector: "Paste numbers first" }[lesson.model.kind];
  if (one.name) one.error = "";
  if (!input) one.error = `${first}.`;
  else if (input.taught) one.error = `This was taught already, as ${input.taught}. Give it something new.`;
  else if (!one.name) one.error ||= "A class needs a name.";
  const samples = one.error ? [] : await asking.samples();
  if (!samples.length) return show();
  asking.taught(one.name);
  lesson.teach(one, samples);
}

async function files(one, chosen) {
  if (!chosen.length) return;
  if (!one.name) {
    one.error = "Give the class a name first.";
    return show();
  }
  const { samples, problem } = await ofFiles(chosen, lesson.model);
  if (samples.length) lesson.teach(one, samples);
  one.error = problem;
  show();
}

function rename(one, typed) {
  const name = typed.normalize("NFC").trim();
  const taken = lesson.classes.some((each) => each !== one && each.name === name);
  one.name = taken ? "" : name;
  lesson.save();
  queueMicrotask(show);
  if (taken) return `There is a class “${name}” already. Choose another name.`;
  return name ? "" : "A class needs a name.";
}

async function remove(one) {
  const held = total(one);
  if (held && !(await sure(`Delete the class “${one.name}” and ${held === 1 ? "its example" : `its ${held} examples`}?`))) return;
  try {
    await lesson.remove(one);
    $("add-class").focus();
  } catch (error) {
    one.error = error.message;
    show();
  }
}

function addClass() {
  if ($("add-class").ariaDisabled === "true") return;
  const names = new Set(lesson.classes.map(({ name }) => name));
  const name = [...ALPHABET].find((letter) => !names.has(letter)) ?? `class ${lesson.classes.length + 1}`;
  lesson.add(name);
  rows.focus(lesson.classes.at(-1));
}

async function anew() {
  const lost = !lesson.learner && lesson.taught.length;
  if (lost && !(await sure("Start anew? The examples given so far are not on the server yet, and are lost.", "Start anew", "Stay"))) return;
  begin(lesson.model);
}

function begin(model) {
  memory.dropDraft();
  place("");
  lesson.begin(model, FIRST);
  use(model);
}

/** Show a model, and be ready for its kind of input. */
function use(model) {
  say($("model"), introduced(model));
  $("models").value = model.name;
  $("bench").hidden = $("nav").hidden = false;
  asking.begin(model);
  show();
}

async function pick(name) {
  const model = current(name);
  const lost = !lesson.learner && lesson.taught.length;
  if (lost && !(await sure("Take another model? The examples given so far are lost.", "Take it", "Stay"))) {
    $("models").value = lesson.model.name;
    return;
  }
  begin(model);
}

function pasted(event) {
  const images = [...(event.clipboardData?.files ?? [])].filter((file) => file.type.startsWith("image/"));
  if (!images.length || lesson.model?.kind !== "image") return;
  event.preventDefault();
  const one = rows.holding(document.activeElement);
  if (one) files(one, images);
  else asking.lay(images);
}

function dropped(event) {
  if (!event.dataTransfer.files.length) return; // text goes where it is dropped
  event.preventDefault();
  $("paper-box").classList.remove("over");
  const given = [...event.dataTransfer.files];
  if (given.length && lesson.model?.kind === "image") asking.lay(given);
}

async function copy() {
  try {
    await navigator.clipboard.writeText($("curl").textContent);
    say($("copied"), "Copied.");
  } catch {
    getSelection().selectAllChildren($("curl"));
    say($("copied"), "This browser does not let pages copy: it is selected now, copy it yourself.");
  }
  setTimeout(() => say($("copied"), ""), 4000);
}

// --- the server ------------------------------------------------------------------------------------------------

const current = (name) => models.find((each) => each.name === name);

/** The address names the learner, so that a reload or a bookmark brings it back. */
function place(id, { instead = false } = {}) {
  const wanted = id ? `#${id}` : "";
  if (location.hash === wanted) return;
  const url = wanted || location.pathname + location.search;
  if (instead) history.replaceState(null, "", url);
  else history.pushState(null, "", url);
}

function go(id) {
  place(id);
  return arrive();
}

function deleted(id) {
  if (id === lesson.learner?.id) begin(lesson.model);
}

/** Show what the address names: a learner, or what this tab had begun, or a fresh start. */
async function arrive() {
  const id = location.hash.slice(1);
  if (id && id === lesson.learner?.id) return;
  const draft = memory.readDraft();
  if (id) {
    try {
      const learner = await patiently(() => ask("GET", `learners/${encodeURIComponent(id)}`));
      const model = current(learner.model) ?? { ...models[0], name: learner.model };
      lesson.open(learner, model);
      return use(model);
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      memory.forget(id);
      begin(models[0]);
      $("classes-error").textContent = "The learner in the address is not on this server, so this is a new one.";
      return;
    }
  }
  const model = current(draft?.model) ?? models[0];
  if (!draft || !current(draft.model)) return begin(model);
  lesson.resume(model, draft.classes);
  use(model);
}

function listen() {
  $("anew").addEventListener("click", anew);
  $("add-class").addEventListener("click", addClass);
  $("copy").addEventListener("click", copy);
  $("readapt").addEventListener("click", () => lesson.readapt().catch((error) => say($("classes-error"), error.message)));
  $("models").addEventListener("change", () => pick($("models").value));
  $("forget-key").addEventListener("click", () => {
    key.forget();
    location.reload();
  });
  const box = $("paper-box");
  box.addEventListener("dragover", () => box.classList.add("over"));
  box.addEventListener("dragleave", () => box.classList.remove("over"));
  document.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
  document.addEventListener("drop", dropped);
  document.addEventListener("paste", pasted);
  addEventListener("hashchange", arrive);
  listenToSure();
}

async function start() {
  listen();
  models = (await patiently(() => ask("GET", "models"))).models.map(described);
  $("forget-key").hidden = !key.get();
  if (!models.length) return say($("coach"), "This server has no model loaded. Start it with one: quickstudy serve BUNDLE");
  $("models").replaceChildren(...models.map(({ name }) => new Option(name)));
  $("pick-model").hidden = models.length < 2;
  await arrive();
}

start().catch((error) => {
  $("outage").hidden = false;
  $("outage").textContent = error.message;
  throw error;
});
