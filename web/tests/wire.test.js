import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { decode, encode, numBytes, Refused, toHex } from "../src/wire.js";

const VECTORS = JSON.parse(
  readFileSync(
    new URL("../../tests/deploy/wire_vectors.json", import.meta.url),
    "utf8",
  ),
);
const OWN = fromHex(VECTORS.bundle);

/** @param {string} text */
function fromHex(text) {
  return Uint8Array.from(text.match(/../g) ?? [], (b) => parseInt(b, 16));
}

for (const { name, bundle, bits, values, frame } of VECTORS.valid) {
  test(`${name}: written and read`, () => {
    const id = fromHex(bundle);
    assert.equal(toHex(encode(values, { bits, bundle: id })), frame);
    const found = decode(fromHex(frame), { bundle: id });
    assert.deepEqual(found, {
      bundle: id,
      bits,
      values: Int32Array.from(values),
    });
  });
}

for (const { name, frame, code } of VECTORS.refused) {
  test(`${name}: refused`, () => {
    assert.throws(
      () => decode(fromHex(frame), { bundle: OWN }),
      (error) => error instanceof Refused && error.code === code,
    );
  });
}

test("a changed bit is always seen", () => {
  const frame = encode([-3, 0, 3], { bits: 8, bundle: OWN });
  for (let at = 0; at < 8 * frame.length; at++) {
    const changed = frame.slice();
    changed[at >> 3] ^= 1 << (at & 7);
    assert.throws(() => decode(changed, { bundle: OWN }), Refused);
  }
});

test("noise is refused, or is the one way to write what it says", () => {
  let accepted = 0;
  const random = (/** @type {number} */ n) => Math.floor(Math.random() * n);
  for (let i = 0; i < 20_000; i++) {
    const bits = [8, 16, 32][random(3)];
    const values = Array.from({ length: 1 + random(5) }, () => random(99) - 50);
    let frame = encode(values, { bits, bundle: OWN });
    for (let j = random(3); j > 0; j--)
      frame[random(frame.length)] = random(256);
    if (random(4) === 0) frame = frame.slice(0, random(frame.length + 1));
    try {
      const found = decode(frame, { bundle: OWN });
      assert.deepEqual(encode(found.values, found), frame);
      accepted++;
    } catch (error) {
      assert.ok(error instanceof Refused, String(error));
    }
  }
  assert.ok(accepted > 0);
});

test("a frame is read where it lies in a larger buffer", () => {
  const frame = encode([5, -6], { bits: 16, bundle: OWN });
  const larger = new Uint8Array(frame.length + 9);
  larger.set(frame, 4);
  const found = decode(larger.subarray(4, 4 + frame.length));
  assert.deepEqual([...found.values], [5, -6]);
});

test("the largest frame has the bytes that are said", () => {
  const values = new Int32Array(65_535).fill(-1);
  const frame = encode(values, { bits: 32, bundle: OWN });
  assert.equal(frame.length, numBytes({ k: 65_535, bits: 32 }));
  assert.deepEqual(decode(frame).values, values);
});

for (const [name, values, bits, bundle] of /** @type {const} */ ([
  ["too large", [128], 8, OWN],
  ["too small", [-129], 8, OWN],
  ["no whole number", [0.5], 8, OWN],
  ["no number", [NaN], 8, OWN],
  ["other bits", [1], 7, OWN],
  ["a short id", [1], 8, OWN.slice(1)],
  ["nothing", [], 8, OWN],
  ["too many", new Int32Array(65_536), 8, OWN],
])) {
  test(`${name}: fits no frame`, () => {
    assert.throws(() => encode(values, { bits, bundle }), RangeError);
  });
}
