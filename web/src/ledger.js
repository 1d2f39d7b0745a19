/**
 * The budget of a device: what has left it, and what may still leave.
 *
 * The rules are those of hybridpriv/deploy/client/ledger.py, here in IndexedDB:
 *
 * - A row is written, and is durable, before its frame is handed out.
 *   Whatever dies in between, a query was paid for and not made, never the
 *   other way round.
 * - An input that was sent before gets its old frame again.  Sameness is by a
 *   keyed hash of the decoded, resized input; the key cannot be read out.
 * - Noise is drawn inside the transaction that pays for it, and transactions
 *   that write exclude one another: tabs share one budget.
 *
 * Who clears the data of the site starts a new budget; no page can prevent it.
 * Browsers do so by themselves where storage is not persistent, which the page
 * asks for, and says where it was refused.
 */

import { toHex } from "./wire.js";

const ROUNDING = 1e-9; // of sums of costs, relative
const KEY = "input";

/** The budget does not allow another code. */
export class Exhausted extends Error {}

/** The ledger cannot be read or written; nothing may be sent. */
export class Broken extends Error {}

/**
 * A frame that may be sent: `isNew` is false where this input was sent before,
 * with the same bytes; `spent` is the cost of all codes so far.
 * @typedef {{frame: Uint8Array, isNew: boolean, spent: number}} Charged
 */

/**
 * Pay for a code and return its frame, durable before it is returned.  Codes
 * of all bundles draw on the same budget.
 * @param {IDBDatabase} database see `open`
 * @param {() => Uint8Array} makeFrame draws the noise and lays out the frame,
 *   at once: a transaction waits for nothing but its own requests
 * @param {{bundle: string, content: Uint8Array<ArrayBuffer>, cost: number,
 *   limit: number}} of id of the bundle; the decoded, resized input; (C /
 *   sigma)^2 of this code; the largest sum of costs
 * @returns {Promise<Charged>}
 * @throws {Exhausted | Broken} nothing may be sent
 */
export async function charge(
  database,
  makeFrame,
  { bundle, content, cost, limit },
) {
  if (!(cost > 0 && cost < Infinity)) {
    throw new RangeError(`cost=${cost}; expected a number above 0`);
  }
  const input = await fingerprint(database, content);
  return guarded(async () => {
    const transaction = database.transaction("codes", "readwrite", {
      durability: "strict",
    });
    const ended = end(transaction);
    ended.catch(() => {}); // it is awaited below, unless something else failed
    try {
      const codes = transaction.objectStore("codes");
      const spent = total(await result(codes.getAll()));
      const row = await result(codes.get([bundle, input]));
      if (row) {
        return { frame: row.frame, isNew: false, spent };
      }
      if (spent + cost > limit * (1 + ROUNDING)) {
        throw new Exhausted(
          `The budget is spent: ${format(spent)} of ${format(limit)}, and a` +
            ` code costs ${format(cost)}. Inputs that were sent before can be` +
            " sent again.",
        );
      }
      const frame = makeFrame();
      codes.add({ bundle, input, cost, frame });
      await ended;
      // Here, and no earlier, the row is on the disk.
      return { frame, isNew: true, spent: spent + cost };
    } catch (error) {
      abort(transaction);
      throw error;
    }
  });
}

/**
 * The cost of all codes so far.
 * @param {IDBDatabase} database
 * @returns {Promise<number>}
 * @throws {Broken}
 */
export function spent(database) {
  return guarded(async () => {
    const codes = database.transaction("codes").objectStore("codes");
    return total(await result(codes.getAll()));
  });
}

/**
 * Open the ledger of this browser; it is made if it is not there.
 * @param {IDBFactory} [factory]
 * @param {string} [name]
 * @returns {Promise<IDBDatabase>}
 * @throws {Broken}
 */
export function open(factory = indexedDB, name = "hybridpriv") {
  return guarded(async () => {
    const request = factory.open(name, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("device");
      request.result.createObjectStore("codes", {
        keyPath: ["bundle", "input"],
      });
    };
    const database = await result(request);
    database.onversionchange = () => database.close();
    return database;
  });
}

/**
 * The keyed hash by which an input is recognised.
 * @param {IDBDatabase} database
 * @param {Uint8Array<ArrayBuffer>} content
 */
async function fingerprint(database, content) {
  const secret = await guarded(() => deviceKey(database));
  return toHex(
    new Uint8Array(await crypto.subtle.sign("HMAC", secret, content)),
  );
}

/**
 * The key of this browser: made once, kept in the database, and of a kind that
 * no script can read out.
 * @param {IDBDatabase} database
 * @returns {Promise<CryptoKey>}
 */
async function deviceKey(database) {
  const known = await result(
    database.transaction("device").objectStore("device").get(KEY),
  );
  if (known) return known;
  const fresh = await crypto.subtle.generateKey(
    { name: "HMAC", hash: "SHA-256" },
    false,
    ["sign"],
  );
  const transaction = database.transaction("device", "readwrite", {
    durability: "strict",
  });
  const ended = end(transaction);
  ended.catch(() => {});
  const device = transaction.objectStore("device");
  // Another tab may have been faster.
  const theirs = await result(device.get(KEY));
  if (theirs) return theirs;
  device.add(fresh, KEY);
  await ended;
  return fresh;
}

/**
 * @param {{cost: number}[]} rows
 * @returns {number}
 */
function total(rows) {
  const sum = rows.reduce((before, row) => before + row.cost, 0);
  if (!Number.isFinite(sum)) throw new Error("a row without a cost");
  return sum;
}

/** @param {number} value */
function format(value) {
  return String(Number(value.toPrecision(6)));
}

/**
 * @template T
 * @param {IDBRequest<T>} request
 * @returns {Promise<T>}
 */
function result(request) {
  return new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
}

/**
 * @param {IDBTransaction} transaction
 * @returns {Promise<void>} once it is on the disk
 */
function end(transaction) {
  return new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () =>
      reject(transaction.error ?? new Error("the transaction was undone"));
  });
}

/** @param {IDBTransaction} transaction */
function abort(transaction) {
  try {
    transaction.abort();
  } catch {
    // It has ended already.
  }
}

/**
 * @template T
 * @param {() => Promise<T>} work
 * @returns {Promise<T>}
 */
async function guarded(work) {
  try {
    return await work();
  } catch (error) {
    if (error instanceof Exhausted || error instanceof RangeError) throw error;
    const { message } = /** @type {Error} */ (error);
    throw new Broken(
      `The ledger of this browser cannot be used (${message}), so nothing was` +
        " sent. Load the page again; perhaps there is no space, or private" +
        " browsing keeps nothing.",
    );
  }
}
