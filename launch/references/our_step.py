"""A training step of a network of ours, to time it or to see its memory.

  python -m references.our_step '["ResNet-50", 112, 8]'

Alone it takes three steps and prints the bytes that the process had at most.
"""

import functools
import json
import sys
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hybridpriv.networks import resnet, vgg
from references import peak

_CLASSES = 1000
NETWORKS: dict[str, Callable[..., Any]] = {
  "VGG-16": functools.partial(vgg.vgg16, num_classes=_CLASSES),
  "ResNet-18": functools.partial(resnet.resnet18, num_classes=_CLASSES),
  "ResNet-50": functools.partial(resnet.resnet50, num_classes=_CLASSES),
}

State = Any


def update(
  network: Any, labels: jax.Array
) -> tuple[Callable[..., State], Callable[..., State]]:
  """Make two pure functions: (key, x) -> state, and (state, x) -> state.

  The second takes a step of SGD with momentum on the cross-entropy.
  """
  optimizer = optax.sgd(1e-3, momentum=0.9)

  def init(key: jax.Array, x: jax.Array) -> State:
    variables = dict(network.init(key, x[:1], train=False))
    params = variables.pop("params")
    return params, variables, optimizer.init(params), key

  def step(state: State, x: jax.Array) -> State:
    params, rest, moments, key = state
    key, own = jax.random.split(key)

    def loss(params: Any) -> tuple[jax.Array, Any]:
      (logits, _), changed = network.apply(
        {"params": params, **rest},
        x,
        train=True,
        mutable=list(rest),
        rngs={"dropout": own},
      )
      each = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
      return jnp.mean(each), changed

    slope, changed = jax.grad(loss, has_aux=True)(params)
    updates, moments = optimizer.update(slope, moments, params)
    params = optax.apply_updates(params, updates)
    return params, {**rest, **changed}, moments, key

  return init, step


def make(
  name: str, side: int, batch: int, *, is_half: bool = False
) -> Callable[[], None]:
  """Make a function that takes one step; the state before is given away.

  Args:
    name: of the network, one of `NETWORKS`.
    side: of the images in pixels.
    batch: images.
    is_half: whether products are in bfloat16.
  """
  network = NETWORKS[name](dtype="bfloat16" if is_half else "float32")
  images = jax.random.normal(jax.random.key(1), (batch, side, side, 3))
  init, step = update(network, jnp.arange(batch) % _CLASSES)
  held = [jax.jit(init)(jax.random.key(0), images)]
  compiled = jax.jit(step, donate_argnums=0)

  def run() -> None:
    held[0] = jax.block_until_ready(compiled(held[0], images))

  return run


def main(given: str) -> None:
  """Take three steps and print the bytes."""
  run = make(*json.loads(given))
  for _ in range(3):
    run()
  print(peak.num_bytes())


if __name__ == "__main__":
  main(sys.argv[1])
