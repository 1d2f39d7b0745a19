import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import * as manifests from "../src/manifest.js";
import * as service from "../src/service.js";
import { decode } from "../src/wire.js";

/** @param {object} [changes] */
function made(changes = {}) {
  return {
    schema: "hybridpriv.bundle/1",
    wire: 1,
    input: { kind: "image", shape: [8, 8, 3], dtype: "uint8", framing: "" },
    answers: { beard: ["no", "yes"] },
    code: {
      k: 3,
      bits: 8,
      radius: 5,
      sigma: 5 / Math.sqrt(0.1),
      low: [-2, -2, -2],
      high: [3, 3, 3],
    },
    utility: { validation: 0.7 },
    guarantee: { assumes: "the device clips" },
    budget: {
      cost: 0.1,
      max_queries: 3,
      table: [1, 2, 3].map((n) => ({ num_queries: n })),
    },
    files: {},
    ...changes,
  };
}

/** @param {object} values */
function bytes(values) {
  return new TextEncoder().encode(JSON.stringify(values));
}

test("the id of a bundle starts the hash of its manifest", async () => {
  const content = bytes(made());
  const own = await manifests.read(content);
  const hash = createHash("sha256").update(content).digest();
  assert.deepEqual([...own.id], [...hash.subarray(0, 4)]);
});

for (const [name, content, message] of /** @type {const} */ ([
  ["no JSON", new TextEncoder().encode("<html>"), /no manifest/],
  ["nothing", bytes({}), /undefined/],
  ["an old one", bytes(made({ wire: 0 })), /wire 0; this page knows/],
  ["another", bytes(made({ schema: "x/2" })), /x\/2/],
  [
    "parts missing",
    bytes(made({ code: { k: 1 } })),
    /code\.bits, code\.radius/,
  ],
  [
    "a price that is not that of the noise",
    bytes(made({ budget: { cost: 0.01, max_queries: 3, table: [] } })),
    /does not cost 0.01/,
  ],
  ["a part that is a list of nothing", bytes(made({ files: 3 })), /files/],
])) {
  test(`${name}: no manifest`, async () => {
    await assert.rejects(manifests.read(content), (error) => {
      return error instanceof manifests.Unfit && message.test(error.message);
    });
  });
}

test("a file is taken only with the hash that is listed", async () => {
  const file = Uint8Array.of(1, 2, 3);
  const hash = createHash("sha256").update(file).digest("hex");
  const own = await manifests.read(
    bytes(made({ files: { "client.onnx": hash } })),
  );
  await manifests.check(own, "client.onnx", file);
  await assert.rejects(
    manifests.check(own, "client.onnx", Uint8Array.of(1, 2, 4)),
    /different bundles/,
  );
  await assert.rejects(manifests.check(own, "other", file), manifests.Unfit);
});

test("a code is whole numbers within the radius, or nothing is sent", () => {
  const { prepare } = manifests;
  assert.deepEqual(prepare(made(), Float32Array.of(3, -0, 0)), {
    code: [3, 0, 0],
    isUnusual: false,
  });
  assert.ok(prepare(made(), [4, 0, 0]).isUnusual);
  assert.ok(prepare(made(), [0, 0, -3]).isUnusual);
  assert.deepEqual(prepare(made(), [3, 4, 0]).code, [3, 4, 0]);
  for (const found of [
    [3, 4, 1],
    [0.5, 0, 0],
    [NaN, 0, 0],
    [Infinity, 0, 0],
    [1, 1],
    [1, 1, 1, 1],
  ]) {
    assert.throws(() => prepare(made(), found), manifests.Unfit, `${found}`);
  }
});

test("a frame has the noise, the bits and the id of its bundle", async () => {
  const own = await manifests.read(bytes(made()));
  const seen = new Set();
  for (let i = 0; i < 20; i++) {
    const { values, bits } = decode(manifests.frame(own, [3, 0, 0]), {
      bundle: own.id,
    });
    assert.deepEqual([values.length, bits], [3, 8]);
    seen.add(String(values));
  }
  assert.ok(seen.size > 10, "no noise");
});

test("what is left and what is proved, by the sum of costs", () => {
  const values = made();
  const { left, limit, proved } = manifests;
  assert.equal(limit(values), 0.1 * 3);
  for (const [spent, codes, entry] of [
    [0.1, 2, 1],
    [0.1 + 0.1, 1, 2],
    [0.1 + 0.1 + 0.1, 0, 3],
    [0.15, 1, 2],
    [0.01, 2, 1],
    [0.4, 0, undefined],
  ]) {
    assert.equal(left(values, spent), codes, `left of ${spent}`);
    assert.equal(proved(values, spent)?.num_queries, entry);
  }
  assert.equal(left(values, 0), 3);
});

test("an answer has the labels and classes of the bundle", () => {
  const { answers } = made();
  const given = { beard: { no: 0.25, yes: 0.75, more: 9 }, other: {} };
  assert.deepEqual(service.read(given, answers), {
    beard: { no: 0.25, yes: 0.75 },
  });
  for (const wrong of [
    {},
    { beard: { no: 1 } },
    { beard: { no: 1, yes: "1" } },
  ]) {
    assert.throws(() => service.read(wrong, answers));
  }
});
