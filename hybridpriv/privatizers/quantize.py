"""Whole numbers in a code: what integer noise and a few bits need.

Until they are on the wire they are float32, which holds them exactly.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.privatizers import privatizer

__all__ = ["saturate", "toward_zero"]

_MOST_LEVELS = 2**20  # whole numbers that float32 still tells apart, with room


def toward_zero(*, levels: int) -> privatizer.Privatizer:
  """Build the privatizer that rounds a code of norm 1 to a grid, toward zero.

  A value v becomes the whole number trunc(v levels), and goes back as that
  divided by `levels`.  No component grows, and therefore no norm: rounding
  to the nearest may add sqrt(k) / 2 steps to a clipped one.  The state
  `{"levels": []}` is an array: grids stack and vmap.

  Guarantee: the norm of the whole numbers is at most `levels` times that of the
  code, which alone protects nothing.

  Args:
    levels: steps between 0 and 1, 1 or more.

  Raises:
    ValueError: `levels` is out of range.
  """
  if not (isinstance(levels, int) and 1 <= levels <= _MOST_LEVELS):
    raise ValueError(
      f"levels={levels}; expected a whole number from 1 to {_MOST_LEVELS}."
    )

  def fit(key: jax.Array, context: Mapping[str, Any]) -> privatizer.State:
    del key, context
    return {"levels": jnp.asarray(levels, jnp.float32)}

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    del key
    return jnp.trunc(feature.astype(jnp.float32) * state["levels"])

  return privatizer.Privatizer(
    name="quantize.toward_zero",
    fit=fit,
    encode=encode,
    decode=lambda state, code: code / state["levels"],
    radius=lambda state, r: r * state["levels"],
  )


def saturate(*, bits: int) -> privatizer.Privatizer:
  """Build the privatizer that puts whole numbers on the wire: int8, 16 or 32.

  Below and above -2^(bits-1) and 2^(bits-1) - 1 the nearest of these is sent.
  It comes after the noise: whatever is done to a noisy code takes nothing from
  a guarantee.

  Guarantee: none of its own; it rounds to the nearest, so that before the noise
  it would leave no bound.

  Args:
    bits: of a value on the wire, 8, 16 or 32.

  Raises:
    ValueError: another number of bits.
  """
  types = {8: jnp.int8, 16: jnp.int16, 32: jnp.int32}
  if bits not in types:
    raise ValueError(
      f"bits={bits}; expected one of {', '.join(map(str, types))}"
    )
  wire = types[bits]

  def encode(
    state: privatizer.State, key: jax.Array, feature: jax.Array
  ) -> jax.Array:
    del state, key
    limits = jnp.iinfo(wire)
    # float32 has no 2^31 - 1: the next below it.
    most = min(limits.max, 2**31 - 2**7)
    return jnp.clip(jnp.round(feature), limits.min, most).astype(wire)

  return privatizer.Privatizer(
    name="quantize.saturate",
    fit=lambda key, context: {},
    encode=encode,
    decode=lambda state, code: code.astype(jnp.float32),
    radius=lambda state, r: jnp.full_like(r, jnp.inf, dtype=jnp.float32),
  )
