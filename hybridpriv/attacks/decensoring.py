r"""De-censoring: from codes to features that nobody censored, then an attack.

A code trained not to tell a private label may tell of features that do.  The
attacker has another encoder, one that no defence has touched (in a study the
network before fine-tuning), and with it features $r_i$ of its own samples.
It learns from fresh codes $z_i$ of the same samples what such features were,
$\hat r(z)$, and to tell the private label from $r$; it attacks a code by what
the second says of the first.  The features say more of each sample than its
label does: where labels are few, or classes many, that is what it may gain.

References:
  Song and Shmatikov 2020, Overlearning Reveals Sensitive Attributes, arXiv
  1905.11742.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import adversary
from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks.likelihood import product
from hybridpriv.privatizers import privatizer as privatizer_lib

_SHORT = 1024  # values of a code of which several draws of all samples fit


def ridge(
  *,
  strength: float | tuple[float, ...] = (0.001, 0.03, 1.0),
  learning_rate: float | tuple[float, ...] = 0.01,
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
  draws: int = 8,
) -> attack_lib.Attack:
  """Restore features by ridge regression, and attack them by a linear rule.

  Args:
    strength: of the regression, shares of the mean variance of the directions
      that the attacker's codes span, to try.
    learning_rate: of the rule, a rate or rates to try.
    weight_decay: of the rule, decoupled, one or several to try.
    max_steps: limit of the rule's training.
    draws: codes of each sample that the regression sees, where noise is fresh
      and codes have at most 1,024 values; else one.
  """

  def restore(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    sample: Callable[[jax.Array, jax.Array], jax.Array],
    target: jax.Array,
    knobs: Any,
  ) -> Any:
    index, weights = auxiliary.train_index, auxiliary.train_weights
    size = math.prod(jax.eval_shape(sample, key, index).shape[1:])
    if victim.noise.is_random and size <= _SHORT:
      index, weights = jnp.tile(index, draws), jnp.tile(weights, draws) / draws
    codes = sample(key, index)
    return _solve(codes, target[index], weights, knobs["strength"])

  grid = attack_lib.grid(
    strength=strength, learning_rate=learning_rate, weight_decay=weight_decay
  )
  rule = adversary.dense(())
  return _attack(
    "decensoring.ridge",
    restore,
    lambda kernel, x: product(x, kernel),
    rule,
    max_steps,
    grid,
  )


def mlp(
  *,
  width: int = 64,
  learning_rate: float | tuple[float, ...] = (0.001, 0.005),
  weight_decay: float | tuple[float, ...] = (0.001, 0.3),
  max_steps: int = 1000,
) -> attack_lib.Attack:
  """Restore features by a perceptron, and attack them by another.

  The first has two hidden layers and learns from fresh codes at every step
  until its error on the attacker's validation samples stalls; the second has
  one.

  Args:
    width: units of every hidden layer.
    learning_rate: of both, a rate or rates to try.
    weight_decay: of both, decoupled, one or several to try.
    max_steps: limit of either training.
  """
  init, run = adversary.dense((width, width))

  def restore(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    sample: Callable[[jax.Array, jax.Array], jax.Array],
    target: jax.Array,
    knobs: Any,
  ) -> Any:
    del victim  # `sample` asks it
    first, second = jax.random.split(key)
    weights, held_out = auxiliary.train_weights, auxiliary.validation_index

    def error(params: Any, noise: jax.Array, index: jax.Array) -> jax.Array:
      found = run(params, sample(noise, index))
      return jnp.mean((found - target[index]) ** 2, axis=1)

    return adversary.descend(
      second,
      init(first, sample(first, held_out[:1]), target.shape[1]),
      draw=lambda pick: adversary.choose(pick, weights, 64),
      loss=lambda params, noise, index: jnp.mean(error(params, noise, index)),
      judge=lambda params, noise: jnp.sum(
        error(params, noise, held_out) * auxiliary.validation_weights
      ),
      learning_rate=knobs["learning_rate"],
      weight_decay=knobs["weight_decay"],
      max_steps=max_steps,
      patience=6,
    )

  grid = attack_lib.grid(learning_rate=learning_rate, weight_decay=weight_decay)
  rule = adversary.dense((width,))
  return _attack("decensoring.mlp", restore, run, rule, max_steps, grid)


def _attack(
  name: str,
  restore: Callable[..., Any],
  run: Callable[[Any, jax.Array], jax.Array],
  rule: tuple[adversary.Init, adversary.Logits],
  max_steps: int,
  grid: tuple[dict[str, float], ...],
) -> attack_lib.Attack:
  """Make an attack of a way to restore features and a rule that reads them.

  Args:
    name: in results.
    restore: (key, victim, auxiliary, sample, target, knobs) -> parameters;
      sample gives fresh codes as the attacker reads them, (key, places [b]) ->
      [b, d]; target are standardised features of its samples [m + v, r].
    run: (these parameters, such codes [b, d]) -> features [b, r].
    rule: network that reads features.
    max_steps: limit of its training.
    grid: of knobs.
  """
  init, logits = rule

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    keys = jax.random.split(key, 3)
    features = victim.reference(jnp.arange(auxiliary.label.shape[0]))
    # What sends the features themselves is a system like any other.
    sender = dataclasses.replace(
      victim,
      codes=features[None],
      law=(),
      which=jnp.zeros_like(victim.which),
      rows=jnp.arange(len(features)),
      noise=privatizer_lib.chain(),
      num_queries=1,
      bulk=None,  # of codes; these are the attacker's own features
    )
    reader = adversary.learn(
      keys[0],
      sender,
      auxiliary,
      init=init,
      logits=logits,
      learning_rate=knobs["learning_rate"],
      weight_decay=knobs["weight_decay"],
      max_steps=max_steps,
    )
    target = adversary.scaled(reader, features)
    weights = auxiliary.train_weights
    own = attack_lib.flatten(victim.sample(keys[1], auxiliary.train_index))
    mean, std = attack_lib.moments(own, weights)
    low, high = attack_lib.reach(own, weights > 0, jnp.zeros([]))
    seen = {"mean": mean, "std": std, "low": low, "high": high}

    def sample(key: jax.Array, index: jax.Array) -> jax.Array:
      return _read(victim.sample(key, index), seen)

    restorer = restore(keys[2], victim, auxiliary, sample, target, knobs)
    return {"seen": seen, "restorer": restorer, "reader": reader["params"]}

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    features = run(attacker["restorer"], _read(codes, attacker["seen"]))
    limit = attack_lib.LIMIT
    return logits(attacker["reader"], jnp.clip(features, -limit, limit))

  return attack_lib.Attack(name, fit, score, grid, needs_reference=True)


def _read(codes: jax.Array, seen: dict[str, jax.Array]) -> jax.Array:
  """Standardise codes [b, d], none farther out than the attacker's own were.

  A restored feature is a number and not a choice: beyond what was seen, it
  would be wrong without limit.
  """
  codes = attack_lib.flatten(codes)
  codes = jnp.clip(codes, seen["low"][None], seen["high"][None])
  return attack_lib.standardise(codes, seen["mean"], seen["std"])


def _solve(
  codes: jax.Array, target: jax.Array, weights: jax.Array, strength: jax.Array
) -> jax.Array:
  """Solve a weighted ridge regression [d, r], by the smaller of two matrices.

  Args:
    codes: [m, d].
    target: [m, r].
    weights: of the samples [m].
    strength: share of the mean variance along a direction that they span.
  """
  root = jnp.sqrt(weights)[:, None]
  codes, target = root * codes, root * target
  wide = codes.shape[1] > codes.shape[0]
  gram = product(codes, codes.T) if wide else product(codes.T, codes)
  # Padding, of weight 0, spans nothing.
  rank = jnp.minimum(codes.shape[1], jnp.sum(weights > 0))
  unit = jnp.trace(gram) / rank + 1e-6
  system = gram + strength * unit * jnp.eye(len(gram))
  right = target if wide else product(codes.T, target)
  # By LU: JAX's Cholesky is slower on a CPU.
  found = jnp.linalg.solve(system, right)
  return product(codes.T, found) if wide else found
