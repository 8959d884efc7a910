// What the page says: what to do next, what the model makes of an input, how good it was measured to be.

import { counted, percent } from "./rows.js";

const SURE = 0.9;
const FAIRLY = 0.6;

/** What the page needs to know of a model, from the server's description. */
export function described({ name, version, kind, item, ways, trained_on: origin }) {
  return { name, version, kind, item, ways, measured: measured(origin?.evaluation) };
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
  const give = { image: "Draw something in the box", text: "Type a text in the box", vector: "Paste a row of numbers into the box" }[kind];
  const verb = { image: "draw", text: "type", vector: "paste" }[kind];
  if (lesson.gone) return "This learner is no longer on the server. Start anew, or open another of yours.";
  if (!taught.length && !untold) return `${give}: one example of what it shall learn to tell.`;
  if (!taught.length) return "Now say what it is: name a class and press its button.";
  if (taught.length === 1 && !untold) return `One class is taught. Now ${verb} something else, for a second class.`;
  if (taught.length === 1) return `Say what it is: another example of ${taught[0].name}, or the first of a second class.`;
  if (!prediction) return `It has learned. Now ${verb} something new, and see what it takes it for.`;
  if (input?.taught) return `Learned. Now ${verb} something new, and see what it takes it for.`;
  return "Right or wrong, say what it is: it learns from each example at once.";
}

/** A prediction as {text, note, unknown}. */
export function verdict(prediction, input, lesson) {
  if (!prediction) {
    const missing = lesson.taught.length < 2;
    const note = missing ? "It answers as soon as two classes have an example each." : "";
    return { text: missing ? "Nothing yet" : input ? "…" : "Ask it something", note, unknown: false };
  }
  const ranked = Object.entries(prediction.probabilities).sort(([, a], [, b]) => b - a);
  const [[first, p], second] = ranked;
  const own = input?.taught ? " This is an example it was given: something new tests it better." : "";
  if (prediction.known === false) {
    return { text: "Unlike anything it was taught", note: `Nearest: ${first}, ${percent(p)}.${own}`, unknown: true };
  }
  const torn = second && p < FAIRLY ? `Torn between ${first} and ${second[0]}.` : "";
  const note = torn || (p < SURE ? "Fairly sure." : "Sure.");
  return { text: `${first}, ${percent(p)}`, note: note + own, unknown: false };
}

/** The model in use, with its measured accuracy. */
export function introduced(model) {
  const parts = [`Model ${model.name}, version ${model.version}.`];
  if (model.measured) parts.push(model.measured);
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
