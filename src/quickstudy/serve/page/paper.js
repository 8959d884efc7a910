// A sheet to draw on with mouse, finger or stylus, or to lay a picture on.

const PEN = 0.055; // width of the pen, as a part of the sheet's side: what Omniglot's drawers used is 0.053
const INK = "#000";
// The longer side of what is drawn, as a part of the sheet: nine in ten characters of Omniglot lie between these.
const SMALLEST = 0.5;
const LARGEST = 0.85;
const DOT = 0.08; // what is smaller is a dot, and stays one

/** Draws strokes on a canvas. Strokes are lists of points [x, y], in parts of the sheet's side. */
export class Paper {
  #strokes = [];
  #picture = null;
  #line = null;
  #done = false;

  /** `began` is called as a stroke starts, `changed` whenever the sheet looks different. */
  constructor(canvas, { began, changed }) {
    this.canvas = canvas;
    this.began = began;
    this.changed = changed;
    canvas.addEventListener("pointerdown", (event) => this.#down(event));
    canvas.addEventListener("pointermove", (event) => this.#move(event));
    for (const end of ["pointerup", "pointercancel"]) canvas.addEventListener(end, (event) => this.#up(event));
    new ResizeObserver(() => this.#fit()).observe(canvas);
  }

  get empty() {
    return !this.#strokes.length && !this.#picture;
  }

  get drawn() {
    return this.#strokes.length > 0;
  }

  /** From now on the sheet shows something that is settled: the next stroke begins a new sheet. */
  settle() {
    this.#done = true;
  }

  clear() {
    this.#strokes = [];
    this.#picture = null;
    this.#done = false;
    this.#paint();
    this.changed();
  }

  undo() {
    this.#strokes.pop();
    this.#done = false;
    this.#paint();
    this.changed();
  }

  /** Lay a bitmap on the sheet in place of what was there. */
  lay(bitmap) {
    this.#strokes = [];
    this.#picture = bitmap;
    this.#done = true;
    this.#paint();
    this.changed();
  }

  /** The drawing as a canvas of `side` pixels: black ink on white, framed as the characters of data sets are. */
  sheet(side) {
    const sheet = document.createElement("canvas");
    sheet.width = sheet.height = side;
    const pencil = sheet.getContext("2d");
    pencil.fillStyle = "#fff";
    pencil.fillRect(0, 0, side, side);
    trace(pencil, framed(this.#strokes), side);
    return sheet;
  }

  #down(event) {
    if (event.button !== 0 || this.#line) return;
    event.preventDefault();
    if (this.#done || this.#picture) {
      this.#strokes = [];
      this.#picture = null;
      this.#done = false;
    }
    this.canvas.setPointerCapture(event.pointerId);
    this.#line = { id: event.pointerId, points: [this.#point(event)] };
    this.#strokes.push(this.#line.points);
    this.began();
    this.#paint();
  }

  #move(event) {
    if (event.pointerId !== this.#line?.id) return;
    const passed = event.getCoalescedEvents?.() ?? [];
    for (const each of passed.length ? passed : [event]) this.#line.points.push(this.#point(each));
    this.#paint();
    this.changed();
  }

  #up(event) {
    if (event.pointerId !== this.#line?.id) return;
    this.#line = null;
    this.changed();
  }

  #point(event) {
    const box = this.canvas.getBoundingClientRect();
    const inside = (value) => Math.min(1, Math.max(0, value));
    return [inside((event.clientX - box.left) / box.width), inside((event.clientY - box.top) / box.height)];
  }

  #fit() {
    const side = Math.round(this.canvas.clientWidth * Math.min(devicePixelRatio || 1, 3));
    if (!side || side === this.canvas.width) return;
    this.canvas.width = this.canvas.height = side;
    this.#paint();
  }

  #paint() {
    const pencil = this.canvas.getContext("2d");
    pencil.clearRect(0, 0, this.canvas.width, this.canvas.height);
    if (this.#picture) contain(pencil, this.#picture, this.canvas.width);
    trace(pencil, this.#strokes, this.canvas.width);
  }
}

/** Draw a bitmap as large as fits on a square of `side` pixels, in its middle. */
export function contain(pencil, bitmap, side) {
  const ratio = Math.min(side / bitmap.width, side / bitmap.height);
  const [width, height] = [bitmap.width * ratio, bitmap.height * ratio];
  pencil.drawImage(bitmap, (side - width) / 2, (side - height) / 2, width, height);
}

/** Strokes in the middle of the sheet, made larger or smaller where they are far from the usual size. */
function framed(strokes) {
  const [left, right, top, bottom] = [0, 1].flatMap((axis) => {
    const along = strokes.flat().map((point) => point[axis]);
    return [along.reduce((a, b) => Math.min(a, b)), along.reduce((a, b) => Math.max(a, b))];
  });
  const length = Math.max(right - left, bottom - top);
  const scale = length < DOT ? 1 : Math.min(LARGEST, Math.max(SMALLEST, length)) / length;
  const middle = [(left + right) / 2, (top + bottom) / 2];
  return strokes.map((points) => points.map((point) => point.map((value, axis) => 0.5 + scale * (value - middle[axis]))));
}

function trace(pencil, strokes, side) {
  pencil.lineCap = pencil.lineJoin = "round";
  pencil.lineWidth = PEN * side;
  pencil.strokeStyle = INK;
  for (const points of strokes) {
    const [first, ...rest] = points.map(([x, y]) => [x * side, y * side]);
    pencil.beginPath();
    pencil.moveTo(...first);
    if (!rest.length) pencil.lineTo(first[0] + 0.01, first[1]); // a dot is a line that goes nowhere
    rest.forEach(([x, y], at) => {
      const next = rest[at + 1];
      if (next) pencil.quadraticCurveTo(x, y, (x + next[0]) / 2, (y + next[1]) / 2);
      else pencil.lineTo(x, y);
    });
    pencil.stroke();
  }
}
