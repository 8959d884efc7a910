// The server's side of the conversation: one function that asks, and what can come back instead of an answer.

const KEY = "quickstudy:key";
const ROOT = new URL("v1/", document.baseURI);
const PATIENCE = 30_000; // ms before a silent server counts as absent

/** The server answered, and it was no. `wait` is in seconds, where it says when to come back. */
export class Refused extends Error {
  constructor(status, code, message, wait) {
    super(message);
    this.status = status;
    this.code = code;
    this.wait = wait;
  }

  /** Whether the same request may be granted later: the server is busy, not of another opinion. */
  get passing() {
    return this.status === 429 || this.status === 503;
  }
}

/** No answer at all: the server is stopped, restarting, or out of reach. */
export class Unreachable extends Error {}

/** The key, if there is one: kept for this tab only. */
export const key = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  forget: () => sessionStorage.removeItem(KEY),
};

/** Where a path of the interface is, for commands that people copy. */
export const address = (path) => new URL(path, ROOT).href;

/** Ask and get the parsed answer; null where there is none to parse. Throws Refused or Unreachable. */
export async function ask(method, path, body) {
  const headers = {};
  if (key.get()) headers.Authorization = `Bearer ${key.get()}`;
  if (body !== undefined) headers["Content-Type"] = "application/json";
  const options = { method, headers, cache: "no-store", signal: AbortSignal.timeout(PATIENCE) };
  if (body !== undefined) options.body = JSON.stringify(body);
  let answer;
  let text;
  try {
    answer = await fetch(new URL(path, ROOT), options);
    text = await answer.text();
  } catch {
    throw new Unreachable("The server does not answer.");
  }
  if (answer.status === 502 || answer.status === 504) throw new Unreachable("The server does not answer.");
  const content = parsed(text);
  if (answer.ok) return content;
  const wait = Number(answer.headers.get("Retry-After")) || 0;
  throw new Refused(answer.status, content?.error?.code ?? "", worded(answer.status, content), wait);
}

/** Whether the server is up and ready, asked without a key and without noise. */
export async function awake() {
  try {
    return (await fetch(new URL("../readyz", ROOT), { cache: "no-store", signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false;
  }
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function worded(status, content) {
  if (status === 401) return "The server does not know this key. Check it, or ask for a new one.";
  if (content?.error?.message) return content.error.message;
  if (status === 413) return "This is more than the server takes at once. Send less, or smaller pictures.";
  if (status === 429) return "The server gets more requests than it takes just now.";
  return `The server answered with error ${status} and no explanation.`;
}
