/**
 * The frame that leaves the device; docs/wire.md says what its bytes are, and
 * tests/deploy/wire_vectors.json has examples that it passes.
 */

const MAGIC = [0x68, 0x70];
const HEAD = 10;
const SUM = 4;
const ID = 4;
const BITS = [8, 16, 32];

export const VERSION = 1;
export const OVERHEAD = HEAD + SUM;
export const MOST_VALUES = 2 ** 16 - 1;

/** A frame that is not one; `code` says why, as docs/wire.md lists. */
export class Refused extends Error {
  /**
   * @param {string} code
   * @param {string} message
   */
  constructor(code, message) {
    super(message);
    this.name = "Refused";
    this.code = code;
  }
}

/**
 * The length of a frame of k values.
 * @param {{k: number, bits: number}} of
 * @returns {number}
 */
export function numBytes({ k, bits }) {
  return OVERHEAD + (k * bits) / 8;
}

/**
 * Lay out a code.
 * @param {ArrayLike<number>} values whole numbers [k]
 * @param {{bits: number, bundle: Uint8Array}} of bits of a value, and the id
 *   of the bundle, 4 bytes
 * @returns {Uint8Array<ArrayBuffer>}
 * @throws {RangeError} what is given does not fit a frame
 */
export function encode(values, { bits, bundle }) {
  if (!BITS.includes(bits)) {
    throw new RangeError(`bits=${bits}; expected one of ${BITS}`);
  }
  if (bundle.length !== ID) {
    throw new RangeError(`an id of ${bundle.length} bytes; expected ${ID}`);
  }
  const k = values.length;
  if (!(k >= 1 && k <= MOST_VALUES)) {
    throw new RangeError(`${k} values; expected 1 to ${MOST_VALUES}`);
  }
  const frame = new Uint8Array(numBytes({ k, bits }));
  const view = new DataView(frame.buffer);
  frame.set([...MAGIC, VERSION, ...bundle, bits]);
  view.setUint16(HEAD - 2, k);
  const most = 2 ** (bits - 1);
  for (let i = 0; i < k; i++) {
    const value = values[i];
    if (!Number.isInteger(value) || value < -most || value >= most) {
      throw new RangeError(`${value} is no whole number of ${bits} bits`);
    }
    write(view, HEAD + (i * bits) / 8, bits, value);
  }
  const end = frame.length - SUM;
  view.setUint32(end, crc32(frame.subarray(0, end)));
  return frame;
}

/**
 * Read a frame, strictly.
 * @param {Uint8Array} frame
 * @param {{bundle?: Uint8Array}} [of] the id that it must have; any without
 * @returns {{bundle: Uint8Array, bits: number, values: Int32Array}}
 * @throws {Refused} it is no frame of this version, or of another bundle
 */
export function decode(frame, { bundle } = {}) {
  if (frame.length < OVERHEAD) {
    throw new Refused("short", `${frame.length} bytes; no frame has so few`);
  }
  const view = new DataView(frame.buffer, frame.byteOffset, frame.length);
  if (MAGIC.some((byte, i) => frame[i] !== byte)) {
    throw new Refused("magic", "it does not start like a frame");
  }
  if (frame[2] !== VERSION) {
    throw new Refused(
      "version",
      `version ${frame[2]}; this side speaks ${VERSION}: update`,
    );
  }
  const own = frame.slice(3, 3 + ID);
  if (bundle && own.some((byte, i) => byte !== bundle[i])) {
    throw new Refused(
      "bundle",
      `a code of bundle ${toHex(own)}; this side has ${toHex(bundle)}`,
    );
  }
  const bits = frame[HEAD - 3];
  const k = view.getUint16(HEAD - 2);
  if (!BITS.includes(bits)) {
    throw new Refused("bits", `${bits} bits a value; expected one of ${BITS}`);
  }
  if (!k) {
    throw new Refused("values", "no values");
  }
  const expected = numBytes({ k, bits });
  if (frame.length !== expected) {
    throw new Refused(
      "length",
      `${frame.length} bytes; ${k} values of ${bits} bits take ${expected}`,
    );
  }
  const end = frame.length - SUM;
  if (crc32(frame.subarray(0, end)) !== view.getUint32(end)) {
    throw new Refused(
      "checksum",
      "the checksum differs: the bytes were damaged",
    );
  }
  const values = Int32Array.from({ length: k }, (_, i) =>
    read(view, HEAD + (i * bits) / 8, bits),
  );
  return { bundle: own, bits, values };
}

/**
 * @param {Uint8Array} bytes
 * @returns {string}
 */
export function toHex(bytes) {
  return Array.from(bytes, (b) => b.toString(16).padStart(2, "0")).join("");
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} bits
 * @param {number} value
 */
function write(view, at, bits, value) {
  if (bits === 8) view.setInt8(at, value);
  else if (bits === 16) view.setInt16(at, value);
  else view.setInt32(at, value);
}

/**
 * @param {DataView} view
 * @param {number} at
 * @param {number} bits
 */
function read(view, at, bits) {
  if (bits === 8) return view.getInt8(at);
  return bits === 16 ? view.getInt16(at) : view.getInt32(at);
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let rest = byte;
  for (let i = 0; i < 8; i++) {
    rest = rest & 1 ? (rest >>> 1) ^ 0xedb88320 : rest >>> 1;
  }
  return rest;
});

/**
 * CRC-32 as in zlib.
 * @param {Uint8Array} content
 * @returns {number}
 */
function crc32(content) {
  let rest = 0xffffffff;
  for (const byte of content) {
    rest = (rest >>> 8) ^ TABLE[(rest ^ byte) & 0xff];
  }
  return (rest ^ 0xffffffff) >>> 0;
}
