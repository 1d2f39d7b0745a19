"""Mean and covariance of features read in chunks.

Features are whatever has a shape `[n ...]` and gives slices of rows: an
array, a memory map, a view that computes them. Products run in float32 in
jitted blocks of one shape, sums over blocks in float64 on the host. All
values are taken relative to the mean of the first chunk, so that a tight
cloud far from the origin loses nothing.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

_CHUNK_VALUES = 2**24  # 64 MiB in float32


def features_of(context: Mapping[str, Any]) -> Any:
  """Return the features a privatizer is fitted on.

  Raises:
    ValueError: there are none, or fewer than two.
  """
  if "features" not in context:
    raise ValueError(
      f"The context holds {sorted(context)}; this fit needs 'features'."
    )
  features = context["features"]
  if len(features.shape) < 2 or features.shape[0] < 2:
    raise ValueError(
      f"Got features of shape {features.shape}; expected [n ...], n > 1."
    )
  return features


def offset(features: Any) -> np.ndarray:
  """Compute the mean `[D]` of the first chunk, float32."""
  chunk, num_rows = next(chunks(features))
  total = np.sum(chunk[:num_rows], axis=0, dtype=np.float64)
  return np.asarray(total / num_rows, np.float32)


def mean_variance(features: Any) -> float:
  """Compute the variance of a component, averaged over components."""
  shift = offset(features)
  first, second = np.zeros(shift.size), 0.0
  for chunk, num_rows in chunks(features):
    block_first, block_second = _block_sums(chunk, num_rows, shift)
    first += np.asarray(block_first)
    second += np.sum(np.asarray(block_second), dtype=np.float64)
  count = features.shape[0]
  centred = second - np.sum(first**2) / count
  return float(max(centred, 0.0) / (count - 1) / shift.size)


def mean(features: Any) -> np.ndarray:
  """Compute the mean `[D]`, float64."""
  shift = offset(features)
  total = np.zeros(shift.size)
  for chunk, num_rows in chunks(features):
    total += np.asarray(_block_sums(chunk, num_rows, shift)[0])
  return shift + total / features.shape[0]


def covariance(features: Any) -> np.ndarray:
  """Compute the covariance `[D D]`, float64, in one pass."""
  shift = offset(features)
  first, second = np.zeros(shift.size), np.zeros((shift.size, shift.size))
  for chunk, num_rows in chunks(features):
    block_first, block_second = _block_products(chunk, num_rows, shift)
    first += np.asarray(block_first)
    second += np.asarray(block_second)
  count = features.shape[0]
  return (second - np.outer(first, first) / count) / (count - 1)


def covariance_times(
  features: Any, centre: np.ndarray, basis: np.ndarray
) -> np.ndarray:
  """Compute the covariance times a basis `[D b]`, in one pass, float64.

  Args:
    features: `[n ...]`.
    centre: their mean `[D]`.
    basis: `[D b]`; the covariance itself is never formed.
  """
  centre, basis = centre.astype(np.float32), basis.astype(np.float32)
  total = np.zeros(basis.shape)
  for chunk, num_rows in chunks(features):
    total += np.asarray(_block_times(chunk, num_rows, centre, basis))
  return total / (features.shape[0] - 1)


def chunks(
  features: Any, most: int = _CHUNK_VALUES
) -> Iterator[tuple[np.ndarray, int]]:
  """Yield float32 chunks `[rows D]` of one shape and their number of rows.

  Args:
    features: `[n ...]`.
    most: rows of a chunk, where what is computed of one needs memory.

  Raises:
    ValueError: a feature is not finite.
  """
  count, size = features.shape[0], math.prod(features.shape[1:])
  rows = min(count, most, max(1, _CHUNK_VALUES // max(size, 1)))
  for start in range(0, count, rows):
    part = np.asarray(features[start : start + rows], np.float32)
    part = part.reshape((part.shape[0], size))
    if not np.isfinite(part).all():
      bad = start + int(np.argmin(np.isfinite(part).all(axis=1)))
      raise ValueError(
        f"Feature {bad} of {count} is not finite; look for a training that "
        "diverged, or for missing values in the inputs."
      )
    num_rows = part.shape[0]
    if num_rows < rows:
      part = np.concatenate([part, np.zeros((rows - num_rows, size), "f4")])
    yield part, num_rows


def _centred(chunk: jax.Array, num_rows: int, shift: jax.Array) -> jax.Array:
  """Subtract the shift; rows of padding become 0."""
  valid = jnp.arange(chunk.shape[0])[:, None] < num_rows
  return jnp.where(valid, chunk - shift[None, :], 0)


@jax.jit
def _block_sums(chunk, num_rows, shift):
  centred = _centred(chunk, num_rows, shift)
  return jnp.sum(centred, axis=0), jnp.sum(centred**2, axis=0)


@jax.jit
def _block_products(chunk, num_rows, shift):
  centred = _centred(chunk, num_rows, shift)
  return jnp.sum(centred, axis=0), dot(centred.T, centred)


@jax.jit
def _block_times(chunk, num_rows, centre, basis):
  centred = _centred(chunk, num_rows, centre)
  return dot(centred.T, dot(centred, basis))


def dot(left: jax.Array, right: jax.Array) -> jax.Array:
  """Multiply matrices in full float32 precision."""
  return jnp.matmul(left, right, precision=jax.lax.Precision.HIGHEST)
