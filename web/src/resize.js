/**
 * Bilinear resizing as Pillow does it: across, then down, in whole numbers.
 *
 * The network was trained on pictures that Pillow made smaller, and browsers
 * differ in how they do that; here it is the same in all of them, so that a
 * photo has one code, and the same photo is recognised.  (From version 13 on
 * Pillow takes tall pictures down first: a few values are then one off.)
 */

const FRACTION = 22; // bits below the point, as Pillow keeps for 8-bit values
const STRIP = 256; // rows read at once: phones limit the size of a canvas

/**
 * Reads a part of a picture: RGBA bytes, row by row.
 * @typedef {(left: number, top: number, width: number, height: number) =>
 *   ArrayLike<number>} Read
 */

/**
 * Cut a box out of a picture and resize it.
 * @param {Read} read
 * @param {{width: number, height: number}} size of the picture
 * @param {{left: number, top: number, width: number, height: number}} box
 * @param {{width: number, height: number}} wanted
 * @returns {Uint8Array<ArrayBuffer>} [height, width, 3]
 */
export function resize(read, size, box, wanted) {
  const across = taps(size.width, box.left, box.width, wanted.width);
  const down = taps(size.height, box.top, box.height, wanted.height);
  const columns = span(across);
  const rows = span(down);
  const width = columns.end - columns.start;
  const stride = 3 * wanted.width;
  const narrow = new Uint8Array((rows.end - rows.start) * stride);
  for (let top = rows.start; top < rows.end; top += STRIP) {
    const height = Math.min(STRIP, rows.end - top);
    const strip = read(columns.start, top, width, height);
    for (let y = 0; y < height; y++) {
      const to = (top - rows.start + y) * stride;
      for (let x = 0; x < wanted.width; x++) {
        const { start, weights } = across[x];
        const from = 4 * (y * width + start - columns.start);
        for (let c = 0; c < 3; c++) {
          narrow[to + 3 * x + c] = weigh(strip, from + c, 4, weights);
        }
      }
    }
  }
  const found = new Uint8Array(wanted.height * stride);
  for (let y = 0; y < wanted.height; y++) {
    const { start, weights } = down[y];
    const from = (start - rows.start) * stride;
    for (let x = 0; x < stride; x++) {
      found[y * stride + x] = weigh(narrow, from + x, stride, weights);
    }
  }
  return found;
}

/**
 * What each new pixel is made of, along one axis.
 * @param {number} size of the picture
 * @param {number} start of the box
 * @param {number} length of the box
 * @param {number} wanted number of new pixels
 * @returns {{start: number, weights: Int32Array}[]}
 */
function taps(size, start, length, wanted) {
  const scale = length / wanted;
  // Made smaller, a pixel takes in all that it covers.
  const reach = Math.max(scale, 1);
  return Array.from({ length: wanted }, (_, i) => {
    const center = start + (i + 0.5) * scale;
    const first = Math.max(Math.trunc(center - reach + 0.5), 0);
    const end = Math.min(Math.trunc(center + reach + 0.5), size);
    const shares = Array.from({ length: end - first }, (_, j) =>
      Math.max(1 - Math.abs((j + first - center + 0.5) * (1 / reach)), 0),
    );
    const sum = shares.reduce((a, b) => a + b, 0);
    const weights = Int32Array.from(shares, (share) =>
      Math.floor(0.5 + (share / sum) * 2 ** FRACTION),
    );
    return { start: first, weights };
  });
}

/** @param {{start: number, weights: Int32Array}[]} axis */
function span(axis) {
  const ends = axis.map(({ start, weights }) => start + weights.length);
  return {
    start: Math.min(...axis.map(({ start }) => start)),
    end: Math.max(...ends),
  };
}

/**
 * @param {ArrayLike<number>} values
 * @param {number} from
 * @param {number} step
 * @param {Int32Array} weights
 */
function weigh(values, from, step, weights) {
  let sum = 1 << (FRACTION - 1);
  for (let i = 0; i < weights.length; i++) {
    sum += values[from + i * step] * weights[i];
  }
  return Math.min(sum >> FRACTION, 255);
}
