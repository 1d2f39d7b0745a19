r"""Noise levels learned against a frozen cloud half.

For codes z with labels y, minimises

$$ E[CE(cloud(z + m + b \epsilon), y)] - w \, mean_i \log b_i $$

over the shift m and the levels b, one each a component, with fresh
$\epsilon \sim N(0, I)$ at every step. Where the answer hardly depends on a
component, its level grows; near the minimum $b_i^2 = w / (D h_i)$, with h_i
the curvature of the cross-entropy along component i.
"""

import math
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hybridpriv.privatizers import moments

_BATCH = 128
_PATH = 15.0  # by so much the logarithm of a level can change in all
_FIRST = 0.01  # level at the start, in RMS standard deviations of the code
_HIGHEST = 100.0  # level at most, in the same unit: it drowns any component


def levels(
  key: jax.Array,
  features: Any,
  cloud: Any,
  labels: Mapping[str, np.ndarray],
  *,
  weight: float,
  num_steps: int,
) -> tuple[jax.Array, jax.Array]:
  """Learn shift and level of every component by Adam.

  Args:
    key: typed key of batches and noise.
    features: `[n ...]`, all of which are held in memory.
    cloud: `jax.tree_util.Partial` from codes to `{label: logits [b n]}`.
    labels: `{label: [n]}`, -1 where unknown.
    weight: w, above 0.
    num_steps: steps of 128 samples.

  Returns:
    m and b, both in the shape of a code.

  Raises:
    ValueError: a label is no class of the cloud's; all codes are equal.
  """
  values = np.asarray(features[:], np.float32)
  _check(cloud, values, labels)
  unit = math.sqrt(moments.mean_variance(values))
  if not unit > 0:
    raise ValueError("noise.learned: all codes of task-train are equal.")
  shape = values.shape[1:]
  params = {
    "level": jnp.full(shape, math.log(_FIRST)),
    "shift": jnp.zeros(shape),
  }
  slow = jax.tree.map(
    lambda x: (jnp.zeros(x.shape), jnp.zeros(x.shape)), params
  )
  rng = np.random.default_rng(np.asarray(jax.random.key_data(key)))
  for step in range(num_steps):
    # A draw with replacement: batches of one shape from few samples, too.
    rows = rng.integers(len(values), size=_BATCH)
    params, slow = _step(
      params,
      slow,
      jax.random.fold_in(key, step),
      cloud,
      values[rows],
      {name: label[rows] for name, label in labels.items()},
      {
        "weight": weight,
        "unit": unit,
        "rate": 2 * _PATH / num_steps * (1 - step / num_steps),
        "count": step + 1,
      },
    )
  return unit * params["shift"], unit * jnp.exp(params["level"])


@jax.jit
def _step(params, slow, key, cloud, codes, labels, now):
  """Take one step of Adam; return parameters and their running moments."""

  def loss(params: Any) -> jax.Array:
    noise = jax.random.normal(key, codes.shape)
    moved = params["shift"][None] + jnp.exp(params["level"])[None] * noise
    logits = cloud(codes + now["unit"] * moved)
    own = [_cross_entropy(logits[name], labels[name]) for name in labels]
    return sum(own) / len(own) - now["weight"] * jnp.mean(params["level"])

  moved, kept = {}, {}
  for name, gradient in jax.grad(loss)(params).items():
    first = 0.9 * slow[name][0] + 0.1 * gradient
    second = 0.999 * slow[name][1] + 0.001 * gradient**2
    own = first / (1 - 0.9 ** now["count"])
    scale = jnp.sqrt(second / (1 - 0.999 ** now["count"])) + 1e-12
    moved[name] = params[name] - now["rate"] * own / scale
    kept[name] = (first, second)
  moved["level"] = jnp.minimum(moved["level"], math.log(_HIGHEST))
  return moved, kept


def _cross_entropy(logits: jax.Array, label: jax.Array) -> jax.Array:
  """Average over the samples whose label is known."""
  known = label >= 0
  log_law = jax.nn.log_softmax(logits.astype(jnp.float32))
  own = jnp.take_along_axis(log_law, jnp.maximum(label, 0)[:, None], axis=1)
  total = jnp.sum(jnp.where(known[:, None], -own, 0.0))
  return total / jnp.maximum(jnp.sum(known), 1)


def _check(
  cloud: Any, values: np.ndarray, labels: Mapping[str, np.ndarray]
) -> None:
  """Refuse labels that are no classes of the cloud's answers."""
  answers = jax.eval_shape(cloud, values[:1])
  for name, label in labels.items():
    if name not in answers:
      raise ValueError(f"The cloud answers {sorted(answers)}, not {name!r}.")
    if label.max() >= answers[name].shape[1]:
      raise ValueError(
        f"Label {name!r} goes up to {label.max()} and the cloud answers"
        f" {answers[name].shape[1]} classes."
      )
