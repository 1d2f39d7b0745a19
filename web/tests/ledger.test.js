import assert from "node:assert/strict";
import { test } from "node:test";

import { IDBFactory, IDBObjectStore } from "fake-indexeddb";

import * as ledger from "../src/ledger.js";

const LIMIT = 3;
const bytes = (/** @type {string} */ text) => new TextEncoder().encode(text);

/** A frame that tells how often one was made. */
function frames() {
  let made = 0;
  const make = () => Uint8Array.of(++made);
  return { make, count: () => made };
}

/**
 * @param {IDBDatabase} database
 * @param {() => Uint8Array} make
 * @param {string} content
 * @param {object} [changes]
 */
function charge(database, make, content, changes = {}) {
  return ledger.charge(database, make, {
    bundle: "00010203",
    content: bytes(content),
    cost: 1,
    limit: LIMIT,
    ...changes,
  });
}

test("a new input is paid for, and the same one again is free", async () => {
  const database = await ledger.open(new IDBFactory());
  const { make, count } = frames();
  assert.equal(await ledger.spent(database), 0);
  const first = await charge(database, make, "a");
  assert.deepEqual(first, { frame: Uint8Array.of(1), isNew: true, spent: 1 });
  const again = await charge(database, make, "a");
  assert.deepEqual(again, { frame: Uint8Array.of(1), isNew: false, spent: 1 });
  assert.equal(count(), 1);
  const other = await charge(database, make, "b");
  assert.deepEqual(other, { frame: Uint8Array.of(2), isNew: true, spent: 2 });
  assert.equal(await ledger.spent(database), 2);
});

test("bundles have frames of their own, and share the budget", async () => {
  const database = await ledger.open(new IDBFactory());
  const { make } = frames();
  await charge(database, make, "a");
  const other = await charge(database, make, "a", { bundle: "ffffffff" });
  assert.deepEqual(other, { frame: Uint8Array.of(2), isNew: true, spent: 2 });
});

test("past the limit nothing new is made or sent", async () => {
  const database = await ledger.open(new IDBFactory());
  const { make, count } = frames();
  for (const content of ["a", "b", "c"]) await charge(database, make, content);
  await assert.rejects(charge(database, make, "d"), ledger.Exhausted);
  assert.equal(count(), 3);
  assert.equal(await ledger.spent(database), 3);
  const again = await charge(database, make, "b");
  assert.deepEqual(again.frame, Uint8Array.of(2));
});

test("sums of costs that no double holds reach the limit", async () => {
  const database = await ledger.open(new IDBFactory());
  const { make } = frames();
  const change = { cost: 0.1, limit: 10 * 0.1 };
  for (let i = 0; i < 10; i++) await charge(database, make, `${i}`, change);
  await assert.rejects(charge(database, make, "x", change), ledger.Exhausted);
});

test("two connections at once pay once for one input", async () => {
  const factory = new IDBFactory();
  const tabs = await Promise.all([ledger.open(factory), ledger.open(factory)]);
  const { make, count } = frames();
  const paid = await Promise.all(
    Array.from({ length: 8 }, (_, i) => charge(tabs[i % 2], make, "a")),
  );
  assert.equal(count(), 1);
  assert.equal(paid.filter(({ isNew }) => isNew).length, 1);
  for (const { frame } of paid) assert.deepEqual(frame, Uint8Array.of(1));
  assert.equal(await ledger.spent(tabs[1]), 1);
});

test("two connections at once do not exceed the limit", async () => {
  const factory = new IDBFactory();
  const tabs = await Promise.all([ledger.open(factory), ledger.open(factory)]);
  const { make, count } = frames();
  const ends = await Promise.allSettled(
    Array.from({ length: 10 }, (_, i) => charge(tabs[i % 2], make, `${i}`)),
  );
  const paid = ends.filter(({ status }) => status === "fulfilled");
  assert.equal(paid.length, LIMIT);
  assert.equal(count(), LIMIT);
  for (const end of ends) {
    if (end.status === "rejected") {
      assert.ok(end.reason instanceof ledger.Exhausted);
    }
  }
});

