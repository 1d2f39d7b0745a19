import assert from "node:assert/strict";
import { test } from "node:test";

import * as sampler from "../src/sampler.js";
import { chiSquareTail, count, fit } from "./helpers.js";

const LEAST = 1e-6; // a fair sampler fails less often than that

test("the helper knows chi-square", () => {
  // 1 - 2 degrees have closed forms; others from a table.
  for (const [value, degrees, expected] of [
    [2, 2, Math.exp(-1)],
    [40, 2, Math.exp(-20)],
    [18.307, 10, 0.05],
    [124.342, 100, 0.05],
    [10.828, 1, 0.001],
    [90, 100, 0.7537],
  ]) {
    const found = chiSquareTail(value, degrees);
    assert.ok(
      Math.abs(found / expected - 1) < 2e-3,
      `${value}, ${degrees}: ${found}, not ${expected}`,
    );
  }
});

test("a double is the ratio that it is, exactly", () => {
  for (const [value, n, d] of /** @type {[number, bigint, bigint][]} */ ([
    [24, 24n, 1n],
    [0.5, 1n, 2n],
    [10.75, 43n, 4n],
    [0.1, 3602879701896397n, 36028797018963968n],
    [2 ** 60, 2n ** 60n, 1n],
    [Number.MIN_VALUE, 1n, 2n ** 1074n],
    [0, 0n, 1n],
  ])) {
    assert.deepEqual(sampler.ratio(value), { n, d });
  }
  for (let i = 0; i < 200; i++) {
    const value = Math.random() * 2 ** (i % 60);
    const { n, d } = sampler.ratio(value);
    assert.equal(Number(n) / Number(d), value);
    assert.ok(d === 1n || n % 2n === 1n, "lowest terms");
  }
  for (const value of [NaN, Infinity, -1]) {
    assert.throws(() => sampler.ratio(value), RangeError);
  }
});

test("whole numbers below a limit are equally likely", () => {
  for (const limit of [1, 2, 3, 7, 255, 256, 257, 300]) {
    const draws = 200 * limit;
    const counts = count(draws, () => Number(sampler.below(BigInt(limit))));
    assert.ok([...counts.keys()].every((v) => v >= 0 && v < limit));
    if (limit === 1) continue;
    const p = fit(counts, (j) => (j >= 0 && j < limit ? 1 : 0), limit);
    assert.ok(p > LEAST, `limit ${limit}: p=${p}`);
  }
  assert.throws(() => sampler.below(0n), RangeError);
});

test("large limits are reached, and not exceeded", () => {
  const limit = 2n ** 200n + 12345n;
  let most = 0n;
  for (let i = 0; i < 2000; i++) {
    const drawn = sampler.below(limit);
    assert.ok(drawn >= 0n && drawn < limit);
    if (drawn > most) most = drawn;
  }
  assert.ok(most > (limit * 9n) / 10n);
});

test("an event comes as often as exp(-x) says", () => {
  const draws = 40_000;
  for (const [n, d] of [
    [0n, 1n],
    [1n, 1000n],
    [1n, 3n],
    [1n, 1n],
    [5n, 2n],
    [4n, 1n],
  ]) {
    const p = Math.exp(-Number(n) / Number(d));
    const found = count(draws, () => Number(sampler.bernoulliExp(n, d)));
    const hits = found.get(1) ?? 0;
    if (n === 0n) {
      assert.equal(hits, draws);
      continue;
    }
    const away = (hits - draws * p) / Math.sqrt(draws * p * (1 - p));
    assert.ok(chiSquareTail(away ** 2, 1) > LEAST, `${n}/${d}: ${away}`);
  }
});

for (const scale of [1, 2, 9]) {
  test(`the discrete Laplace law of scale ${scale}`, () => {
    const counts = count(40_000, () =>
      Number(sampler.discreteLaplace(BigInt(scale))),
    );
    const p = fit(counts, (j) => Math.exp(-Math.abs(j) / scale), 60 * scale);
    assert.ok(p > LEAST, `p=${p}`);
  });
}

for (const sigma of [0.05, 0.3, 0.5, 1, 1.7, Math.PI, 24, 96.5]) {
  test(`the discrete Gaussian law of sigma ${sigma}`, () => {
    const law = sampler.ratio(sigma);
    const counts = count(30_000, () => Number(sampler.discreteGaussian(law)));
    const reach = Math.ceil(12 * sigma) + 2;
    const weight = (/** @type {number} */ j) =>
      Math.exp((-j * j) / (2 * sigma * sigma));
    if (sigma === 0.05) {
      // Nothing but 0 has a probability to speak of: exp(-200).
      assert.deepEqual([...counts.keys()], [0]);
      return;
    }
    const p = fit(counts, weight, reach);
    assert.ok(p > LEAST, `p=${p}`);
  });
}

test("a wrong law is found out", () => {
  const law = sampler.ratio(3);
  const counts = count(30_000, () => Number(sampler.discreteGaussian(law)));
  const p = fit(counts, (j) => Math.exp((-j * j) / (2 * 3.2 * 3.2)), 40);
  assert.ok(p < LEAST, `p=${p}`);
});

test("noise is added to each value by itself, and saturates", () => {
  const values = [127, -128, 0, 5];
  const counts = values.map(() => new Set());
  for (let i = 0; i < 500; i++) {
    const noisy = sampler.addNoise(values, { sigma: 4, bits: 8 });
    noisy.forEach((v, j) => counts[j].add(v));
    assert.ok(noisy.every((v) => v >= -128 && v <= 127));
  }
  assert.ok(counts[0].has(127) && counts[1].has(-128));
  assert.ok(counts.every((seen) => seen.size > 5));
  // Far beyond what a double holds exactly, and still whole.
  const far = sampler.addNoise([0], { sigma: 2 ** 80, bits: 32 });
  assert.ok(far[0] === 2 ** 31 - 1 || far[0] === -(2 ** 31));
  for (const sigma of [0, -1, NaN, Infinity]) {
    assert.throws(() => sampler.addNoise([0], { sigma, bits: 8 }), RangeError);
  }
});

test("bits come from nowhere but crypto.getRandomValues", (context) => {
  const never = context.mock.method(Math, "random", () => {
    throw new Error("not this one");
  });
  const asked = context.mock.method(crypto, "getRandomValues");
  for (let i = 0; i < 2000; i++) sampler.discreteGaussian({ n: 24n, d: 1n });
  assert.equal(never.mock.callCount(), 0);
  assert.ok(asked.mock.callCount() > 2);
});
