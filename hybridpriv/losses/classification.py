"""Losses of the desired question."""

import jax
import jax.numpy as jnp
import optax

__all__ = ["cross_entropy"]


def cross_entropy(*, logits: jax.Array, labels: jax.Array) -> jax.Array:
  """Compute the cross-entropy of each example, in nats.

  Args:
    logits: `[b n]`, any floating type; computed in float32.
    labels: `[b]`, integers from 0 to n - 1. An unknown label (-1) gives a
      finite number without meaning, for the objective to mask.

  Returns:
    `[b]` float32.

  Raises:
    ValueError: the shapes do not fit.
  """
  if logits.ndim != 2 or labels.shape != logits.shape[:1]:
    raise ValueError(
      f"logits {logits.shape} and labels {labels.shape}; expected [b n], [b]."
    )
  return optax.softmax_cross_entropy_with_integer_labels(
    logits.astype(jnp.float32), labels
  )