test("the row is written before the frame is handed out", async (context) => {
  const factory = new IDBFactory();
  const database = await ledger.open(factory);
  const order = [];
  const begin = database.transaction.bind(database);
  context.mock.method(
    database,
    "transaction",
    (
      /** @type {[string, IDBTransactionMode, IDBTransactionOptions]} */ ...of
    ) => {
      const transaction = begin(...of);
      if (of[0] === "codes") {
        assert.deepEqual(of.slice(1), ["readwrite", { durability: "strict" }]);
        transaction.addEventListener("complete", () => order.push("written"));
      }
      return transaction;
    },
  );
  await charge(database, frames().make, "a");
  order.push("handed out");
  assert.deepEqual(order, ["written", "handed out"]);
  // And it is there for who opens the ledger anew.
  assert.equal(await ledger.spent(await ledger.open(factory)), 1);
});

test("a full disk costs nothing and sends nothing", async (context) => {
  const database = await ledger.open(new IDBFactory());
  const { make } = frames();
  await charge(database, make, "a");
  const full = context.mock.method(IDBObjectStore.prototype, "add", () => {
    throw new DOMException("no space", "QuotaExceededError");
  });
  await assert.rejects(
    charge(database, make, "b"),
    (error) =>
      error instanceof ledger.Broken && /nothing was sent/.test(error.message),
  );
  full.mock.restore();
  assert.equal(await ledger.spent(database), 1);
  assert.ok((await charge(database, make, "b")).isNew);
});

test("a disk that is full at the last moment, too", async (context) => {
  const database = await ledger.open(new IDBFactory());
  await charge(database, frames().make, "a");
  const add = IDBObjectStore.prototype.add;
  const undone = context.mock.method(
    IDBObjectStore.prototype,
    "add",
    /** @this {IDBObjectStore} */
    function (/** @type {any[]} */ ...of) {
      const request = add.apply(this, of);
      request.addEventListener("success", () => this.transaction.abort());
      return request;
    },
  );
  await assert.rejects(charge(database, frames().make, "b"), ledger.Broken);
  undone.mock.restore();
  assert.equal(await ledger.spent(database), 1);
});

test("noise that cannot be drawn is not paid for", async () => {
  const database = await ledger.open(new IDBFactory());
  const fail = () => {
    throw new Error("no randomness");
  };
  await assert.rejects(charge(database, fail, "a"), ledger.Broken);
  assert.equal(await ledger.spent(database), 0);
});

test("the key cannot be read out, and no content is kept", async () => {
  const database = await ledger.open(new IDBFactory());
  await charge(database, frames().make, "a secret picture");
  const all = (/** @type {string} */ name) =>
    new Promise((resolve) => {
      const store = database.transaction(name).objectStore(name);
      const request = store.getAll();
      request.onsuccess = () => resolve(request.result);
    });
  const [key] = await all("device");
  assert.equal(key.extractable, false);
  await assert.rejects(crypto.subtle.exportKey("raw", key));
  const [row] = await all("codes");
  assert.deepEqual(Object.keys(row).sort(), [
    "bundle",
    "cost",
    "frame",
    "input",
  ]);
  const plain = await crypto.subtle.digest(
    "SHA-256",
    bytes("a secret picture"),
  );
  assert.match(row.input, /^[0-9a-f]{64}$/);
  assert.notEqual(row.input, Buffer.from(plain).toString("hex"));
});

test("devices know an input by different hashes", async () => {
  const seen = new Set();
  for (let i = 0; i < 2; i++) {
    const database = await ledger.open(new IDBFactory());
    await charge(database, frames().make, "a");
    await new Promise((resolve) => {
      const codes = database.transaction("codes").objectStore("codes");
      const request = codes.getAll();
      request.onsuccess = () => {
        seen.add(request.result[0].input);
        resolve(undefined);
      };
    });
  }
  assert.equal(seen.size, 2);
});

test("a cost that is no number above 0 is a mistake", async () => {
  const database = await ledger.open(new IDBFactory());
  for (const cost of [0, -1, NaN, Infinity]) {
    await assert.rejects(
      charge(database, frames().make, "a", { cost }),
      RangeError,
    );
  }
});
