"""A training step with our convolutions, and with the compiler's.

Of what follows a frozen prefix of the face recognizer, as the main study trains
it: a batch of stored features, the gradient of the cross-entropy.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import measure
import optax

from hybridpriv.networks import convolution, dlib, staged

_BATCH = 128
_CUTS = ("block10", "block11", "block12")


def run(quick: bool) -> list[measure.Row]:
  """Measure the step behind each cut.

  Args:
    quick: whether to take the last cut alone, and few rounds.
  """
  rows = []
  for cut in _CUTS[-1:] if quick else _CUTS:
    rows += measure.compare(
      f"resnet29_dlib behind {cut}: gradient of a batch of {_BATCH}",
      measure.Side("", _step(cut, ours=True)),
      [measure.Side("the compiler's convolutions", _step(cut, ours=False))],
      rounds=5 if quick else 21,
    )
  return rows


def _step(cut: str, *, ours: bool) -> Callable[[], Any]:
  """Compile the gradient for one cut."""
  network, shape = dlib.resnet29_dlib(num_classes=62), (150, 150, 3)
  info = staged.describe(network, shape)
  size = next(stage.shape for stage in info if stage.name == cut)
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  variables = jax.jit(
    lambda x: network.init(jax.random.key(0), x, train=False)
  )(jnp.zeros(images.shape))
  _, cloud = staged.split_variables(variables, network, cut)
  features = jax.random.normal(jax.random.key(1), (_BATCH, *size))
  labels = jnp.arange(_BATCH) % 62

  def loss(cloud: Any, x: jax.Array) -> jax.Array:
    logits = network.apply(cloud, x, train=True, after=cut)[0]
    return jnp.mean(
      optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    )

  few = convolution.FEW
  try:
    convolution.FEW = few if ours else _BATCH + 1  # read while it is traced
    compiled = jax.jit(jax.grad(loss)).lower(cloud, features).compile()
  finally:
    convolution.FEW = few
  return lambda: jax.block_until_ready(compiled(cloud, features))
