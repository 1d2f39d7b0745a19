r"""What is left of the inputs: losses of an adversary that restores them.

The adversary is a player of its own (`config.players`, with a `size`): it sees
the feature or the code, minimises `squared_error` over its own parameters, and
gives what it restored to `advantage`, a term of the defender.  A defence tuned
against one decoder is judged by others, trained anew.
"""

import jax
import jax.numpy as jnp

__all__ = ["advantage", "squared_error"]


def squared_error(*, restored: jax.Array, target: jax.Array) -> jax.Array:
  """Compute the mean squared error of each restored input.

  Args:
    restored: the adversary's `[b ...]`.
    target: what it should be, in the same shape; "inputs/<size>" of the
      context, standardised.

  Returns:
    `[b]` float32, 0 or more, in units of the target squared.

  Raises:
    ValueError: the shapes differ.
  """
  return _mean_square(_float(restored, target) - target.astype(jnp.float32))


def advantage(*, restored: jax.Array, target: jax.Array) -> jax.Array:
  r"""Compute how much better than the mean input each one is restored.

  $\max(0, e_0 - e)$ with the squared error $e$ of what was restored, and $e_0$
  that of the mean of the other targets in the batch, the best answer to a code
  that says nothing.  The defender minimises it: it is rewarded for raising the
  error up to that of guessing, and no further, where it would only chase an
  adversary that is wrong.

  Args:
    restored: the adversary's `[b ...]`, of 2 or more examples.
    target: as in `squared_error`.  A mask of the objective leaves examples out
      of the mean of the loss, not out of the mean input.

  Returns:
    `[b]` float32, 0 or more.

  Raises:
    ValueError: the shapes differ, or there is one example.

  References:
    Xiao et al. 2019, arXiv 1911.10143, and Li et al. 2019, arXiv 1909.04126
    (DeepObfuscator), for the adversary; after Li et al. 2022, arXiv 2205.04007
    (ResSFL), which stops at a given similarity where this stops at guessing.
  """
  if len(target) < 2:
    raise ValueError(
      f"reconstruction.advantage got {len(target)} example; the mean of the"
      " others needs 2 or more: change the batch size."
    )
  error = squared_error(restored=restored, target=target)
  target = target.astype(jnp.float32)
  # From the mean of all to that of the others.
  others = len(target) / (len(target) - 1)
  apart = others * (target - jnp.mean(target, axis=0, keepdims=True))
  return jnp.maximum(_mean_square(apart) - error, 0.0)


def _float(restored: jax.Array, target: jax.Array) -> jax.Array:
  if restored.shape != target.shape:
    raise ValueError(
      f"restored {restored.shape} and target {target.shape}; expected one"
      " shape: give the player the size of its target, as in 'inputs/<size>'."
    )
  return restored.astype(jnp.float32)


def _mean_square(x: jax.Array) -> jax.Array:
  return jnp.mean(x.reshape((len(x), -1)) ** 2, axis=1)
