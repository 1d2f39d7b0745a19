"""Attacks that compare a code with the attacker's own codes."""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib

_TOGETHER = 2**24  # distances that are held at a time


def _own_codes(
  key: jax.Array,
  victim: attack_lib.Victim,
  auxiliary: attack_lib.Auxiliary,
  draws: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draw the training codes several times: codes [m, d], labels, weights."""
  index = jnp.tile(auxiliary.train_index, draws)
  codes = attack_lib.flatten(victim.sample(key, index))
  return codes, auxiliary.label[index], auxiliary.train_weights[index]


def _moments(
  codes: jax.Array, weights: jax.Array
) -> tuple[jax.Array, jax.Array]:
  """Weighted mean and scale (see `attack.scale`) by component."""
  weights = weights[:, None] / jnp.sum(weights)
  mean = jnp.sum(codes * weights, axis=0)
  variance = jnp.sum((codes - mean[None]) ** 2 * weights, axis=0)
  return mean, attack_lib.scale(variance)


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
  """Squared distances [len(a), len(b)] of centred codes, by a Gram matrix."""
  cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  norms = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
  return jnp.maximum(norms - 2 * cross, 0.0)


def _kth_smallest(values: jax.Array, k: jax.Array) -> jax.Array:
  """Bound the k-th smallest of each column [m, b] of distances from above.

  By bisection of the numbers' bits, whose order is that of the numbers as none
  is negative: within a few ulp, however far the farthest is.  A sort, or
  `top_k`, is slower on a CPU, and sums down columns use its vector units.
  """
  bits = jax.lax.bitcast_convert_type(jnp.abs(values), jnp.int32)  # no -0
  finite = jnp.where(jnp.isfinite(values), bits, 0)

  def halve(_: int, bounds: tuple[jax.Array, jax.Array]) -> Any:
    low, high = bounds
    middle = low + (high - low) // 2
    enough = jnp.sum(bits <= middle[None], axis=0) >= k
    return jnp.where(enough, low, middle), jnp.where(enough, middle, high)

  start = (jnp.min(bits, axis=0), jnp.max(finite, axis=0))
  # The smallest one itself answers k = 1, exactly.
  high = jax.lax.fori_loop(0, 24, halve, start)[1]
  high = jnp.where(k <= 1, start[0], high)
  return jax.lax.bitcast_convert_type(high, jnp.float32)


def nearest(
  *, neighbours: tuple[int, ...] = (1, 10, 40), draws: int = 1
) -> attack_lib.Attack:
  """Attack by the nearest neighbours among the attacker's own codes.

  Components are scaled by their spread; a vote weighs less for a class with
  more samples, so that classes start equal.

  Args:
    neighbours: numbers of neighbours to try.
    draws: how often the attacker has each of its own samples encoded.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    codes, label, weights = _own_codes(key, victim, auxiliary, draws)
    mean, spread = _moments(codes, weights)
    # Padding is put at the centre: whatever it was, it changes no rounding.
    used = weights[:, None] > 0
    return {
      "codes": jnp.where(
        used, attack_lib.standardise(codes, mean, spread), 0.0
      ),
      "mean": mean,
      "spread": spread,
      "votes": jax.nn.one_hot(label, auxiliary.num_classes) * weights[:, None],
      "neighbours": knobs["neighbours"],
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    mean, spread = attacker["mean"], attacker["spread"]
    codes = attack_lib.standardise(codes, mean, spread)
    usable = jnp.sum(attacker["votes"], axis=1) > 0

    def vote(codes: jax.Array) -> jax.Array:
      distance = _squared_distances(attacker["codes"], codes)
      distance = jnp.where(usable[:, None], distance, jnp.inf)
      limit = _kth_smallest(distance, attacker["neighbours"])
      near = (distance <= limit[None]).astype(jnp.float32)
      # Among classes with equal votes the nearest neighbour's wins.
      first = distance <= jnp.min(distance, axis=0)[None]
      return jnp.matmul(
        (near + 1e-3 * first).T,
        attacker["votes"],
        precision=jax.lax.Precision.HIGHEST,
      )

    # A long list of the attacker's own is compared with few codes at a time.
    few = max(_TOGETHER // attacker["codes"].shape[0], 1)
    even = codes.shape[0] // few * few
    if few >= codes.shape[0]:
      return vote(codes)
    parts = jax.lax.map(vote, codes[:even].reshape(-1, few, codes.shape[1]))
    parts = parts.reshape(even, -1)
    return jnp.concatenate([parts, vote(codes[even:])])

  grid = tuple({"neighbours": float(k)} for k in neighbours)
  return attack_lib.Attack("neighbour.nearest", fit, score, grid)


def centroid(*, draws: int = 4) -> attack_lib.Attack:
  """Attack by the nearest class mean, components scaled by their spread.

  Args:
    draws: how often the attacker has each of its own samples encoded.
  """

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    del knobs
    codes, label, weights = _own_codes(key, victim, auxiliary, draws)
    one_hot = jax.nn.one_hot(label, auxiliary.num_classes) * weights[:, None]
    count = jnp.sum(one_hot, axis=0)
    mean, _ = _moments(codes, weights)
    codes, known = codes - mean[None], count > 0
    sums = jnp.matmul(one_hot.T, codes, precision=jax.lax.Precision.HIGHEST)
    means = sums / jnp.where(known, count, 1.0)[:, None]
    _, within = _moments(codes - means[label], weights)
    means = means / within[None]
    low, high = attack_lib.reach(means, known, jnp.ones([]))
    return {
      "means": means,
      "mean": mean,
      "within": within,
      "known": known,
      "low": low,
      "high": high,
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.flatten(codes) - attacker["mean"][None]
    codes = codes / attacker["within"][None]
    codes = jnp.clip(codes, attacker["low"][None], attacker["high"][None])
    distance = _squared_distances(codes, attacker["means"])
    return jnp.where(attacker["known"][None], -distance, -jnp.inf)

  return attack_lib.Attack("neighbour.centroid", fit, score, ({"none": 0.0},))
