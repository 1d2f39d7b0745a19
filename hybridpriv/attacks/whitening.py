r"""Coordinates in which codes vary alike in all directions.

Noise that is a thousand times as large as what tells a secret, along a
direction of its own, stands in every component once the two are rotated:
scaling component by component leaves it there, and training by gradient finds
the small direction too late.  In whitened coordinates both are as large.

With the covariance $C$ of codes of $d$ values, and a ridge $\rho$, the matrix
$W$ is such that $W^T (C + \rho \, (tr \, C / d) \, I) W = I$.  In float32 a
covariance holds variances down to a millionth of the largest; a second pass,
over what the first one leaves, reaches as much farther.

Matrices are eliminated here and not handed to LAPACK: two programs that do so
at once may wait for each other for ever on a CPU of two cores, and attackers
that whiten are most there are.

References:
  Kessy, Lewin and Strimmer 2018, Optimal whitening and decorrelation.
"""

import jax
import jax.numpy as jnp

LONGEST = 64  # values of a code; more have more noise to whiten than secrets
_TINY = 1e-6  # of the variances: what float32 holds
_UNEVEN = 0.1  # of a variance: attackers that learn by gradient manage
_SHIFT = 1e-5  # of the largest variance there can be, for each direction
_HELD = 1e-4  # of a variance once whitened: below, there was next to none
_SHRUNK = 1e-2  # of the mean variance, added along each principal direction
_SAMPLES = 2  # for each value: of fewer a covariance is uneven by itself
_WIDE = 64  # directions of a long code that may be levelled
_EACH = 4  # samples for each of them, at least: fewer they would hold by chance
_REST = 1e-3  # of all variance, in all other directions: next to nothing
_ROUNDING = 1e-10  # of all variance: below, what is left is rounding


def matrix(
  codes: jax.Array, weights: jax.Array, ridge: jax.Array | float = 0.0
) -> jax.Array:
  """Find the matrix that whitens codes.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
    ridge: share of the mean variance that is added in every direction: a
      direction of so much keeps half of its variance, and with much more all
      are scaled alike.

  Returns:
    [d, d]; codes @ matrix vary alike, as far as the ridge lets them.
  """
  covariance = _covariance(codes, weights)
  unit = jnp.trace(covariance) / len(covariance)
  identity = jnp.eye(len(covariance), dtype=codes.dtype)
  first = _inverse_root(covariance + _TINY * unit * identity)
  left = _covariance(product(codes, first), weights)
  left = left + ridge * unit * product(first.T, first)
  return product(first, _inverse_root(left))


def where_uneven(codes: jax.Array, weights: jax.Array) -> jax.Array:
  """Give `matrix` where directions differ in size, else the identity [d, d].

  Codes stay as they are where every value, those before it given, still varies
  by a tenth of its variance or more; so do those of fewer than two samples for
  each value, among which some direction is small, or none at all, by chance.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
  """
  covariance = _covariance(codes, weights)
  pivots, _ = _eliminated(covariance)
  is_uneven = jnp.any(pivots < _UNEVEN * jnp.diagonal(covariance))
  is_known = jnp.sum(weights > 0) >= _SAMPLES * codes.shape[1]
  return jnp.where(
    is_uneven & is_known,
    matrix(codes, weights),
    jnp.eye(codes.shape[1], dtype=codes.dtype),
  )


def principal(
  key: jax.Array, codes: jax.Array, weights: jax.Array, size: int
) -> jax.Array:
  """Find directions in which long codes vary most, and whiten along these.

  They are those of a randomised range finder with one power iteration: sums of
  products of matrices, and nothing of the size of a code squared.

  Args:
    key: typed key.
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
    size: number of directions r, at most m and d.

  Returns:
    [d, r]; codes @ matrix vary alike, the smallest of them less, and those not
    at all that are rounding.

  References:
    Halko, Martinsson and Tropp 2011, algorithm 4.4, arXiv 0909.4061;
    Fukaya et al. 2020, shifted Cholesky QR.
  """
  seen = _widest(key, codes * jnp.sqrt(weights)[:, None], size)
  spread = _covariance(product(codes, seen), weights)
  turn = _inverse_root(_raised(spread, _SHRUNK))
  # Where samples have fewer directions, what is left of the others is rounding.
  # It is small in these codes and not in new ones, and Adam learns it as fast.
  held = jnp.sum(turn * product(spread, turn), axis=0, keepdims=True)
  return product(seen, jnp.where(held > _HELD, turn, 0.0))


