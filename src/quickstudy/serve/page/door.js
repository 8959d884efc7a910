// Getting through to the server: waiting while it is away, and the key where it asks for one.

import { Refused, Unreachable, awake, key } from "./api.js";
import { pause } from "./lesson.js";

const $ = (id) => document.getElementById(id);
let waking = null;

/** Wait until the server answers again. All who notice that it is gone wait together. */
export function outage() {
  waking ??= (async () => {
    $("outage").textContent = "The server does not answer. What you taught it is safe; this page goes on when it is back.";
    $("outage").hidden = false;
    let wait = 1;
    do {
      await pause(wait);
      wait = Math.min(8, 1.5 * wait);
    } while (!(await awake()));
    $("outage").hidden = true;
    waking = null;
  })();
  return waking;
}

/** Do something with the server in which nothing but its answer counts; ask for a key where it wants one. */
export async function patiently(act) {
  for (;;) {
    try {
      return await act();
    } catch (error) {
      if (error instanceof Unreachable) await outage();
      else if (!(error instanceof Refused)) throw error;
      else if (error.passing) await pause(Math.min(30, Math.max(1, error.wait)));
      else if (error.status === 401) await askKey(key.get() ? error.message : "");
      else throw error;
    }
  }
}

const SENDABLE = /^[\x21-\x7e]+$/; // what a header can carry

function askKey(message) {
  key.forget();
  for (const id of ["nav", "bench", "use"]) $(id).hidden = true;
  $("key-form").hidden = false;
  $("key-error").textContent = message;
  $("coach").textContent = "First, the server wants to know who you are.";
  $("key").focus();
  return new Promise((done) => {
    const given = (event) => {
      event.preventDefault();
      const value = $("key").value.trim();
      $("key").value = "";
      if (!SENDABLE.test(value)) {
        $("key-error").textContent = "This is no key: keys are letters, digits and signs without spaces.";
        return;
      }
      $("key-form").removeEventListener("submit", given);
      key.set(value);
      $("key-form").hidden = true;
      done();
    };
    $("key-form").addEventListener("submit", given);
  });
}
