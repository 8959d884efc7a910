// What this browser remembers of a lesson: what its examples looked like, which the server does not send back.

const SHOWN = 24; // examples of a class that are kept for show
const draft = "quickstudy:draft";
const drawer = (id) => `quickstudy:shown:${id}`;

/** What is known of a learner's classes: a list of {name, samples}, samples without what was sent. */
export function recall(id) {
  return read(localStorage, drawer(id)) ?? [];
}

export function remember(id, classes) {
  const kept = classes.map(({ name, samples }) => ({ name, samples: samples.slice(-SHOWN).map(({ show }) => ({ show })) }));
  write(localStorage, drawer(id), kept);
}

export function forget(id) {
  localStorage.removeItem(drawer(id));
}

/** A lesson that the server has not heard of yet: {model, classes: [{name, samples}]}, or null. */
export const readDraft = () => read(sessionStorage, draft);
export const writeDraft = (model, classes) =>
  write(sessionStorage, draft, { model, classes: classes.map(({ name, waiting }) => ({ name, samples: waiting })) });
export const dropDraft = () => sessionStorage.removeItem(draft);

function read(store, name) {
  try {
    return JSON.parse(store.getItem(name));
  } catch {
    return null;
  }
}

function write(store, name, value) {
  try {
    store.setItem(name, JSON.stringify(value));
  } catch {
    store.removeItem(name); // full: thumbnails are a comfort, and what was taught is on the server
  }
}