def level(rows: jax.Array) -> list[tuple[jax.Array, jax.Array]]:
  """Find how to bring the few directions to size that drown all others.

  Noise ten thousand times as large as what tells a secret, along 64 directions
  or fewer of a code of thousands of values, leaves of the secret less than what
  any share of the variance lets through.  Where all other directions hold less
  than a thousandth of the variance, these few come down to the size of the
  others: in two steps of a thousand at most, as float32 sees no farther.

  Args:
    rows: centred codes [m, d], the square root of the weight in every row.

  Returns:
    Two pairs, V [d, r] and B [r, r]: z becomes z + z V B V^T by one after the
    other, and stays as it is where no directions drown the others.  Directions
    of the size that large ones come down to lose some of theirs.
  """
  found, used = [], jnp.sum(jnp.any(rows != 0, axis=1))
  size = max(min(_WIDE, min(rows.shape) // _EACH), 1)
  least = _ROUNDING * jnp.sum(rows**2) + 1e-30
  for key in jax.random.split(jax.random.key(0)):
    wide = _widest(key, rows, size)
    seen = product(rows, wide)
    spread = product(seen.T, seen)
    held = jnp.trace(spread)
    rest = jnp.sum((rows - product(seen, wide.T)) ** 2)
    unit = jnp.maximum(rest / min(rows.shape), _TINY * held)
    unit = jnp.maximum(unit, least)
    identity = jnp.eye(size, dtype=rows.dtype)
    root = _inverse_root(spread + unit * identity)
    drown = (rest < _REST * held) & (used >= _EACH * size)
    change = jnp.where(drown, jnp.sqrt(unit) * root - identity, 0.0)
    rows = rows + product(product(seen, change), wide.T)
    found.append((wide, change))
  return found


def levelled(
  rows: jax.Array, levels: list[tuple[jax.Array, jax.Array]]
) -> jax.Array:
  """Bring codes [m, d] to the coordinates of `level`."""
  for wide, change in levels:
    rows = rows + product(product(product(rows, wide), change), wide.T)
  return rows


def of_levelled(
  levels: list[tuple[jax.Array, jax.Array]], turn: jax.Array
) -> jax.Array:
  """Turn a matrix [d, k] for codes that are `levelled` into one for others."""
  for wide, change in reversed(levels):
    turn = turn + product(wide, product(change, product(wide.T, turn)))
  return turn


def _widest(key: jax.Array, rows: jax.Array, size: int) -> jax.Array:
  """Find directions [d, size] in which rows [m, d] are largest."""
  seen = product(rows.T, jax.random.normal(key, (len(rows), size)))
  seen = product(rows.T, product(rows, _orthonormal(seen)))
  return _orthonormal(seen)


def _orthonormal(vectors: jax.Array) -> jax.Array:
  """Turn columns [d, r] into nearly orthonormal ones of the same span.

  By Cholesky QR, shifted: columns of a code that has collapsed are all but
  one, and what float32 does not tell apart of them stays small.
  """
  for _ in range(2):
    length = jnp.sqrt(jnp.sum(vectors**2, axis=0, keepdims=True))
    vectors = vectors / (length + 1e-30)
    gram = _raised(product(vectors.T, vectors), _SHIFT * len(vectors.T))
    vectors = product(vectors, _inverse_root(gram))
  return vectors


def _raised(matrix: jax.Array, share: float) -> jax.Array:
  """Add a share of the mean of its diagonal to a matrix [d, d]."""
  unit = jnp.trace(matrix) / len(matrix)
  return matrix + share * unit * jnp.eye(len(matrix), dtype=matrix.dtype)


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Multiply matrices in full precision."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _covariance(codes: jax.Array, weights: jax.Array) -> jax.Array:
  return product((codes * weights[:, None]).T, codes)


def _inverse_root(matrix: jax.Array) -> jax.Array:
  """Find W [d, d] with W^T A W = I for a positive definite A."""
  pivots, inverse = _eliminated(matrix)
  return (inverse / jnp.sqrt(pivots)[:, None]).T


def _eliminated(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
  """Decompose A = L D L^T by Gauss: D [d], above 0, and the inverse of L."""
  size = len(matrix)
  least = _TINY * jnp.max(jnp.diagonal(matrix)) + 1e-30
  places = jnp.arange(size)

  def step(k: jax.Array, both: jax.Array) -> jax.Array:
    pivot = jnp.maximum(both[k, k], least)
    factor = jnp.where(places > k, both[:, k] / pivot, 0.0)
    return both - factor[:, None] * both[k][None]

  identity = jnp.eye(size, dtype=matrix.dtype)
  both = jnp.concatenate([matrix, identity], axis=1)
  both = jax.lax.fori_loop(0, size, step, both)
  return jnp.maximum(jnp.diagonal(both), least), both[:, size:]
