r"""Histograms of every component: blind to units, tails and to no law.

What is linear, or near, in the values themselves does not see a secret in how
large they are either way, in which of a few values comes more often, or in
small values beside others a thousand times their size.  With $b_j$ the bin of
component $j$ of a code $z$, between quantiles of the attacker's own codes, it
scores class $c$ as if components were independent given the class:

$$ \sum_{j \in J} \log p_c(b_j), \quad
   p_c(b) = (n_{cbj} + B q_{bj}) / (n_c + B) $$

where $q$ is the share of a bin in the mean over classes, so that a component
that is alike in all of them, or in no more than one bin, says nothing; and $J$
are the components that tell most of the class, or all of them: a thousand
silent ones add up to noise.

References:
  Hand and Yu 2001, Idiot's Bayes: not so stupid after all?
"""

import math
from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import likelihood

_LONGEST = 64  # values of a code whose digits are looked at
_BINARY, _DECIMAL = 24, 6  # digits; float32 holds no more
_SLACK = 2e-7  # of a value: 0.3 is a little less than three tenths


def bayes(
  *,
  bins: int = 16,
  components: tuple[int, ...] = (1, 8, 1_000_000),
  draws: int = 4,
) -> attack_lib.Attack:
  """Attack by the product of one histogram of each component.

  Args:
    bins: of every component, with as many of the attacker's codes in each;
      what lies on the edge of two is counted apart.
    components: numbers to try of those that tell most; more than there are for
      all.
    draws: how often the attacker has each of its own samples encoded.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    index = jnp.tile(auxiliary.train_index, draws)
    codes = attack_lib.flatten(victim.sample(key, index))
    return _counted(codes, index, auxiliary, draws, bins, knobs["components"])

  return attack_lib.Attack(
    "histogram.bayes",
    fit,
    _score,
    attack_lib.grid(components=components),
    is_fixed=True,
  )


def digits(
  *,
  components: tuple[int, ...] = (1, 8, 1_000_000),
) -> attack_lib.Attack:
  """Attack by histograms of the digits of every value.

  Of a value that is a packing of bits, or that carries a mark in its last
  digits, size and distance say nothing; the digits do, binary and decimal, from
  the first of the attacker's largest value on.  Fresh noise drowns them.
  Applies to codes of at most 64 values.

  Args:
    components: as of `bayes`; digits here.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    index = auxiliary.train_index  # once: noise has no digits to learn
    codes = attack_lib.flatten(victim.sample(key, index))
    used = auxiliary.train[:, None] > 0
    largest = jnp.max(jnp.where(used, jnp.abs(codes), 0.0), axis=0)
    found = _counted(
      _digits(codes, largest), index, auxiliary, 1, 16, knobs["components"]
    )
    return {**found, "largest": largest}

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = _digits(attack_lib.flatten(codes), attacker["largest"])
    return _score(attacker, codes)

  return attack_lib.Attack(
    "histogram.digits",
    fit,
    score,
    attack_lib.grid(components=components),
    applies=lambda noise, shape: math.prod(shape) <= _LONGEST,
    is_fixed=True,
  )


def _digits(codes: jax.Array, largest: jax.Array) -> jax.Array:
  """Lay values [b, d] out as digits [b, d * 30], from those of `largest` on."""
  found = []
  for base, num, slack in ((2.0, _BINARY, 0.0), (10.0, _DECIMAL, _SLACK)):
    top = jnp.ceil(jnp.log(jnp.maximum(largest, 1e-30)) / math.log(base) + 1e-4)
    steps = top[:, None] - 1 - jnp.arange(num)[None]  # [d, num]
    # By whole powers: a quotient that is off by rounding moves every digit.
    number = codes[:, :, None] / _power(base, steps)[None]
    number = number + slack * jnp.abs(number)
    digit = jnp.floor(number) - base * jnp.floor(number / base)
    found.append(digit.reshape(len(codes), -1))
  return jnp.concatenate(found, axis=1)


def _power(base: float, exponent: jax.Array) -> jax.Array:
  """Raise to whole powers; exactly, of 2."""
  if base == 2.0:
    return jnp.ldexp(jnp.ones_like(exponent), exponent.astype(jnp.int32))
  return base**exponent


def _counted(
  codes: jax.Array,
  index: jax.Array,
  auxiliary: attack_lib.Auxiliary,
  draws: int,
  bins: int,
  components: jax.Array,
) -> dict[str, jax.Array]:
  """Count codes [m, d] of the auxiliary samples `index` by class and bin."""
  used = jnp.tile(auxiliary.train, draws)
  ordered = jnp.sort(jnp.where(used[:, None] > 0, codes, jnp.inf), axis=0)
  at = jnp.arange(1, bins) * jnp.sum(used > 0) // bins
  edges = ordered[at]
  one_hot = jax.nn.one_hot(auxiliary.label[index], auxiliary.num_classes)
  member = one_hot * used[:, None] / draws  # no draw is a sample of its own
  total = jnp.sum(member, axis=0)[None, :, None]
  number = _number(codes, edges)

  def count(one: jax.Array) -> jax.Array:
    return likelihood.product(member.T, jnp.where(number == one, 1.0, 0.0))

  counts = jax.lax.map(count, jnp.arange(2 * bins - 1))  # [bins, n, d]
  known = total > 0
  mean = counts / jnp.where(known, total, 1.0)
  mean = jnp.sum(mean, axis=1, keepdims=True) / jnp.sum(known)
  share = (counts + bins * mean) / (total + bins)
  # Of a bin that is empty everywhere nothing is known.
  logs = jnp.where(mean > 0, jnp.log(share / jnp.where(mean > 0, mean, 1)), 0)
  # What is alike in all classes must not answer by rounding.
  logs = jnp.where(jnp.abs(logs) < 1e-6, 0.0, logs)
  told = jnp.sum(jnp.where(known, share * logs, 0.0), axis=(0, 1))  # [d]
  place = jnp.argsort(jnp.argsort(-told))
  kept = jnp.where(place < components, 1.0, 0.0)
  return {
    "edges": edges,
    "logs": logs * kept[None, None],
    "known": known[0, :, 0],
  }


def _score(attacker: Any, codes: jax.Array) -> jax.Array:
  number = _number(attack_lib.flatten(codes), attacker["edges"])

  def add(total: jax.Array, own: Any) -> tuple[jax.Array, None]:
    one, logs = own
    here = jnp.where(number == one, 1.0, 0.0)
    return total + likelihood.product(here, logs.T), None

  logs = attacker["logs"]
  start = jnp.zeros((codes.shape[0], logs.shape[1]))
  found, _ = jax.lax.scan(add, start, (jnp.arange(len(logs)), logs))
  return jnp.where(attacker["known"][None], found, -jnp.inf)


def _number(codes: jax.Array, edges: jax.Array) -> jax.Array:
  """Give the bins of codes [b, d] by edges [bins - 1, d], from 0 on.

  Each edge is a bin of its own: a value that comes often may be one.
  """

  def add(total: jax.Array, edge: jax.Array) -> tuple[jax.Array, None]:
    return total + (codes > edge[None]) + (codes >= edge[None]), None

  start = jnp.zeros(codes.shape, jnp.int32)
  return jax.lax.scan(add, start, edges)[0]
