"""Projection of features on a few directions."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import context as context_lib
from hybridpriv.privatizers import moments, privatizer, responses

__all__ = ["active_subspace", "pca"]

# Features up to this size have their covariance formed, 128 MiB in float64,
# in one pass over the data; larger ones are read once for each power.
_FORMED = 4096
_OVERSAMPLING = 8  # directions beyond k in a block (Halko et al. 2011)
_MAX_POWERS = 16
# Largest residual of a direction, relative to the largest variance. Streamed
# products carry float32 rounding; a formed matrix costs nothing to be exact.
_STREAMED_TOLERANCE = 1e-6
_FORMED_TOLERANCE = 1e-9
# Mean square response, relative to the largest, that is rounding in float32.
_SILENT = 1e-6


def pca(*, k: int) -> privatizer.Privatizer:
  """Build the privatizer that keeps the k principal components.

  `u = P (z - mean)` goes over the wire; the cloud half gets
  `P^T u + mean` in the shape of the feature. The state holds `mean`, in the
  feature's shape, `components [k D]`, orthonormal rows with the entry
  of largest magnitude positive, and `variances [k]`, descending, with n - 1
  in the denominator.

  The fit reads the features in chunks: once when a feature has at most 4096
  values; otherwise once for the mean and once for each step of a block
  Krylov method, at most 16, until the residuals of the k directions are below
  1e-6 of the largest variance; no D x D matrix is formed then.

  Guarantee: none. What an attacker wants may lie in the k directions.

  Args:
    k: number of components, 1 or more.

  Raises:
    ValueError: `k` is below 1; in `fit`, `k` is larger than min(n - 1, D), or
      a feature is not finite.

  References:
    Osia et al., arXiv 1703.02952, the reduced embedding; Musco and Musco
    2015, arXiv 1504.05477, algorithm 2 (block Krylov).
  """
  if k < 1:
    raise ValueError(f"k={k}; expected 1 or more components.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    features = moments.features_of(context)
    size = math.prod(features.shape[1:])
    largest = min(features.shape[0] - 1, size)
    if k > largest:
      raise ValueError(
        f"project.pca got k={k} and {features.shape[0]} features of {size} "
        f"values; expected k of at most {largest}."
      )
    centre = moments.mean(features)
    if size <= _FORMED:
      matrix = moments.covariance(features)
      tolerance, times = _FORMED_TOLERANCE, matrix.__matmul__
    else:
      tolerance = _STREAMED_TOLERANCE

      def times(basis: np.ndarray) -> np.ndarray:
        return moments.covariance_times(features, centre, basis)

    variances, vectors = _leading(key, times, size, k, tolerance)
    return {
      "mean": jnp.asarray(centre.reshape(features.shape[1:]), jnp.float32),
      "components": jnp.asarray(vectors.T, jnp.float32),
      "variances": jnp.asarray(variances, jnp.float32),
    }

  return privatizer.Privatizer(
    name="project.pca", fit=fit, encode=_encode, decode=_decode, radius=_radius
  )


def active_subspace(*, k: int) -> privatizer.Privatizer:
  """Build the privatizer that keeps what the cloud's answer responds to.

  `u = P (z - mean)` goes over the wire, where the rows of P are the k leading
  eigenvectors of E[J^T J]; J is the Jacobian of the cloud's logits by the
  feature, and the mean is over task-train. The cloud half gets
  `P^T u + mean`: what is removed is replaced by its mean. This is null-space
  removal: of a linear cloud half with n logits (J the same everywhere), k = n
  removes its null space exactly, and no answer changes; of any other, what it
  responds to less, on average, than to what is kept. The name is that of the
  eigenspace in the literature on sensitivity analysis.

  No private label is needed. The state holds `mean`, in the feature's shape,
  `components [k D]`, orthonormal rows but for zeros in place of directions
  without response, and `gains [k]`, descending, the mean square change of the
  logits for a step of one along each.

  The fit goes through the cloud half once for each logit where a feature has
  at most 4096 values; otherwise as often for each step of the method of
  `pca`.

  Guarantee: none. What an attacker wants may lie in the k directions; the
  desired label's own leak does.

  Args:
    k: number of directions, 1 or more; all of them (k = D) change no answer.

  Raises:
    ValueError: `k` is below 1; in `fit`, `k` is larger than D, there is no
      cloud half, or its answer does not depend on the feature.

  References:
    Constantine 2015, Active Subspaces, chapter 3; the removal of the null
    space and of weak directions of the server's first layer, arXiv 2104.11413,
    which takes the singular vectors of its weights for those of J.
  """
  if k < 1:
    raise ValueError(f"k={k}; expected 1 or more directions.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    features = moments.features_of(context)
    cloud = context_lib.cloud(context)
    size = math.prod(features.shape[1:])
    if k > size:
      raise ValueError(
        f"project.active_subspace got k={k} and features of {size} values;"
        f" expected k of at most {size}."
      )
    centre = moments.mean(features)
    if size <= _FORMED:
      tolerance = _FORMED_TOLERANCE
      times = responses.gram(features, cloud).__matmul__
    else:
      tolerance = _STREAMED_TOLERANCE

      def times(basis: np.ndarray) -> np.ndarray:
        return responses.gram_times(features, cloud, basis)

    gains, vectors = _leading(key, times, size, k, tolerance)
    if not gains[0] > 0:
      raise ValueError(
        "project.active_subspace: the cloud's answer does not depend on the"
        " feature."
      )
    vectors = vectors * (gains > _SILENT * gains[0])[None]
    return {
      "mean": jnp.asarray(centre.reshape(features.shape[1:]), jnp.float32),
      "components": jnp.asarray(vectors.T, jnp.float32),
      "gains": jnp.asarray(gains, jnp.float32),
    }

  return privatizer.Privatizer(
    name="project.active_subspace",
    fit=fit,
    encode=_encode,
    decode=_decode,
    radius=_radius,
  )


def _encode(
  state: privatizer.State, key: jax.Array, feature: jax.Array
) -> jax.Array:
  """Project features `[b ...]` to codes `[b k]`."""
  del key
  shape = state["mean"].shape
  if feature.shape[1:] != shape:
    raise ValueError(
      f"A projection was fitted on features {shape} and got"
      f" {feature.shape[1:]}."
    )
  centred = feature.astype(jnp.float32) - state["mean"][None]
  flat = centred.reshape((feature.shape[0], -1))
  return moments.dot(flat, state["components"].T)


def _decode(state: privatizer.State, code: jax.Array) -> jax.Array:
  """Restore features `[b ...]` from codes `[b k]`."""
  flat = moments.dot(code, state["components"])
  return flat.reshape((-1, *state["mean"].shape)) + state["mean"][None]


def _radius(state: privatizer.State, r: jax.Array | float) -> jax.Array:
  """Bound ||P (z - mean)|| by ||z|| + ||P mean||: P is a contraction."""
  moved = moments.dot(state["components"], state["mean"].reshape(-1))
  return r + jnp.linalg.norm(moved)


def _leading(
  key: jax.Array,
  times: Callable[[np.ndarray], np.ndarray],
  size: int,
  k: int,
  tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Compute k leading eigenpairs of `[D D]`, largest entries positive."""
  block = min(k + _OVERSAMPLING, size)
  # Drawn on the host: a draw of every new shape would be compiled.
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
  start = rng.normal(size=(size, block))
  values, vectors = _eigenpairs(times, start, k, tolerance)
  rows = np.argmax(np.abs(vectors), axis=0)
  return values, vectors * np.sign(vectors[rows, np.arange(k)])


