// What the page says: what to do next, what the model makes of an input, how good it was measured to be.

import { counted, percent } from "./rows.js";

const SURE = 0.9;
const FAIRLY = 0.6;

/** What the page needs to know of a model, from the server's description. */
export function described({ name, version, kind, item, ways, says_unknown: doubts, trained_on: origin }) {
  return { name, version, kind, item, ways, doubts, measured: measured(origin?.evaluation) };
}

/** How often it was right where that was measured, and on what. */
function measured(evaluation) {
  if (evaluation?.metric !== "accuracy") return "";
  const { mean, low, high, ways, shots, episodes, split } = evaluation;
  const to = (p) => (100 * p).toFixed(1);
  const sizes = ways && shots ? ` of ${ways} classes with ${counted(shots, "example")} each` : "";
  const tasks = episodes ? `${episodes.toLocaleString("en")} ${split ?? "test"} tasks` : `${split ?? "test"} tasks`;
  return `Right ${to(mean)} % of the time (${to(low)} to ${to(high)} %), measured on ${tasks}${sizes}.`;
}

/** The next thing to do, in one sentence. */
export function advice(lesson, input, prediction) {
  const taught = lesson.taught;
  const untold = input && !input.taught;
  const { kind } = lesson.model;
  const give = { image: "Draw something in the box.", text: "Type a text in the box.", vector: "Paste a row of numbers." }[kind];
  const verb = { image: "draw", text: "type", vector: "paste" }[kind];
  const next = lesson.classes.find((one) => one.name && !taught.includes(one))?.name;
  if (lesson.gone) return "This learner is no longer on the server. Start anew.";
  if (!taught.length && !untold) return give;
  if (!taught.length) return next ? `Say what it is: press “This is ${next}”.` : "Say what it is: give it a name.";
  if (taught.length === 1 && !next) return "Good. Now add a second class.";
  if (taught.length === 1 && !untold) return `Good. Now ${verb} something else, for ${next}.`;
  if (taught.length === 1) return `Say what it is: ${taught[0].name} again, or ${next}.`;
  if (!prediction || input?.taught) return `It has learned. Now ${verb} something new.`;
  return "Right or wrong, say what it is: it learns at once.";
}

/** A prediction as {text, note, unknown}. */
export function verdict(prediction, input, lesson) {
  if (!prediction) {
    const missing = lesson.taught.length < 2;
    const note = missing ? "It answers once two classes have an example." : "";
    return { text: missing ? "Nothing yet" : input ? "…" : "Ask it something", note, unknown: false };
  }
  const ranked = Object.entries(prediction.probabilities).sort(([, a], [, b]) => b - a);
  const [[first, p], second] = ranked;
  const own = input?.taught ? " This is an example it was given: something new tests it better." : "";
  if (prediction.known === false) {
    return { text: "Unlike anything it was taught", note: `Nearest is ${first}. The bars compare its classes with each other.${own}`, unknown: true };
  }
  const torn = second && p < FAIRLY ? `Torn between ${first} and ${second[0]}.` : "";
  const note = torn || (p < SURE ? "Fairly sure." : "Sure.");
  return { text: `${first}, ${percent(p)}`, note: note + own, unknown: false };
}

/** The model in use, with its measured accuracy. */
export function introduced(model) {
  const parts = [`Model ${model.name}, version ${model.version}.`];
  if (model.measured) parts.push(model.measured);
  if (!model.doubts) parts.push("It cannot say that something is none of the classes.");
  if (model.ways) parts.push(`It takes up to ${counted(model.ways, "class", "classes")}.`);
  return parts.join(" ");
}

/** A shell command that asks a learner. The key is left to a variable, never written out. */
export function command(address, kind, keyed, item) {
  const lines = [`curl ${address}`];
  if (keyed) lines.push(`-H "Authorization: Bearer $QUICKSTUDY_KEY"`);
  if (kind === "image") lines.push("-F inputs=@picture.png");
  else {
    const size = item.reduce((a, b) => a * b, 1);
    const input = kind === "text" ? { text: "What shall I say?" } : { vector: size > 8 ? ["…"] : Array(size).fill(0) };
    lines.push("-H 'Content-Type: application/json'", `-d '${JSON.stringify({ inputs: [input] })}'`);
  }
  return lines.join(" \\\n  ");
}
