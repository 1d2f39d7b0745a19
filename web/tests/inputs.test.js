import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import * as inputs from "../src/inputs.js";
import { resize } from "../src/resize.js";

// Made with Pillow, and held against it by tests/deploy/page_test.py.
const { cases } = JSON.parse(
  readFileSync(
    new URL("../../tests/deploy/resize_vectors.json", import.meta.url),
    "utf8",
  ),
);

/** The picture of the vectors, as a canvas would give it. */
function read(
  /** @type {number} */ left,
  /** @type {number} */ top,
  /** @type {number} */ width,
  /** @type {number} */ height,
) {
  const found = new Uint8ClampedArray(4 * width * height);
  for (let i = 0; i < height; i++) {
    for (let j = 0; j < width; j++) {
      const [x, y] = [left + j, top + i];
      const at = 4 * (i * width + j);
      for (let c = 0; c < 3; c++) {
        found[at + c] = (37 * x + 91 * y + 53 * c + 7 * x * y) % 256;
      }
      found[at + 3] = 255;
    }
  }
  return found;
}

for (const { size, box, wanted, pixels } of cases) {
  test(`${size} at ${box} to ${wanted}: as Pillow, to the bit`, () => {
    const found = resize(
      (left, top, width, height) => {
        assert.ok(left >= 0 && top >= 0);
        assert.ok(left + width <= size[0] && top + height <= size[1]);
        return read(left, top, width, height);
      },
      { width: size[0], height: size[1] },
      { left: box[0], top: box[1], width: box[2], height: box[3] },
      { width: wanted[0], height: wanted[1] },
    );
    assert.equal(Buffer.from(found).toString("hex"), pixels);
  });
}

test("a white picture stays white", () => {
  const white = (...[, , w, h]) => new Uint8Array(4 * w * h).fill(255);
  const size = { width: 101, height: 67 };
  const box = inputs.centralBox(size, { width: 1, height: 1 });
  const found = resize(white, size, box, { width: 13, height: 13 });
  assert.ok(found.every((v) => v === 255));
});

test("the central box has the wanted shape, and all of a side", () => {
  const square = { width: 40, height: 40 };
  assert.deepEqual(inputs.centralBox({ width: 250, height: 200 }, square), {
    left: 25,
    top: 0,
    width: 200,
    height: 200,
  });
  const tall = { width: 40, height: 80 };
  assert.deepEqual(inputs.centralBox({ width: 250, height: 200 }, tall), {
    left: 75,
    top: 0,
    width: 100,
    height: 200,
  });
});

test("a box is kept on the picture, whole pixels, not too small", () => {
  const picture = { width: 250, height: 200 };
  const wanted = { width: 40, height: 40 };
  for (const [given, expected] of [
    [
      [-5, 300, 100.4],
      [0, 100, 100],
    ],
    [
      [240, -1, 500],
      [50, 0, 200],
    ],
    [
      [10.4, 20.6, 2],
      [10, 21, 16],
    ],
  ]) {
    const [left, top, width] = given;
    const box = inputs.fitBox(
      { left, top, width, height: width },
      picture,
      wanted,
    );
    assert.deepEqual([box.left, box.top, box.width], expected);
    assert.equal(box.height, box.width);
  }
  // A picture smaller than the least box is framed whole.
  const tiny = inputs.fitBox(
    { left: 0, top: 0, width: 2, height: 2 },
    { width: 5, height: 9 },
    wanted,
  );
  assert.equal(tiny.width, 5);
});

test("a window is read, with and without names of columns", () => {
  const expected = Float32Array.from([1, -2.5, 3e-3, 4, 0.5, 6]);
  for (const text of [
    "1,-2.5\n3e-3,4\n.5,6\n",
    "x,y\r\n1,-2.5\r\n0.003,+4\r\n0.5,6.",
    '"x","y"\n"1","-2.5"\n\n0.003, 4 \n0.5,6\n',
  ]) {
    assert.deepEqual(inputs.parseWindow(text, { shape: [3, 2] }), expected);
  }
});

test("a recording is brought to the units of the study, in float32", () => {
  const entry = { shape: [2, 2], scale: [0.1, -3] };
  const found = inputs.parseWindow("1.1,2\n3e8,4\n", entry);
  const factor = Math.fround(0.1);
  assert.deepEqual(
    found,
    Float32Array.from([Math.fround(1.1) * factor, -6, 3e8 * factor, -12]),
  );
  assert.throws(
    () => inputs.parseWindow("1,2\n3,2e38\n", entry),
    /channel 1 is "2e38", too large once multiplied by -3/,
  );
});

for (const [name, text, message] of [
  ["too few rows", "1,2\n3,4\n", /2 rows of 2 columns; expected 3 time steps/],
  ["uneven rows", "1,2\n3\n4,5\n", /3 rows of 1 or 2 columns/],
  ["nothing", "", /0 rows of no columns/],
  ["a word", "1,2\n3,x\n4,5\n", /Time step 1, channel 1 is "x"/],
  ["no number", "1,2\n3,nan\n4,5\n", /expected a finite number/],
  ["too large", "1,2\n3,1e39\n4,5\n", /"1e39"; expected a finite number/],
  ["an empty cell", "1,2\n3,\n4,5\n", /channel 1 is ""/],
  ["a hexadecimal", "1,2\n3,0x10\n4,5\n", /"0x10"/],
]) {
  test(`${name}: no window`, () => {
    assert.throws(
      () => inputs.parseWindow(/** @type {string} */ (text), { shape: [3, 2] }),
      (error) =>
        error instanceof inputs.Unreadable &&
        /** @type {RegExp} */ (message).test(error.message),
    );
  });
}

test("a file that is no text, or too large, is said to be so", async () => {
  const blob = new Blob([Uint8Array.of(0xff, 0xfe, 0x00)]);
  await assert.rejects(inputs.readWindow(blob, { shape: [3, 2] }), /no UTF-8/);
  const large = /** @type {Blob} */ ({ size: 65 * 2 ** 20 });
  await assert.rejects(inputs.readWindow(large, { shape: [3, 2] }), /65 MiB/);
  const marked = new Blob(["\ufeff1,2\n3,4\n5,6\n"]);
  assert.equal((await inputs.readWindow(marked, { shape: [3, 2] }))[0], 1);
});

test("an input is recognised by its type, shape and bytes", () => {
  const entry = { dtype: "uint8", shape: [1, 2, 3] };
  const found = inputs.content(Uint8Array.of(1, 2, 3, 4, 5, 6), entry);
  assert.equal(
    Buffer.from(found).toString("latin1"),
    "uint8 (1, 2, 3) \x01\x02\x03\x04\x05\x06",
  );
  const signal = inputs.content(Float32Array.of(1), {
    dtype: "float32",
    shape: [1, 1],
  });
  assert.equal(Buffer.from(signal.slice(-4)).readFloatLE(), 1);
});