def _eigenpairs(
  times: Callable[[np.ndarray], np.ndarray],
  start: np.ndarray,
  k: int,
  tolerance: float,
) -> tuple[np.ndarray, np.ndarray]:
  """Compute the k largest eigenpairs of a symmetric matrix by block Krylov.

  Args:
    times: the product of the matrix with `[D b]`.
    start: the first block `[D b]`, b >= k.
    k: number of pairs.
    tolerance: largest norm of a residual, relative to the largest eigenvalue.

  Returns:
    Eigenvalues `[k]`, descending and at least 0, and eigenvectors `[D k]`.
  """
  basis, image = np.empty((len(start), 0)), np.empty((len(start), 0))
  block = np.linalg.qr(start)[0]
  for _ in range(_MAX_POWERS):
    product = times(block)
    basis = np.concatenate([basis, block], axis=1)
    image = np.concatenate([image, product], axis=1)
    small = basis.T @ image
    values, rotation = np.linalg.eigh((small + small.T) / 2)
    values, rotation = values[::-1][:k], rotation[:, ::-1][:, :k]
    residual = image @ rotation - (basis @ rotation) * values[None, :]
    top = max(values[0], 0.0)
    if np.all(np.linalg.norm(residual, axis=0) <= tolerance * top):
      break
    for _ in range(2):  # twice: one projection leaves rounding behind
      product = product - basis @ (basis.T @ product)
    left, scale, _ = np.linalg.svd(product, full_matrices=False)
    block = left[:, scale > 1e-9 * top]
    if not block.shape[1]:
      break
  return np.maximum(values, 0.0), basis @ rotation
