/** A photo under a frame that can be moved and resized. */

import { centralBox, fitBox } from "./inputs.js";

const STEP = 0.02; // of the shorter side, for a key
const MOST_PIXELS = 1600; // along a side of what is shown

/**
 * @typedef {import("./inputs.js").Box} Box
 * @typedef {{width: number, height: number}} Size
 */

export class Stage {
  /** @type {ImageBitmap | undefined} */
  #picture;
  /** @type {Box} */
  #box = { left: 0, top: 0, width: 0, height: 0 };
  /** @type {Size} */
  #wanted;
  #changed;
  #canvas = /** @type {HTMLCanvasElement} */ (find("canvas"));
  #stage = find("stage");
  #square = find("square");
  #range = /** @type {HTMLInputElement} */ (find("size"));

  /**
   * @param {Size} wanted what the client half takes
   * @param {() => void} changed told when the frame was moved
   */
  constructor(wanted, changed) {
    this.#wanted = wanted;
    this.#changed = changed;
    this.#square.addEventListener("pointerdown", (e) => this.#drag(e));
    this.#square.addEventListener("keydown", (e) => this.#key(e));
    this.#range.addEventListener("input", () => {
      const most = this.#most();
      this.#resize((Number(this.#range.value) / 1000) * most);
    });
    find("middle").addEventListener("click", () => this.#central());
  }

  /**
   * Show a picture, its middle framed.
   * @param {ImageBitmap} picture
   */
  show(picture) {
    this.#picture?.close();
    this.#picture = picture;
    const scale = Math.min(
      1,
      MOST_PIXELS / Math.max(picture.width, picture.height),
    );
    this.#canvas.width = Math.max(Math.round(picture.width * scale), 1);
    this.#canvas.height = Math.max(Math.round(picture.height * scale), 1);
    const context = this.#canvas.getContext("2d");
    context?.drawImage(picture, 0, 0, this.#canvas.width, this.#canvas.height);
    // A tall picture must not fill more than the screen.
    this.#stage.style.maxWidth = `${(70 * picture.width) / picture.height}vh`;
    this.#central();
  }

  /** @returns {{picture: ImageBitmap, box: Box} | undefined} */
  get framed() {
    return this.#picture && { picture: this.#picture, box: this.#box };
  }

  #most() {
    return this.#picture ? centralBox(this.#picture, this.#wanted).width : 0;
  }

  #central() {
    if (!this.#picture) return;
    // As the Python client frames it: also between two pixels.
    this.#place(centralBox(this.#picture, this.#wanted), true);
  }

  /**
   * @param {Box} box
   * @param {boolean} [exact] whether it lies right already
   */
  #place(box, exact = false) {
    if (!this.#picture) return;
    const { width, height } = this.#picture;
    this.#box = exact ? box : fitBox(box, this.#picture, this.#wanted);
    const percent = (/** @type {number} */ share) => `${100 * share}%`;
    this.#square.style.left = percent(this.#box.left / width);
    this.#square.style.top = percent(this.#box.top / height);
    this.#square.style.width = percent(this.#box.width / width);
    this.#square.style.height = percent(this.#box.height / height);
    this.#range.value = String((1000 * this.#box.width) / this.#most());
    this.#changed();
  }

  /**
   * Resize about the middle of the frame.
   * @param {number} width
   */
  #resize(width) {
    const { left, top, width: old, height: oldHeight } = this.#box;
    const height = (width * this.#wanted.height) / this.#wanted.width;
    this.#place({
      left: left + (old - width) / 2,
      top: top + (oldHeight - height) / 2,
      width,
      height,
    });
  }

  /** @param {PointerEvent} event */
  #drag(event) {
    if (!this.#picture || event.button) return;
    const isCorner = /** @type {HTMLElement} */ (event.target).id === "corner";
    const scale = this.#picture.width / this.#stage.clientWidth;
    const [x, y, before] = [event.clientX, event.clientY, { ...this.#box }];
    this.#square.setPointerCapture(event.pointerId);
    const move = (/** @type {PointerEvent} */ now) => {
      const across = (now.clientX - x) * scale;
      const down = (now.clientY - y) * scale;
      const ratio = this.#wanted.width / this.#wanted.height;
      this.#place(
        isCorner
          ? {
              ...before,
              width: before.width + Math.max(across, down * ratio),
            }
          : { ...before, left: before.left + across, top: before.top + down },
      );
    };
    const stop = () => {
      this.#square.removeEventListener("pointermove", move);
      this.#square.removeEventListener("pointerup", stop);
      this.#square.removeEventListener("pointercancel", stop);
    };
    this.#square.addEventListener("pointermove", move);
    this.#square.addEventListener("pointerup", stop);
    this.#square.addEventListener("pointercancel", stop);
  }

  /** @param {KeyboardEvent} event */
  #key(event) {
    const step = Math.max(Math.round(this.#most() * STEP), 1);
    const { left, top, width } = this.#box;
    const moves = {
      ArrowLeft: () => this.#place({ ...this.#box, left: left - step }),
      ArrowRight: () => this.#place({ ...this.#box, left: left + step }),
      ArrowUp: () => this.#place({ ...this.#box, top: top - step }),
      ArrowDown: () => this.#place({ ...this.#box, top: top + step }),
      "+": () => this.#resize(width + 2 * step),
      "=": () => this.#resize(width + 2 * step),
      "-": () => this.#resize(width - 2 * step),
    };
    const move = moves[/** @type {keyof typeof moves} */ (event.key)];
    if (!move || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    move();
  }
}

/** @param {string} id */
function find(id) {
  return /** @type {HTMLElement} */ (document.getElementById(id));
}
