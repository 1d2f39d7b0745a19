/**
 * Exact noise of the discrete Gaussian law on the whole numbers.
 *
 * A whole number j has the probability exp(-j^2 / (2 sigma^2)), up to a
 * constant, exactly: by rejection in rational arithmetic (Canonne, Kamath and
 * Steinke 2020, arXiv 2004.00010, algorithms 1 to 3).  There is no floating
 * point in it, whose gaps have given noise away, and its bits are those of the
 * operating system, through crypto.getRandomValues.
 */

/**
 * A ratio of whole numbers, its denominator above 0.
 * @typedef {{n: bigint, d: bigint}} Ratio
 */

const random = new Uint8Array(4096);
let used = random.length;

/** @returns {number} a byte that was not used before */
function randomByte() {
  if (used === random.length) {
    crypto.getRandomValues(random);
    used = 0;
  }
  const byte = random[used];
  random[used++] = 0; // who reads the memory later must not find the noise
  return byte;
}

/**
 * Draw a whole number from 0 to limit - 1, all equally likely.
 * @param {bigint} limit above 0
 * @returns {bigint}
 */
export function below(limit) {
  if (limit <= 0n) throw new RangeError(`limit=${limit}; expected 1 or more`);
  const bits = limit === 1n ? 0 : (limit - 1n).toString(2).length;
  const whole = Math.ceil(bits / 8);
  const mask = 0xff >> (8 * whole - bits);
  for (;;) {
    let drawn = 0n;
    for (let i = 0; i < whole; i++) {
      const byte = randomByte();
      drawn = (drawn << 8n) | BigInt(i ? byte : byte & mask);
    }
    if (drawn < limit) return drawn;
  }
}

/**
 * Be true with probability n / d.
 * @param {bigint} n from 0 to d
 * @param {bigint} d above 0
 */
export function bernoulli(n, d) {
  return below(d) < n;
}

/**
 * Be true with probability exp(-n / d) (algorithm 1).
 * @param {bigint} n 0 or more
 * @param {bigint} d above 0
 */
export function bernoulliExp(n, d) {
  for (; n > d; n -= d) {
    if (!bernoulliExp(1n, 1n)) return false;
  }
  let k = 1n;
  while (bernoulli(n, d * k)) k++;
  return k % 2n === 1n;
}

/**
 * Draw j with a probability in proportion to exp(-|j| / scale) (algorithm 2).
 * @param {bigint} scale 1 or more
 * @returns {bigint}
 */
export function discreteLaplace(scale) {
  for (;;) {
    const low = below(scale);
    if (!bernoulliExp(low, scale)) continue;
    let high = 0n;
    while (bernoulliExp(1n, 1n)) high++;
    const size = low + scale * high;
    const isNegative = bernoulli(1n, 2n);
    // Else 0 would come twice as often.
    if (isNegative && size === 0n) continue;
    return isNegative ? -size : size;
  }
}

/**
 * Draw j with a probability in proportion to exp(-j^2 / (2 sigma^2))
 * (algorithm 3).
 * @param {Ratio} sigma above 0
 * @returns {bigint}
 */
export function discreteGaussian({ n, d }) {
  const scale = n / d + 1n;
  const [nn, dd] = [n * n, d * d];
  for (;;) {
    const drawn = discreteLaplace(scale);
    const size = drawn < 0n ? -drawn : drawn;
    // (|j| - sigma^2 / scale)^2 / (2 sigma^2) as one ratio.
    const off = size * dd * scale - nn;
    if (bernoulliExp(off * off, 2n * nn * dd * scale * scale)) return drawn;
  }
}

/**
 * The ratio that a floating-point number is, exactly.
 * @param {number} value finite, 0 or more
 * @returns {Ratio} in lowest terms
 */
export function ratio(value) {
  if (!(value >= 0 && value < Infinity)) {
    throw new RangeError(`${value}; expected a finite number, 0 or more`);
  }
  let n = value;
  let d = 1n;
  // Doubling is exact and ends: a double has a power of two below the line.
  while (!Number.isInteger(n)) {
    n *= 2;
    d *= 2n;
  }
  return { n: BigInt(n), d };
}

/**
 * Add noise to a code and saturate it to the bits of the wire.
 * @param {ArrayLike<number>} values whole numbers [k]
 * @param {{sigma: number, bits: number}} law sigma above 0
 * @returns {Int32Array}
 */
export function addNoise(values, { sigma, bits }) {
  const law = ratio(sigma);
  if (law.n === 0n) throw new RangeError("sigma=0; expected a number above 0");
  const most = 1n << BigInt(bits - 1);
  return Int32Array.from(values, (value) => {
    const noisy = BigInt(value) + discreteGaussian(law);
    if (noisy < -most) return Number(-most);
    return Number(noisy < most ? noisy : most - 1n);
  });
}
