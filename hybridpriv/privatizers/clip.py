"""Bounds on the norm of a code."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.privatizers import privatizer

__all__ = ["norm"]

# Slack, relative, for the rounding of the norm and of the scaled code in
# float32: without it a clipped code may exceed its bound.
_SLACK = 1e-5


def norm(*, clip_norm: float) -> privatizer.Privatizer:
  """Build the privatizer that scales long codes down to a norm.

  A code, flattened, of L2 norm above `clip_norm` keeps its direction. The
  state `{"clip_norm": []}` is an array: bounds stack and vmap.

  Guarantee: the norm of the output is at most `clip_norm`, which alone
  protects nothing; noise of a known scale after it has a bounded sensitivity.

  Args:
    clip_norm: the bound, above 0, in the units of the code.

  Raises:
    ValueError: `clip_norm` is not above 0.
  """
  if not clip_norm > 0:
    raise ValueError(f"clip_norm={clip_norm}; expected a number above 0.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key, context
    return {"clip_norm": jnp.asarray(clip_norm, jnp.float32)}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    del key
    flat = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
    bound = state["clip_norm"] * (1 - _SLACK)
    # The floor keeps the gradient finite at a zero feature.
    length = jnp.sqrt(jnp.sum(flat**2, axis=1, keepdims=True) + 1e-12)
    scale = bound / jnp.maximum(length, bound)
    return (flat * scale).reshape(feature.shape)

  return privatizer.Privatizer(
    name="clip.norm",
    fit=fit,
    encode=encode,
    decode=lambda state, code: code,
    radius=lambda state, r: jnp.minimum(r, state["clip_norm"]),
  )
