/** From a photo or a table to what the client half takes. */

import { resize } from "./resize.js";

const MOST_BYTES = 64 * 2 ** 20; // of a file
const LARGEST = (2 - 2 ** -23) * 2 ** 127; // that a float32 holds

/** An input that cannot be read; the message says why. */
export class Unreadable extends Error {}

/**
 * A part of a picture, in its pixels.
 * @typedef {{left: number, top: number, width: number, height: number}} Box
 */

/**
 * Decode a photo and turn it upright (EXIF).
 * @param {Blob} file
 * @returns {Promise<ImageBitmap>}
 * @throws {Unreadable}
 */
export async function openPicture(file) {
  checkSize(file);
  try {
    return await createImageBitmap(file, {
      imageOrientation: "from-image",
      // The network has seen the numbers of the file, not the screen's.
      colorSpaceConversion: "none",
    });
  } catch {
    throw new Unreadable("This is not a picture that the browser can read.");
  }
}

/**
 * The largest box in the middle that has the wanted shape.
 * @param {{width: number, height: number}} picture
 * @param {{width: number, height: number}} wanted
 * @returns {Box}
 */
export function centralBox(picture, wanted) {
  const scale = Math.min(
    picture.width / wanted.width,
    picture.height / wanted.height,
  );
  const [width, height] = [wanted.width * scale, wanted.height * scale];
  return {
    left: (picture.width - width) / 2,
    top: (picture.height - height) / 2,
    width,
    height,
  };
}

/**
 * Bring a box onto the picture, at whole pixels and in the wanted shape.
 * @param {Box} box
 * @param {{width: number, height: number}} picture
 * @param {{width: number, height: number}} wanted
 * @returns {Box}
 */
export function fitBox(box, picture, wanted) {
  const most = centralBox(picture, wanted).width;
  const least = Math.min(16, most);
  const width = Math.min(Math.max(Math.round(box.width), least), most);
  const height = (width * wanted.height) / wanted.width;
  const place = (/** @type {number} */ at, /** @type {number} */ room) =>
    Math.min(Math.max(Math.round(at), 0), Math.max(room, 0));
  return {
    left: place(box.left, picture.width - width),
    top: place(box.top, picture.height - height),
    width,
    height,
  };
}

/**
 * Cut a box out of a picture and resize it.
 * @param {ImageBitmap} picture
 * @param {Box} box
 * @param {{width: number, height: number}} wanted
 * @returns {Uint8Array<ArrayBuffer>} [height, width, 3]
 */
export function pixels(picture, box, wanted) {
  const canvas = document.createElement("canvas");
  // In memory, not on a graphics chip: those round as they like.
  const context = /** @type {CanvasRenderingContext2D} */ (
    canvas.getContext("2d", { willReadFrequently: true })
  );
  return resize(
    (left, top, width, height) => {
      canvas.width = width;
      canvas.height = height;
      context.fillStyle = "white"; // under what is transparent
      context.fillRect(0, 0, width, height);
      context.drawImage(picture, -left, -top);
      return context.getImageData(0, 0, width, height).data;
    },
    picture,
    box,
    wanted,
  );
}

/**
 * Of a manifest's `input`: [time steps, channels], and what each channel is
 * multiplied by, 1 where nothing is said.
 * @typedef {{shape: number[], scale?: number[]}} Entry
 */

/**
 * Read a window from CSV: a row for each time step, a column a channel.  A
 * first row that is no numbers names the columns, and is skipped.
 * @param {Blob} file
 * @param {Entry} entry
 * @returns {Promise<Float32Array<ArrayBuffer>>}
 * @throws {Unreadable}
 */
export async function readWindow(file, entry) {
  checkSize(file);
  let text;
  try {
    const bytes = await file.arrayBuffer();
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Unreadable("This is not a readable table: it is no UTF-8 text.");
  }
  return parseWindow(text, entry);
}

/**
 * @param {string} text
 * @param {Entry} entry
 * @returns {Float32Array<ArrayBuffer>}
 * @throws {Unreadable}
 */
export function parseWindow(text, { shape: [steps, channels], scale }) {
  let rows = text
    .split(/\r\n|\r|\n/)
    .filter((line) => line)
    .map((line) =>
      line.split(",").map((cell) => cell.replace(/^"(.*)"$/, "$1")),
    );
  if (rows.length && !isNumber(rows[0][0])) rows = rows.slice(1);
  if (rows.length !== steps || rows.some((row) => row.length !== channels)) {
    const widths = [...new Set(rows.map((row) => row.length))];
    widths.sort((a, b) => a - b);
    throw new Unreadable(
      `${rows.length} rows of ${widths.join(" or ") || "no"} columns;` +
        ` expected ${steps} time steps of ${channels} channels.`,
    );
  }
  const values = new Float32Array(steps * channels);
  rows.forEach((row, i) =>
    row.forEach((cell, j) => {
      if (!isNumber(cell) || !(Math.abs(Number(cell)) <= LARGEST)) {
        throw new Unreadable(
          `Time step ${i}, channel ${j} is "${cell}"; expected a finite` +
            " number.",
        );
      }
      // Both in float32, as in training: a product of two is exact before it
      // is rounded.
      const factor = scale?.[j] ?? 1;
      const value = Math.fround(
        Math.fround(Number(cell)) * Math.fround(factor),
      );
      if (!Number.isFinite(value)) {
        throw new Unreadable(
          `Time step ${i}, channel ${j} is "${cell}", too large once` +
            ` multiplied by ${factor}.`,
        );
      }
      values[i * channels + j] = value;
    }),
  );
  return values;
}

/**
 * An input as the bytes that it is recognised by.
 * @param {Uint8Array | Float32Array} values
 * @param {{dtype: string, shape: number[]}} entry
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function content(values, { dtype, shape }) {
  const head = new TextEncoder().encode(`${dtype} (${shape.join(", ")}) `);
  const bytes = new Uint8Array(head.length + values.byteLength);
  bytes.set(head);
  bytes.set(
    new Uint8Array(values.buffer, values.byteOffset, values.byteLength),
    head.length,
  );
  return bytes;
}

/** @param {string} text */
function isNumber(text) {
  return /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i.test(text);
}

/** @param {Blob} file */
function checkSize(file) {
  if (file.size > MOST_BYTES) {
    throw new Unreadable(
      `The file has ${Math.round(file.size / 2 ** 20)} MiB; expected at most` +
        ` ${MOST_BYTES / 2 ** 20}.`,
    );
  }
}
