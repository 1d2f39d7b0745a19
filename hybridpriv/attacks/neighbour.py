"""Attacks that compare a code with the attacker's own codes."""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib

_BLOCK = 4096  # codes of the attacker's own that are compared at a time
_TOGETHER = 2**18  # distances that are held at a time: in a CPU's cache


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


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
  """Squared distances [len(a), len(b)] of centred codes, by a Gram matrix."""
  cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  norms = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
  return jnp.maximum(norms - 2 * cross, 0.0)


def nearest(
  *, neighbours: tuple[int, ...] = (1, 10, 40), draws: int = 1
) -> attack_lib.Attack:
  """Attack by the nearest neighbours among the attacker's own codes.

  Components are scaled by their spread; a vote weighs less for a class with
  more samples, so that classes start equal.  All that are as near as the last
  of the neighbours vote as well.  The own codes are read block by block, twice:
  for the distance of the last neighbour, then for the votes; what is held is a
  tile of distances, however many there are.

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
    mean, spread = attack_lib.moments(codes, weights / draws)
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

  most = int(max(neighbours))

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    mean, spread = attacker["mean"], attacker["spread"]
    codes = attack_lib.standardise(codes, mean, spread)
    num, classes = attacker["votes"].shape
    block = min(_BLOCK, num)
    blocks = -(-num // block)
    few = max(_TOGETHER // block, 1)
    last = jnp.clip(attacker["neighbours"], 1, most).astype(jnp.int32) - 1

    def tile(
      number: jax.Array, codes: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
      """Compare codes with a block: distances [b, block], votes."""
      # The last block overlaps the one before it; what was there is left out.
      at = jnp.minimum(number * block, num - block)
      own, votes = (
        jax.lax.dynamic_slice_in_dim(attacker[name], at, block)
        for name in ("codes", "votes")
      )
      is_new = at + jnp.arange(block) >= number * block
      votes = jnp.where(is_new[:, None], votes, 0.0)
      distance = _squared_distances(codes, own)
      usable = jnp.sum(votes, axis=1) > 0
      distance = jnp.where(usable[None], distance, jnp.inf)
      # Without the barrier a distance could be rounded in two ways.
      return jax.lax.optimization_barrier(distance), votes

    def vote(codes: jax.Array) -> jax.Array:
      def nearer(number: Any, nearest: jax.Array) -> jax.Array:
        distance, _ = tile(number, codes)
        both = jnp.concatenate([nearest, distance], axis=1)
        return -jax.lax.top_k(-both, most)[0]

      nearest = jnp.full((codes.shape[0], most), jnp.inf)
      nearest = jax.lax.fori_loop(0, blocks, nearer, nearest)

      def tally(number: Any, total: jax.Array) -> jax.Array:
        distance, votes = tile(number, codes)
        near = (distance <= nearest[:, last, None]).astype(jnp.float32)
        # Among classes with equal votes the nearest neighbour's wins.
        first = distance <= nearest[:, :1]
        return total + jnp.matmul(
          near + 1e-3 * first, votes, precision=jax.lax.Precision.HIGHEST
        )

      zero = jnp.zeros((codes.shape[0], classes))
      return jax.lax.fori_loop(0, blocks, tally, zero)

    even = codes.shape[0] // few * few
    if few >= codes.shape[0]:
      return vote(codes)
    parts = jax.lax.map(vote, codes[:even].reshape(-1, few, codes.shape[1]))
    parts = parts.reshape(even, -1)
    return jnp.concatenate([parts, vote(codes[even:])])

  grid = tuple({"neighbours": float(k)} for k in neighbours)
  return attack_lib.Attack("neighbour.nearest", fit, score, grid, is_fixed=True)


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
    mean, overall = attack_lib.moments(codes, weights / draws)
    codes, known = codes - mean[None], count > 0
    sums = jnp.matmul(one_hot.T, codes, precision=jax.lax.Precision.HIGHEST)
    means = sums / jnp.where(known, count, 1.0)[:, None]
    own = codes - means[label]
    within = attack_lib.spread(own, weights / draws, overall)
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

  return attack_lib.Attack(
    "neighbour.centroid", fit, score, ({"none": 0.0},), is_fixed=True
  )
