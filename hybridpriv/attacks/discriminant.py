r"""Fisher's linear discriminant: the nearest mean where classes are round.

With the covariance $S$ of codes around the mean $\mu_c$ of their class, all
classes taken together, a code $z$ scores

$$ -(z - \mu_c)^T S^{-1} (z - \mu_c) $$

which is Bayes' rule for Gaussian classes of one covariance.  What is large in
all classes alike, noise in a direction of its own for one, is divided away.

Codes of more values than the attacker has samples have directions in which they
do not vary at all: there $S + \rho I$ stands for $S$, and with rows $A$ of
centred codes, $A^T A = S$, only a matrix of the size of the samples is solved:

$$ (A^T A + \rho I)^{-1} = (I - A^T (A A^T + \rho I)^{-1} A) / \rho $$

References:
  Fisher 1936; Friedman 1989, Regularized Discriminant Analysis.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import rank, whitening

LONGEST = 256  # values of a code that is whitened in full
_MOST = 8192  # long codes of the attacker's own that fit in memory
_TINY = 1e-6  # of all variance: what float32 holds


def linear(
  *,
  ridge: float | tuple[float, ...] = (1e-9, 1e-3, 0.1),
  draws: int = 4,
) -> attack_lib.Attack:
  """Attack by Fisher's linear discriminant, classes counting alike.

  Applies to codes of at most 256 values.

  Args:
    ridge: share of the mean variance within classes that is added in every
      direction, or shares to try; much more than 1 is the nearest class mean.
    draws: how often the attacker has each of its own samples encoded.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    own = _own(key, victim, auxiliary, draws)
    turn = whitening.matrix(own.within, own.weights, knobs["ridge"])
    return {
      "mean": own.mean,
      "std": own.std,
      "turn": turn,
      "means": whitening.product(own.means, turn),
      "known": own.known,
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
    attack_lib.grid(ridge=ridge),
    applies=lambda noise, shape: math.prod(shape) <= LONGEST,
    is_fixed=True,
  )


def shrinkage(
  *,
  ridge: float | tuple[float, ...] = (0.01, 0.1, 1.0),
  units: float | tuple[float, ...] = (0.0, 0.5),
  draws: int = 4,
) -> attack_lib.Attack:
  """Attack by Fisher's linear discriminant with a covariance that is shrunk.

  Applies to codes of more than 256 values, of which whole features are: there
  training by gradient stops long before the small directions that tell people
  apart have their share.  A few directions of noise that drown all others come
  down first, see `whitening.level`.

  Args:
    ridge: as of `linear`, but no knob: every attacker takes the one of several
      that answers its validation best, the first of equals.  Codes have many
      directions of next to no variance.
    units: how much of its own unit a value keeps: 0 brings all to one spread,
      1 leaves them as they are; or several to try.  Values of a ReLU that is
      hardly ever on are little but noise, and small for it.
    draws: how often the attacker has each of its own samples encoded, those of
      validation too; once if codes have no noise, and less often where samples
      are thousands.
  """
  # Not knobs: what is dear is the same for all of them.
  tried = ridge if isinstance(ridge, Sequence) else (ridge,)

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    fit_in = max(_MOST // len(auxiliary.train), 1)
    each = min(draws, fit_in) if victim.noise.is_random else 1
    own = _own(key, victim, auxiliary, each)
    unit = (own.std / jnp.max(own.std)) ** knobs["units"]
    rows = own.within * jnp.sqrt(own.weights)[:, None] * unit[None]
    means = own.means * unit[None]
    levels = whitening.level(rows)
    rows, levelled = (whitening.levelled(x, levels) for x in (rows, means))
    asking = jax.random.fold_in(key, 1)
    # As many codes of each as of its own: one draw chooses by chance.
    places = jnp.tile(auxiliary.validation_index, each)
    held_out = attack_lib.flatten(victim.sample(asking, places))
    truth = auxiliary.label[places]
    counts = jnp.tile(auxiliary.validation_weights, each)
    seen = {"mean": own.mean, "std": own.std, "known": own.known}

    def attacker(turn: jax.Array) -> Any:
      turn = whitening.of_levelled(levels, turn)
      offset = jnp.sum(means * turn.T, axis=1) / 2
      return seen | {"turn": turn * unit[:, None], "offset": offset}

    def worth(turn: jax.Array) -> jax.Array:
      right, _ = rank.of_scores(score(attacker(turn), held_out), truth)
      return jnp.sum(right * counts)

    turns = _shrunk(rows, levelled, jnp.asarray(tried, jnp.float32))
    return attacker(turns[jnp.argmax(jax.lax.map(worth, turns))])

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.standardise(codes, attacker["mean"], attacker["std"])
    scores = whitening.product(codes, attacker["turn"])
    scores = scores - attacker["offset"][None]
    return jnp.where(attacker["known"][None], scores, -jnp.inf)

  return attack_lib.Attack(
    "discriminant.shrinkage",
    fit,
    score,
    attack_lib.grid(units=units),
    applies=lambda noise, shape: math.prod(shape) > LONGEST,
    is_fixed=True,
  )


class _Own(NamedTuple):
  """The attacker's own codes, each value of one spread.

  Attributes:
    mean: of their values [d].
    std: see `attack.spread` [d].
    weights: of the codes, sum 1 [m].
    means: of the classes, 0 where there is no code [k, d].
    within: codes around the mean of their class [m, d].
    known: which classes have codes [k].
  """

  mean: jax.Array
  std: jax.Array
  weights: jax.Array
  means: jax.Array
  within: jax.Array
  known: jax.Array


def _own(
  key: jax.Array,
  victim: attack_lib.Victim,
  auxiliary: attack_lib.Auxiliary,
  draws: int,
) -> _Own:
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
  return _Own(mean, std, weights, means, within, known)


def _shrunk(rows: jax.Array, means: jax.Array, ridges: jax.Array) -> jax.Array:
  """Solve for the directions that tell classes apart.

  Args:
    rows: A [m, d], the square root of the weight in every row.
    means: of the classes [k, d].
    ridges: shares of the mean variance [r].

  Returns:
    (A^T A + ridge * mean variance * I)^-1 means^T, [r, d, k].
  """
  num, size = rows.shape
  is_short = size <= num
  one, other = (rows.T, rows) if is_short else (rows, rows.T)
  gram = whitening.product(one, other)
  right = means.T if is_short else whitening.product(rows, means.T)

  def solve(ridge: jax.Array) -> jax.Array:
    level = jnp.maximum(ridge / size, _TINY) * jnp.sum(rows**2) + 1e-30
    full = gram + level * jnp.eye(len(gram), dtype=gram.dtype)
    # By LU: JAX's Cholesky is slower on a CPU.
    found = jnp.linalg.solve(full, right)
    if is_short:
      return found
    return (means.T - whitening.product(rows.T, found)) / level

  return jax.lax.map(solve, ridges)
