"""Heads on a feature: adversaries that play along in training, attackers."""

import math

import jax
import jax.numpy as jnp
from flax import linen as nn


class Mlp(nn.Module):
  """A fully connected head on any feature, flattened.

  It has no dropout and no statistics: `apply` needs its parameters only, and
  many initializations vmap.

  Attributes:
    hidden: sizes of the hidden layers; () makes the head linear.
    num_classes: number of logits.
  """

  hidden: tuple[int, ...]
  num_classes: int

  @nn.compact
  def __call__(self, feature: jax.Array) -> jax.Array:
    """Compute logits `[b n]`, in float32, from a feature `[b ...]`."""
    x = feature.reshape((feature.shape[0], -1)).astype(jnp.float32)
    for index, size in enumerate(self.hidden, start=1):
      x = nn.Dense(
        size,
        kernel_init=nn.initializers.he_normal(),
        name=f"hidden{index}",
      )(x)
      x = nn.relu(x)
    return nn.Dense(self.num_classes, name="logits")(x)


class Restorer(nn.Module):
  """A fully connected head that restores an array from any feature.

  Attributes:
    hidden: sizes of the hidden layers; () makes the head linear.
    shape: of what it restores, without the batch axis.
  """

  hidden: tuple[int, ...]
  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, feature: jax.Array) -> jax.Array:
    """Compute arrays `[b *shape]`, in float32, from a feature `[b ...]`."""
    flat = Mlp(self.hidden, math.prod(self.shape), name="mlp")(feature)
    return flat.reshape((-1, *self.shape))
