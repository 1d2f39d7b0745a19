/** What several tests need: exact laws, and how likely a deviation is. */

/**
 * The probability that a chi-square of so many degrees exceeds a value: the
 * upper incomplete gamma function, by its series or its continued fraction.
 * @param {number} value
 * @param {number} degrees
 */
export function chiSquareTail(value, degrees) {
  const [a, x] = [degrees / 2, value / 2];
  if (x <= 0) return 1;
  const front = Math.exp(a * Math.log(x) - x - logGamma(a));
  if (x < a + 1) {
    let [term, sum] = [1 / a, 1 / a];
    for (let n = 1; n < 10_000 && term > sum * 1e-15; n++) {
      term *= x / (a + n);
      sum += term;
    }
    return 1 - front * sum;
  }
  // From the back, which needs no care about vanishing denominators.
  let rest = 0;
  for (let n = 2000; n > 0; n--)
    rest = (n * (n - a)) / (x + 2 * n + 1 - a - rest);
  return front / (x + 1 - a - rest);
}

/** @param {number} x above 0, a multiple of 1/2 */
function logGamma(x) {
  let sum = 0;
  let at = x;
  for (; at > 1; at--) sum += Math.log(at - 1);
  return sum + (at === 0.5 ? Math.log(Math.PI) / 2 : 0);
}

/**
 * How likely counts are to deviate as much as these from a law.
 * @param {Map<number, number>} counts
 * @param {(j: number) => number} weight of each value, up to a constant
 * @param {number} reach values further out have no weight to speak of
 */
export function fit(counts, weight, reach) {
  const values = Array.from({ length: 2 * reach + 1 }, (_, i) => i - reach);
  const whole = values.reduce((sum, j) => sum + weight(j), 0);
  const draws = [...counts.values()].reduce((a, b) => a + b, 0);
  // Values that are expected too seldom are counted together.
  const rare = { expected: 0, found: draws };
  let [statistic, cells] = [0, 0];
  for (const j of values) {
    const expected = (draws * weight(j)) / whole;
    if (expected < 10) {
      rare.expected += expected;
      continue;
    }
    const found = counts.get(j) ?? 0;
    rare.found -= found;
    statistic += (found - expected) ** 2 / expected;
    cells++;
  }
  if (rare.expected > 5) {
    statistic += (rare.found - rare.expected) ** 2 / rare.expected;
    cells++;
  } else if (rare.found > 40) {
    return 0; // where next to nothing is expected
  }
  return chiSquareTail(statistic, cells - 1);
}

/**
 * @param {number} draws
 * @param {() => number} draw
 * @returns {Map<number, number>}
 */
export function count(draws, draw) {
  const counts = new Map();
  for (let i = 0; i < draws; i++) {
    const value = draw();
    counts.set(value, (counts.get(value) ?? 0) + 1);
  }
  return counts;
}
