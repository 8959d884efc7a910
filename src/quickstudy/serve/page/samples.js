// Examples: what goes over the wire (`wire`) and what is shown of it on the page (`show`).

import { contain } from "./paper.js";

const THUMB = 96; // pixels
const LARGEST = 1024; // pixels a side that are sent of a photo
const SENT_AS_IS = 1_000_000; // bytes
const READ = 50_000_000; // bytes

/** What went wrong with what a person gave, in words for that person. */
export class Unfit extends Error {}

/** A drawing on a canvas, black on white, as an example. */
export async function ofSheet(sheet) {
  const thumb = scaled(sheet, THUMB).toDataURL("image/png");
  return { wire: { image: await base64(await blobOf(sheet, "image/png")) }, show: { thumb, drawn: true } };
}

/** A picture file as an example; with its `bitmap`, for showing it large. */
export async function ofPicture(file) {
  if (file.size > READ) throw new Unfit(`${file.name} has ${Math.round(file.size / 1e6)} MB; pictures of up to 50 MB can be read. Make it smaller first.`);
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    throw new Unfit(`${file.name} cannot be read as a picture. PNG and JPEG files can; save it as one of these.`);
  }
  const known = ["image/png", "image/jpeg"].includes(file.type);
  const small = Math.max(bitmap.width, bitmap.height) <= LARGEST;
  const sent = known && small && file.size <= SENT_AS_IS ? file : await reduced(bitmap);
  const show = { thumb: scaled(bitmap, THUMB).toDataURL("image/jpeg", 0.85), drawn: false };
  return { wire: { image: await base64(sent) }, show, bitmap };
}

/** A text as an example; null where there is none. */
export function ofText(text) {
  const whole = text.trim();
  return whole ? { wire: { text: whole }, show: { text: whole.slice(0, 240) } } : null;
}

/** Rows of numbers, as copied from a sheet or a CSV file, as examples. Throws Unfit naming the row that is none. */
export function ofRows(text, item) {
  const size = item.reduce((a, b) => a * b, 1);
  const rows = text.split(/\r?\n/).filter((row) => row.trim());
  return rows.map((row, at) => {
    const numbers = row.trim().split(/[\s,;]+/).filter(Boolean).map(Number);
    const where = rows.length > 1 ? `Row ${at + 1}` : "This";
    if (numbers.some((each) => !Number.isFinite(each))) {
      throw new Unfit(`${where} has something that is no number. Write numbers with a point, separated by commas, spaces or tabs.`);
    }
    if (numbers.length !== size) {
      throw new Unfit(`${where} has ${numbers.length} ${numbers.length === 1 ? "number" : "numbers"}; this model takes ${size}. One example is one row.`);
    }
    return { wire: { vector: numbers }, show: { text: numbers.slice(0, 6).join("  ") + (size > 6 ? " …" : "") } };
  });
}

/** The examples that files hold, a picture each or the lines of text files: {samples, problem: of those that do not}. */
export async function ofFiles(files, model) {
  const samples = [];
  let problem = "";
  for (const file of files) {
    try {
      samples.push(...(await READERS[model.kind](file, model)));
    } catch (error) {
      if (!(error instanceof Unfit)) throw error;
      problem ||= error.message;
    }
  }
  return { samples, problem };
}

const READERS = {
  image: async (file) => {
    const { bitmap, ...sample } = await ofPicture(file);
    bitmap.close();
    return [sample];
  },
  text: async (file) => (await file.text()).split(/\r?\n/).map(ofText).filter(Boolean),
  vector: async (file, { item }) => ofRows(await file.text(), item),
};

/** A bitmap of a thumbnail, without asking the network for it. */
export async function bitmapOf(thumb) {
  const [head, content] = thumb.split(",");
  const bytes = Uint8Array.from(atob(content), (letter) => letter.charCodeAt(0));
  return createImageBitmap(new Blob([bytes], { type: head.slice(5).split(";")[0] }));
}

async function reduced(bitmap) {
  const ratio = Math.min(1, LARGEST / Math.max(bitmap.width, bitmap.height));
  const sheet = document.createElement("canvas");
  sheet.width = Math.max(1, Math.round(bitmap.width * ratio));
  sheet.height = Math.max(1, Math.round(bitmap.height * ratio));
  const pencil = onWhite(sheet);
  pencil.drawImage(bitmap, 0, 0, sheet.width, sheet.height);
  const flat = sheet.width * sheet.height <= 256 * 256;
  return flat ? blobOf(sheet, "image/png") : blobOf(sheet, "image/jpeg", 0.92);
}

function scaled(picture, side) {
  const sheet = document.createElement("canvas");
  sheet.width = sheet.height = side;
  const pencil = onWhite(sheet);
  pencil.imageSmoothingQuality = "high";
  contain(pencil, picture, side);
  return sheet;
}

function onWhite(sheet) {
  const pencil = sheet.getContext("2d");
  pencil.fillStyle = "#fff";
  pencil.fillRect(0, 0, sheet.width, sheet.height);
  return pencil;
}

const blobOf = (sheet, type, quality) => new Promise((done) => sheet.toBlob(done, type, quality));

function base64(blob) {
  return new Promise((done, failed) => {
    const reader = new FileReader();
    reader.onload = () => done(reader.result.slice(reader.result.indexOf(",") + 1));
    reader.onerror = () => failed(new Unfit("The file cannot be read. It may have been moved or removed."));
    reader.readAsDataURL(blob);
  });
}
