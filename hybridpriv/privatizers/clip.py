"""Bounds on the norm of a code."""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import moments, privatizer

__all__ = ["norm", "unit_ball"]

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
    return _clipped(feature, state["clip_norm"])

  return privatizer.Privatizer(
    name="clip.norm",
    fit=fit,
    encode=encode,
    decode=lambda state, code: code,
    radius=lambda state, r: jnp.minimum(r, state["clip_norm"]),
  )


def unit_ball(*, clip_norm: float) -> privatizer.Privatizer:
  """Build the privatizer that brings codes into the ball of norm 1.

  A code is divided by `clip_norm` times the root mean square of the norms of
  task-train's codes, and clipped at norm 1, so that what follows (a grid,
  noise) is said in units of the clip norm: after it `noise.isotropic(sigma=s,
  relative=False)` has s for noise multiplier.  Codes should be centred, as
  those of `project.pca` are.  The state `{"unit": []}` is an array: bounds
  stack and vmap.

  Guarantee: the norm of the output is at most 1, which alone protects nothing;
  noise of a known scale after it has a bounded sensitivity.  That the unit was
  taken from data of task-train does not matter to who sends a code.

  Args:
    clip_norm: the bound, above 0, in units of that root mean square.

  Raises:
    ValueError: `clip_norm` is not above 0; in `fit`, all codes are zero.
  """
  if not clip_norm > 0:
    raise ValueError(f"clip_norm={clip_norm}; expected a number above 0.")

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key
    features = moments.features_of(context)
    spread = math.prod(features.shape[1:]) * moments.mean_variance(features)
    unit = math.sqrt(spread + np.sum(moments.mean(features) ** 2))
    if not unit > 0:
      raise ValueError("clip.unit_ball: all codes of task-train are zero.")
    return {"unit": jnp.asarray(clip_norm * unit, jnp.float32)}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    del key
    return _clipped(jnp.asarray(feature) / state["unit"], jnp.ones([]))

  return privatizer.Privatizer(
    name="clip.unit_ball",
    fit=fit,
    encode=encode,
    decode=lambda state, code: code * state["unit"],
    radius=lambda state, r: jnp.minimum(r / state["unit"], 1.0),
  )


def _clipped(feature: jax.Array, clip_norm: jax.Array) -> jax.Array:
  """Scale long features [b ...] down to a norm []."""
  flat = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
  # What is no number would swallow the noise, and be seen.
  flat = jnp.where(jnp.isfinite(flat), flat, 0.0)
  bound = clip_norm * (1 - _SLACK)
  # The floor keeps the gradient finite at a zero feature.
  length = jnp.sqrt(jnp.sum(flat**2, axis=1, keepdims=True) + 1e-12)
  scale = bound / jnp.maximum(length, bound)
  return (flat * scale).reshape(feature.shape)
