r"""Coordinates in which codes vary alike in all directions.

Noise that is a thousand times as large as what tells a secret, along a
direction of its own, stands in every component once the two are rotated:
scaling component by component leaves it there, and training by gradient finds
the small direction too late.  In whitened coordinates both are as large.

The matrix is the symmetric root $W = C^{-1/2}$ of the covariance, with a floor
under its eigenvalues.  In float32 a covariance holds variances down to a
millionth of the largest; a second pass, over what the first one leaves, reaches
as much farther.  Each has the root of the floor.

References:
  Kessy, Lewin and Strimmer 2018, Optimal whitening and decorrelation (ZCA).
"""

import jax
import jax.numpy as jnp

LONGEST = 64  # values of a code; more have more noise to whiten than secrets
_FLOOR = 1e-12  # of the largest eigenvalue: twice what float32 holds
_UNEVEN = 1e-2  # of it: attackers that learn by gradient manage up to here
_SAMPLES = 2  # for each value: of fewer a covariance is uneven by itself


def matrix(
  codes: jax.Array, weights: jax.Array, floor: jax.Array | float = _FLOOR
) -> jax.Array:
  """Find the matrix that whitens codes.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
    floor: share of the largest eigenvalue that every eigenvalue gets at least.

  Returns:
    [d, d]; codes @ matrix vary alike, as far as the floor lets them.
  """
  return _rooted(codes, weights, floor, _spectrum(codes, weights))


def where_uneven(codes: jax.Array, weights: jax.Array) -> jax.Array:
  """Give `matrix` where directions differ in size, else the identity [d, d].

  Codes of a hundred times the variance in one direction as in another, or
  less, stay as they are; so do those of fewer than two samples for each value,
  among which some direction is small, or none at all, by chance.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
  """
  spectrum = _spectrum(codes, weights)
  values, size = spectrum[0], codes.shape[1]
  is_uneven = values[0] < _UNEVEN * values[-1]
  is_known = jnp.sum(weights > 0) >= _SAMPLES * size
  return jnp.where(
    is_uneven & is_known,
    _rooted(codes, weights, _FLOOR, spectrum),
    jnp.eye(size, dtype=codes.dtype),
  )


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Multiply matrices in full precision."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _spectrum(
  codes: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Give eigenvalues [d], ascending, and vectors [d, d] of the covariance."""
  values, vectors = jnp.linalg.eigh(
    product((codes * weights[:, None]).T, codes)
  )
  return values, vectors


def _rooted(
  codes: jax.Array,
  weights: jax.Array,
  floor: jax.Array | float,
  spectrum: tuple[jax.Array, jax.Array],
) -> jax.Array:
  """Make the matrix in two passes, of which the first has its spectrum."""
  first = _root(spectrum, floor)
  second = _root(_spectrum(product(codes, first), weights), floor)
  return product(first, second)


def _root(
  spectrum: tuple[jax.Array, jax.Array], floor: jax.Array | float
) -> jax.Array:
  values, vectors = spectrum
  values = jnp.maximum(values, jnp.sqrt(floor) * values[-1]) + 1e-30
  return product(vectors / jnp.sqrt(values)[None], vectors.T)
