"""Attacks that compare a code with the attacker's own codes."""

from typing import Any

import jax
import jax.numpy as jnp

from hybridpriv.attacks import attack as attack_lib


def _own_codes(
  key: jax.Array,
  victim: attack_lib.Victim,
  auxiliary: attack_lib.Auxiliary,
  draws: int,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Draw all auxiliary codes several times: codes [m, d], labels, weights."""
  num = auxiliary.label.shape[0]
  index = jnp.tile(jnp.arange(num), draws)
  codes = attack_lib.flatten(victim.sample(key, index))
  weights = attack_lib.class_weights(
    auxiliary.label, auxiliary.train, auxiliary.num_classes
  )
  return codes, auxiliary.label[index], weights[index]


def _spread(codes: jax.Array, weights: jax.Array) -> jax.Array:
  """Weighted standard deviation by component, never 0."""
  weights = weights[:, None] / jnp.sum(weights)
  mean = jnp.sum(codes * weights, axis=0)
  variance = jnp.sum((codes - mean[None]) ** 2 * weights, axis=0)
  return jnp.sqrt(variance) + 1e-6 * jnp.sqrt(jnp.max(variance)) + 1e-12


def _squared_distances(a: jax.Array, b: jax.Array) -> jax.Array:
  """Squared distances [len(a), len(b)], from the centred Gram matrix."""
  centre = jnp.mean(b, axis=0, keepdims=True)
  a, b = a - centre, b - centre
  cross = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  norms = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
  return jnp.maximum(norms - 2 * cross, 0.0)


def nearest(
  *, neighbours: tuple[int, ...] = (1, 5, 20), draws: int = 1
) -> attack_lib.Attack:
  """Attack by the nearest neighbours among the attacker's own codes.

  Components are scaled by their spread; a vote weighs less for a class with
  more samples, so that classes start equal.

  Args:
    neighbours: numbers of neighbours to try.
    draws: how often the attacker has each of its own samples encoded.
  """
  most = max(neighbours)

  def fit(
    key: jax.Array,
    victim: attack_lib.Victim,
    auxiliary: attack_lib.Auxiliary,
    knobs: Any,
  ) -> Any:
    codes, label, weights = _own_codes(key, victim, auxiliary, draws)
    spread = _spread(codes, weights)
    return {
      "codes": codes / spread[None],
      "spread": spread,
      "votes": jax.nn.one_hot(label, auxiliary.num_classes) * weights[:, None],
      "neighbours": knobs["neighbours"],
    }

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.flatten(codes) / attacker["spread"][None]
    distance = _squared_distances(codes, attacker["codes"])
    usable = jnp.sum(attacker["votes"], axis=1) > 0
    distance = jnp.where(usable[None], distance, jnp.inf)
    near, index = jax.lax.top_k(-distance, min(most, distance.shape[1]))
    counts = jnp.arange(near.shape[1]) < attacker["neighbours"]
    counts = counts[None] & jnp.isfinite(near)
    votes = jnp.sum(attacker["votes"][index] * counts[..., None], axis=1)
    # Among classes with equal votes the nearer one wins.
    scale = jnp.max(attacker["votes"])
    first = attacker["votes"][index[:, 0]] * 1e-3
    return (votes + first) / scale

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
    means = (one_hot.T @ codes) / jnp.maximum(count, 1e-12)[:, None]
    within = _spread(codes - means[label], weights)
    return {"means": means / within[None], "within": within, "known": count > 0}

  def score(attacker: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.flatten(codes) / attacker["within"][None]
    distance = _squared_distances(codes, attacker["means"])
    return jnp.where(attacker["known"][None], -distance, -jnp.inf)

  return attack_lib.Attack("neighbour.centroid", fit, score, ({"none": 0.0},))
