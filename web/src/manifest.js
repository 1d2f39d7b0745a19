/** What a bundle says of itself, and the code that it promises. */

import { addNoise } from "./sampler.js";
import { encode, toHex, VERSION } from "./wire.js";

const SCHEMA = "hybridpriv.bundle/1";
/** @type {Record<string, string[]>} */
const PARTS = {
  input: ["kind", "shape", "dtype", "framing"],
  answers: [],
  code: ["k", "bits", "radius", "sigma", "low", "high"],
  guarantee: ["assumes"],
  utility: ["validation"],
  budget: ["cost", "max_queries", "table"],
  files: [],
};

/**
 * The part of manifest.json that a device needs.
 * @typedef {{
 *   schema: string, wire: number, name: string, synthetic: boolean,
 *   row: string,
 *   input: {kind: string, shape: number[], dtype: string, framing: string,
 *     scale?: number[]},
 *   answers: Record<string, string[]>,
 *   code: {k: number, bits: number, radius: number, sigma: number,
 *     low: number[], high: number[]},
 *   utility: {validation: number},
 *   guarantee: {law: string, unit: string, case: string, assumes: string},
 *   budget: {cost: number, max_queries: number, table: Proved[]},
 *   demo?: Demo[],
 *   files: Record<string, string>,
 * }} Values
 *
 * A graph that does what a cloud could do, with a raw sample or with a code as
 * it is sent: it restores the picture, and scores these people.
 * @typedef {{file: string, title: string, takes: "sample" | "code",
 *   outputs: string[], people: string[]}} Demo
 *
 * What is proved once so many codes have left.
 * @typedef {{num_queries: number, epsilon: number, delta: number,
 *   success: Record<string, {blind: number, success: number}>}} Proved
 *
 * A manifest, and the id of its bundle.
 * @typedef {{values: Values, id: Uint8Array<ArrayBuffer>}} Manifest
 */

/** A bundle that this page cannot work with. */
export class Unfit extends Error {}

/**
 * Read a manifest; the id of the bundle is the start of the hash of its bytes.
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @returns {Promise<Manifest>}
 * @throws {Unfit}
 */
export async function read(bytes) {
  let values;
  try {
    values = JSON.parse(new TextDecoder().decode(bytes));
  } catch {
    throw new Unfit("The service sent no manifest.");
  }
  if (values?.schema !== SCHEMA || values.wire !== VERSION) {
    throw new Unfit(
      `The manifest is of ${values?.schema}, wire ${values?.wire}; this page` +
        ` knows ${SCHEMA}, wire ${VERSION}.`,
    );
  }
  const lacking = Object.entries(PARTS).flatMap(([part, names]) => {
    const own = values[part];
    if (!(own instanceof Object)) return [part];
    return names.filter((name) => !(name in own)).map((n) => `${part}.${n}`);
  });
  if (lacking.length) {
    throw new Unfit(`The manifest lacks ${lacking.join(", ")}.`);
  }
  const { code, budget } = values;
  const cost = (code.radius / code.sigma) ** 2;
  // What a code costs is a matter of its noise, not of who wrote the file.
  if (!(Math.abs(budget.cost / cost - 1) <= 1e-6)) {
    throw new Unfit(
      `A code with noise of ${code.sigma} about a radius of ${code.radius}` +
        ` does not cost ${budget.cost}.`,
    );
  }
  return { values, id: (await digest(bytes)).slice(0, 4) };
}

/**
 * Check that a file is the one that the manifest lists.
 * @param {Manifest} own
 * @param {string} name
 * @param {Uint8Array<ArrayBuffer>} bytes
 * @throws {Unfit}
 */
export async function check(own, name, bytes) {
  if (toHex(await digest(bytes)) !== own.values.files[name]) {
    throw new Unfit(
      `The service sent a ${name} that its manifest does not list: the page` +
        " and the service have different bundles. Load the page again.",
    );
  }
}

/**
 * Hold the code of the client half against what the guarantee rests on: whole
 * numbers within the radius.
 * @param {Values} values
 * @param {ArrayLike<number>} found
 * @returns {{code: number[], isUnusual: boolean}}
 * @throws {Unfit}
 */
export function prepare({ code }, found) {
  const whole = Array.from(found, (v) => Math.round(v) + 0); // no -0
  const length = Math.sqrt(whole.reduce((sum, v) => sum + v * v, 0));
  if (
    whole.length !== code.k ||
    whole.some((v, i) => v !== found[i]) ||
    !(length <= code.radius * (1 + 1e-9))
  ) {
    throw new Unfit(
      `The client half made ${whole.length} values of norm ${length};` +
        ` expected ${code.k} whole numbers of norm ${code.radius} at most, so` +
        " nothing was sent.",
    );
  }
  const isUnusual = whole.some((v, i) => v < code.low[i] || v > code.high[i]);
  return { code: whole, isUnusual };
}

/**
 * Draw the noise, saturate to the bits of the wire and lay out the frame.
 * @param {Manifest} own
 * @param {number[]} code
 * @returns {Uint8Array<ArrayBuffer>}
 */
export function frame(own, code) {
  const { sigma, bits } = own.values.code;
  return encode(addNoise(code, { sigma, bits }), { bits, bundle: own.id });
}

/**
 * The largest sum of costs that a device may spend.
 * @param {Values} values
 */
export function limit({ budget }) {
  return budget.max_queries * budget.cost;
}

/**
 * The number of codes of this bundle that may still leave.
 * @param {Values} values
 * @param {number} spent the sum of costs so far, of this and other bundles
 */
export function left(values, spent) {
  const rest = (limit(values) - spent) / values.budget.cost;
  return Math.max(Math.floor(rest + 1e-9), 0);
}

/**
 * What is proved once codes of a total cost have left the device: the entry
 * for as many codes of this bundle as cost the same, rounded up.
 * @param {Values} values
 * @param {number} spent above 0
 * @returns {Proved | undefined} nothing where the table ends before
 */
export function proved({ budget }, spent) {
  const num = Math.max(Math.ceil(spent / budget.cost - 1e-9), 1);
  return budget.table[num - 1];
}

/** @param {Uint8Array<ArrayBuffer>} bytes */
async function digest(bytes) {
  return new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
}
