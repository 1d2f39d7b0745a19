"""Averages of codes, in front of any attack.

Codes of one input are averaged by `attack.Victim.sample`.  Here those of
several inputs are, as one code of a system that sends their mean: whatever
attack takes codes learns from such means, and is asked about such means.
"""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.privatizers import privatizer as privatizer_lib

NAME = "audit.mean"


def of_inputs(
  noise: privatizer_lib.Privatizer, num: int
) -> privatizer_lib.Privatizer:
  """Make the random part that sends the mean of codes of several inputs.

  Each input has noise of its own.  Where noise is not Gaussian, or codes are
  rounded, the mean is of what was sent, and not of what was meant.

  Guarantee: none; whoever averages is the attacker.

  Args:
    noise: the random part of one code; its state, in a tuple of one, is the
      state here.
    num: inputs of a mean; deterministic parts are [b, num, ...].

  Returns:
    A chain of one member.
  """

  def encode(state: Any, key: jax.Array, clean: jax.Array) -> jax.Array:
    keys = jax.random.split(key, num)

    def add(total: jax.Array, one: Any) -> tuple[jax.Array, None]:
      return total + noise.encode(state, *one), None

    # A running sum, as for codes of one input.
    start = jnp.zeros(
      jax.eval_shape(noise.encode, state, keys[0], clean[:, 0]).shape
    )
    parts = (keys, jnp.moveaxis(clean, 1, 0))
    return jax.lax.scan(add, start, parts)[0] / num

  return privatizer_lib.chain(
    privatizer_lib.Privatizer(
      name=NAME,
      fit=noise.fit,
      encode=encode,
      decode=lambda state, code: code,
      radius=noise.radius,
      is_random=noise.is_random,
    )
  )
