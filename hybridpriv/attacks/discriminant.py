r"""Fisher's linear discriminant: the nearest mean where classes are round.

With the covariance $S$ of codes around the mean $\mu_c$ of their class, all
classes taken together, a code $z$ scores

$$ -(z - \mu_c)^T S^{-1} (z - \mu_c) $$

which is Bayes' rule for Gaussian classes of one covariance.  What is large in
all classes alike, noise in a direction of its own for one, is divided away.

References:
  Fisher 1936; Friedman 1989, Regularized Discriminant Analysis.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import whitening

_SHORT = 256  # values of a code, up to which eigenvectors are fast
_LONGEST = 1024  # of a code: its square is held for every attacker


def linear(
  *,
  floor: float | tuple[float, ...] = (1e-6, 1e-3, 0.1),
  draws: int = 4,
) -> attack_lib.Attack:
  """Attack by Fisher's linear discriminant, classes counting alike.

  Applies to codes of at most 1,024 values.

  Args:
    floor: share of the largest variance within classes that every direction is
      held to have at least, or shares to try: 1 is the nearest class mean.
    draws: how often the attacker has each of its own samples encoded.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    index = jnp.tile(auxiliary.train_index, draws)
    weights = jnp.tile(auxiliary.train_weights, draws) / draws
    codes = attack_lib.flatten(victim.sample(key, index))
    mean, std = attack_lib.moments(codes, weights)
    codes = attack_lib.standardise(codes, mean, std)
    label = auxiliary.label[index]
    member = jax.nn.one_hot(label, auxiliary.num_classes) * weights[:, None]
    share = jnp.sum(member, axis=0)
    known = share > 0
    sums = whitening.product(member.T, codes)
    means = sums / jnp.where(known, share, 1.0)[:, None]
    within = jnp.where(weights[:, None] > 0, codes - means[label], 0.0)
    if codes.shape[1] <= _SHORT:
      turn = whitening.matrix(within, weights, knobs["floor"])
    else:
      turn = whitening.triangle(within, weights, knobs["floor"])
    return {
      "mean": mean,
      "std": std,
      "turn": turn,
      "means": whitening.product(means, turn),
      "known": known,
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.standardise(codes, attacker["mean"], attacker["std"])
    codes, means = whitening.product(codes, attacker["turn"]), attacker["means"]
    # What all classes are equally far from is left out: nothing cancels.
    scores = whitening.product(codes, means.T)
    scores = scores - jnp.sum(means**2, axis=1)[None] / 2
    return jnp.where(attacker["known"][None], scores, -jnp.inf)

  return attack_lib.Attack(
    "discriminant.linear",
    fit,
    score,
    attack_lib.grid(floor=floor),
    applies=lambda noise, shape: math.prod(shape) <= _LONGEST,
  )
