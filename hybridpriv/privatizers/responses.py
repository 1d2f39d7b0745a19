"""How the cloud's answers respond to a feature: E[J^T J], read in chunks.

J `[n D]` is the Jacobian of all logits by the feature. Samples do not share
statistics when a network answers, so that one reverse pass for each logit
gives its gradient by every feature of a chunk. Sums over chunks are float64,
on the host.
"""

import functools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import moments

_ROWS = 256  # features in a pass through the cloud half


def gram(features: Any, cloud: Any) -> np.ndarray:
  """Compute E[J^T J] `[D D]`, float64, in one pass over features `[n ...]`."""
  return _total(features, cloud, None)


def gram_times(features: Any, cloud: Any, basis: np.ndarray) -> np.ndarray:
  """Compute E[J^T J] times a basis `[D b]`, without forming it.

  Args:
    features: `[n ...]`.
    cloud: `jax.tree_util.Partial` from features to `{label: logits [b n]}`.
    basis: `[D b]`.
  """
  return _total(features, cloud, basis.astype(np.float32))


def _total(features: Any, cloud: Any, basis: np.ndarray | None) -> np.ndarray:
  shape = tuple(features.shape[1:])
  size = math.prod(shape)
  one = jax.ShapeDtypeStruct((1, size), np.float32)
  flat = functools.partial(_logits, shape=shape)
  num_logits = jax.eval_shape(flat, cloud, one).shape[1]
  total = np.zeros((size, size if basis is None else basis.shape[1]))
  for chunk, num_rows in moments.chunks(features, _ROWS):
    for which in range(num_logits):
      block = _block(cloud, chunk, num_rows, which, basis, shape=shape)
      total += np.asarray(block)
  return total / features.shape[0]


def _logits(cloud: Any, flat: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Join all logits `[b n]` of flat features `[b D]`."""
  answers = cloud(flat.reshape((-1, *shape)))
  return jnp.concatenate(jax.tree.leaves(answers), axis=-1)


@functools.partial(jax.jit, static_argnames="shape")
def _block(cloud, chunk, num_rows, which, basis, *, shape):
  """Sum g g^T, or g g^T times a basis, over the gradients g of one logit."""
  valid = jnp.arange(chunk.shape[0]) < num_rows

  def chosen(flat: jax.Array) -> jax.Array:
    logits = jnp.take(_logits(cloud, flat, shape), which, axis=-1)
    return jnp.sum(jnp.where(valid, logits, 0.0))

  gradient = jax.grad(chosen)(chunk)
  own = gradient if basis is None else moments.dot(gradient, basis)
  return moments.dot(gradient.T, own)
