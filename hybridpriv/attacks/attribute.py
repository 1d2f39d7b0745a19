"""Attribute and identity adversaries that learn by gradient."""

import itertools
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import adversary
from hybridpriv.attacks import attack as attack_lib


def linear(
  *,
  learning_rate: float | tuple[float, ...] = (0.003, 0.03),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
) -> attack_lib.Attack:
  """Attack with multinomial logistic regression.

  Args:
    learning_rate: rate, or rates to try.
    weight_decay: decoupled weight decay, or several to try.
    max_steps: limit of the training.
  """
  return _network(
    "attribute.linear", (), learning_rate, weight_decay, max_steps
  )


def mlp(
  *,
  width: int = 64,
  depth: int = 2,
  learning_rate: float | tuple[float, ...] = (0.001, 0.005),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
) -> attack_lib.Attack:
  """Attack with a multi-layer perceptron.

  Args:
    width: units of every hidden layer.
    depth: number of hidden layers.
    learning_rate: rate, or rates to try.
    weight_decay: decoupled weight decay, or several to try.
    max_steps: limit of the training.
  """
  return _network(
    "attribute.mlp", (width,) * depth, learning_rate, weight_decay, max_steps
  )


def _network(
  name: str,
  hidden: tuple[int, ...],
  learning_rate: float | tuple[float, ...],
  weight_decay: float | tuple[float, ...],
  max_steps: int,
) -> attack_lib.Attack:
  """Make an attack of a dense network; parameters are (kernel, bias) pairs."""

  def logits(params: Any, codes: jax.Array) -> jax.Array:
    for kernel, bias in params[:-1]:
      codes = jax.nn.relu(codes @ kernel + bias[None])
    kernel, bias = params[-1]
    return codes @ kernel + bias[None]

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    def init(key: jax.Array, codes: jax.Array) -> Any:
      sizes = (codes.shape[1], *hidden, auxiliary.num_classes)
      keys = jax.random.split(key, len(sizes))
      he = jax.nn.initializers.he_normal()
      layers = [
        (he(k, (a, b)), jnp.zeros(b))
        for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
      ]
      # From 0: what the attacker's own codes never excite has no say.
      return [*layers[:-1], jax.tree.map(jnp.zeros_like, layers[-1])]

    return adversary.learn(
      key,
      victim,
      auxiliary,
      init=init,
      logits=logits,
      learning_rate=knobs["learning_rate"],
      weight_decay=knobs["weight_decay"],
      max_steps=max_steps,
    )

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    mean, std = attacker["mean"], attacker["std"]
    codes = attack_lib.standardise(codes, mean, std)
    return logits(attacker["params"], codes)

  rates, decays = (
    (x,) if isinstance(x, float) else x for x in (learning_rate, weight_decay)
  )
  grid = tuple(
    {"learning_rate": r, "weight_decay": d}
    for r, d in itertools.product(rates, decays)
  )
  return attack_lib.Attack(name, fit, score, grid)
