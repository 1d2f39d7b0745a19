"""Attribute and identity adversaries that learn by gradient."""

import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import adversary
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.privatizers import privatizer as privatizer_lib

_WINDOW = 3  # positions a convolution sees along an axis
_CELLS = 4  # along an axis, whose means a convolutional attacker ends with
_POSITIONS = 1024  # of a code that one is run on
_AT_ONCE = 128  # codes: their windows fit in memory


def linear(
  *,
  learning_rate: float | tuple[float, ...] = (0.003, 0.03),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
  components: int = 256,
) -> attack_lib.Attack:
  """Attack with multinomial logistic regression.

  Args:
    learning_rate: rate, or rates to try.
    weight_decay: decoupled weight decay, or several to try.
    max_steps: limit of the training.
    components: of codes of more than 1,024 values, see `adversary.learn`.
  """
  return _attack(
    "attribute.linear",
    *adversary.dense(()),
    learning_rate,
    weight_decay,
    max_steps,
    components=components,
  )


def mlp(
  *,
  width: int = 64,
  depth: int = 2,
  learning_rate: float | tuple[float, ...] = (0.001, 0.005),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
  components: int = 256,
) -> attack_lib.Attack:
  """Attack with a multi-layer perceptron.

  Args:
    width: units of every hidden layer.
    depth: number of hidden layers.
    learning_rate: rate, or rates to try.
    weight_decay: decoupled weight decay, or several to try.
    max_steps: limit of the training.
    components: of codes of more than 1,024 values, see `adversary.learn`.
  """
  return _attack(
    "attribute.mlp",
    *adversary.dense((width,) * depth),
    learning_rate,
    weight_decay,
    max_steps,
    components=components,
  )


def conv(
  *,
  width: int = 32,
  learning_rate: float | tuple[float, ...] = (0.001, 0.005),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
) -> attack_lib.Attack:
  """Attack with a convolutional network, which knows a pattern anywhere.

  Two convolutions with windows of three positions, the maxima of two in
  between; a last layer reads the mean over all positions and those of the
  cells of a coarse grid.  Codes with more channels than `width` are first
  mapped to so many, position by position.

  Applies to codes [h, w, c] and [t, c] of three positions or more along each
  axis, and of at most 1,024.

  Args:
    width: channels of both convolutions.
    learning_rate: rate, or rates to try.
    weight_decay: decoupled weight decay, or several to try.
    max_steps: limit of the training.
  """

  def applies(noise: privatizer_lib.Privatizer, shape: tuple[int, ...]) -> bool:
    del noise
    *axes, _ = shape
    return (
      len(axes) in (1, 2)
      and min(axes) >= _WINDOW
      and math.prod(axes) <= _POSITIONS
    )

  found = _attack(
    "attribute.conv",
    *_convolutional(width),
    learning_rate,
    weight_decay,
    max_steps,
    by_channel=True,
  )
  return found._replace(applies=applies)


def _convolutional(width: int) -> tuple[adversary.Init, adversary.Logits]:
  """Make a convolutional network, as `adversary.dense` does.

  Convolutions are products of matrices: many networks side by side are then
  batches of these, while a batch of convolutions is slow on a CPU.
  """

  def init(key: jax.Array, codes: jax.Array, num_classes: int) -> Any:
    keys = jax.random.split(key, 3)
    he = jax.nn.initializers.he_normal()
    channels, windows = codes.shape[-1], _WINDOW ** (codes.ndim - 2)
    params: dict[str, Any] = {}
    if channels > width:
      lecun = jax.nn.initializers.lecun_normal()
      params["map"], channels = lecun(keys[0], (channels, width)), width
    params["first"], params["second"] = (
      (he(k, (windows * size, width)), jnp.zeros(width))
      for k, size in zip(keys[1:], (channels, width), strict=True)
    )
    halved = [math.ceil(size / 2) for size in codes.shape[1:-1]]
    cells = math.prod(min(size, _CELLS) for size in halved)
    # From 0, as in a dense network.
    size = (1 + cells) * width
    params["last"] = jnp.zeros((size, num_classes)), jnp.zeros(num_classes)
    return params

  def run(params: Any, codes: jax.Array) -> jax.Array:
    x = codes @ params["map"] if "map" in params else codes
    x = _halve(_convolve(x, *params["first"]))
    x = _convolve(x, *params["second"])
    means = jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))
    kernel, bias = params["last"]
    x = jnp.concatenate([means, attack_lib.flatten(_cells(x))], axis=1)
    return x @ kernel + bias[None]

  def logits(params: Any, codes: jax.Array) -> jax.Array:
    if len(codes) <= _AT_ONCE:
      return run(params, codes)
    return jax.lax.map(
      lambda code: run(params, code[None])[0], codes, batch_size=_AT_ONCE
    )

  return init, logits


def _convolve(x: jax.Array, kernel: jax.Array, bias: jax.Array) -> jax.Array:
  """Convolve maps [b, ..., c] with [window * c, n], and apply a ReLU."""
  axes = x.shape[1:-1]
  edge = _WINDOW // 2
  padded = jnp.pad(x, [(0, 0), *[(edge, edge)] * len(axes), (0, 0)])
  shifted = [
    padded[:, *[slice(a, a + n) for a, n in zip(at, axes, strict=True)]]
    for at in itertools.product(range(_WINDOW), repeat=len(axes))
  ]
  windows = jnp.concatenate(shifted, axis=-1).reshape(-1, len(kernel))
  found = jax.nn.relu(windows @ kernel + bias[None])
  return found.reshape(*x.shape[:-1], -1)


def _halve(x: jax.Array) -> jax.Array:
  """Take the larger of two neighbours along each axis of maps that are >= 0."""
  for axis in range(1, x.ndim - 1):
    odd = [(0, x.shape[axis] % 2 if i == axis else 0) for i in range(x.ndim)]
    pairs = jnp.pad(x, odd)
    pairs = pairs.reshape(*x.shape[:axis], -1, 2, *x.shape[axis + 1 :])
    x = jnp.max(pairs, axis=axis + 1)
  return x


def _cells(x: jax.Array) -> jax.Array:
  """Average maps [b, ..., c] over the cells of a grid, four or fewer a side."""
  for axis in range(1, x.ndim - 1):
    parts = jnp.array_split(x, min(x.shape[axis], _CELLS), axis=axis)
    x = jnp.stack([jnp.mean(part, axis=axis) for part in parts], axis=axis)
  return x


def _attack(
  name: str,
  init: adversary.Init,
  logits: adversary.Logits,
  learning_rate: float | tuple[float, ...],
  weight_decay: float | tuple[float, ...],
  max_steps: int,
  *,
  by_channel: bool = False,
  components: int = 0,
) -> attack_lib.Attack:
  """Make an attack of a network."""

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    return adversary.learn(
      key,
      victim,
      auxiliary,
      init=init,
      logits=logits,
      learning_rate=knobs["learning_rate"],
      weight_decay=knobs["weight_decay"],
      by_channel=by_channel,
      components=components,
      max_steps=max_steps,
    )

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    return logits(attacker["params"], adversary.scaled(attacker, codes))

  grid = attack_lib.grid(learning_rate=learning_rate, weight_decay=weight_decay)
  return attack_lib.Attack(name, fit, score, grid)
