r"""Coordinates in which codes vary alike in all directions.

Noise that is a thousand times as large as what tells a secret, along a
direction of its own, stands in every component once the two are rotated:
scaling component by component leaves it there, and training by gradient finds
the small direction too late.  In whitened coordinates both are as large.

The matrix is the symmetric root $W = C^{-1/2}$ of the covariance, with a floor
under its eigenvalues.  In float32 a covariance holds variances down to a
millionth of the largest; a second pass, over what the first one leaves, reaches
as much farther.

References:
  Kessy, Lewin and Strimmer 2018, Optimal whitening and decorrelation (ZCA).
"""

import jax
import jax.numpy as jnp

LONGEST = 64  # values of a code; more have more noise to whiten than secrets
_FLOOR = 1e-6  # of the largest eigenvalue: what float32 holds
_UNEVEN = 1e-2  # of it: attackers that learn by gradient manage up to here


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
  first = _root(codes, weights, floor)
  second = _root(product(codes, first), weights, floor)
  return product(first, second)


def where_uneven(codes: jax.Array, weights: jax.Array) -> jax.Array:
  """Give `matrix` where directions differ in size, else the identity [d, d].

  Codes of a hundred times the variance in one direction as in another, or
  less, stay as they are.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
  """
  values = jnp.linalg.eigvalsh(_covariance(codes, weights))
  is_uneven = values[0] < _UNEVEN * values[-1]
  identity = jnp.eye(codes.shape[1], dtype=codes.dtype)
  return jnp.where(is_uneven, matrix(codes, weights), identity)


def triangle(
  codes: jax.Array, weights: jax.Array, floor: jax.Array | float = _FLOOR
) -> jax.Array:
  """Find a triangular matrix that whitens codes too long for `matrix`.

  Args:
    codes: centred codes [m, d].
    weights: of the codes [m], sum 1.
    floor: share of the mean variance that is added in every direction.

  Returns:
    [d, d], upper triangular; codes @ triangle vary alike, as far as the floor
    lets them.
  """
  covariance = _covariance(codes, weights)
  identity = jnp.eye(len(covariance), dtype=codes.dtype)
  ridge = floor * jnp.trace(covariance) / len(covariance) + 1e-30
  root = jnp.linalg.cholesky(covariance + ridge * identity)
  return jax.scipy.linalg.solve_triangular(root, identity, lower=True).T


def product(a: jax.Array, b: jax.Array) -> jax.Array:
  """Multiply matrices in full precision."""
  return jnp.matmul(a, b, precision=jax.lax.Precision.HIGHEST)


def _covariance(codes: jax.Array, weights: jax.Array) -> jax.Array:
  return product((codes * weights[:, None]).T, codes)


def _root(
  codes: jax.Array, weights: jax.Array, floor: jax.Array | float
) -> jax.Array:
  values, vectors = jnp.linalg.eigh(_covariance(codes, weights))
  values = jnp.maximum(values, floor * values[-1]) + 1e-30
  return product(vectors / jnp.sqrt(values)[None], vectors.T)
