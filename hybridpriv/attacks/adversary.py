"""Training of adversaries that learn by gradient, as one pure function.

The whole training (batches, fresh noise, Adam, early stopping) is a
`lax.while_loop`, so hundreds of adversaries, over victims, knobs and seeds,
are one vmapped program.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hybridpriv.attacks import attack as attack_lib

_CHUNK = 25  # steps between two looks at validation


def learn(
  key: jax.Array,
  victim: attack_lib.Victim,
  auxiliary: attack_lib.Auxiliary,
  *,
  init: Callable[[jax.Array, jax.Array], Any],
  logits: Callable[[Any, jax.Array], jax.Array],
  learning_rate: jax.Array,
  weight_decay: jax.Array | float = 0.0,
  batch_size: int = 64,
  max_steps: int = 1000,
  patience: int = 6,
) -> dict[str, Any]:
  """Train an adversary on fresh codes until validation stalls.

  Batches are balanced by class.  Every step draws new noise; validation draws
  new noise at every look.  Codes are standardised by the mean and spread of
  the attacker's own training codes.

  Args:
    key: typed key.
    victim: sampler of defended codes.
    auxiliary: the attacker's labels and roles.
    init: (key, codes [1, d]) -> parameters.
    logits: (parameters, standardised codes [b, d]) -> [b, num_classes].
    learning_rate: Adam's, traced.
    weight_decay: decoupled, traced.
    batch_size: samples a step.
    max_steps: hard limit.
    patience: looks at validation without a new best before it stops.

  Returns:
    {"params", "mean", "std"} of the look with the lowest balanced validation
    loss.
  """
  keys = jax.random.split(key, 3)
  weights, judge = auxiliary.train_weights, auxiliary.validation_weights
  cumulative = jnp.cumsum(weights)
  num = weights.shape[0]
  held_out = auxiliary.validation_index
  own = attack_lib.flatten(victim.sample(keys[0], auxiliary.train_index))
  mean = jnp.sum(own * weights[:, None], axis=0)
  variance = jnp.sum((own - mean[None]) ** 2 * weights[:, None], axis=0)
  std = attack_lib.scale(variance)

  def standardise(codes: jax.Array) -> jax.Array:
    return attack_lib.standardise(codes, mean, std)

  params = init(keys[1], jnp.zeros((1, own.shape[1])))
  optimizer = optax.scale_by_adam()

  def loss(params: Any, codes: jax.Array, label: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(
      logits(params, standardise(codes)), label
    )

  def one_step(carry: Any, inputs: Any) -> tuple[Any, None]:
    params, opt_state = carry
    noise, index = inputs
    codes = victim.sample(noise, index)
    grads = jax.grad(
      lambda p: jnp.mean(loss(p, codes, auxiliary.label[index]))
    )(params)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = jax.tree.map(
      lambda p, u: p - learning_rate * (u + weight_decay * p), params, updates
    )
    return (params, opt_state), None

  def look(carry: Any) -> Any:
    number, params, opt_state, best, best_loss, since = carry
    key = jax.random.fold_in(keys[2], number)
    noise, pick, chunk = jax.random.split(key, 3)
    # One draw for the whole chunk: choosing is dear when done step by step.
    at = jax.random.uniform(pick, (_CHUNK, batch_size)) * cumulative[-1]
    index = jnp.minimum(jnp.searchsorted(cumulative, at, side="right"), num - 1)
    (params, opt_state), _ = jax.lax.scan(
      one_step, (params, opt_state), (jax.random.split(chunk, _CHUNK), index)
    )
    codes = victim.sample(noise, held_out)
    now = jnp.sum(loss(params, codes, auxiliary.label[held_out]) * judge)
    better = now < best_loss
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), params, best)
    since = jnp.where(better, 0, since + 1)
    best_loss = jnp.where(better, now, best_loss)
    return number + 1, params, opt_state, best, best_loss, since

  def goes_on(carry: Any) -> jax.Array:
    number, *_, since = carry
    return (number < max(max_steps // _CHUNK, 1)) & (since < patience)

  start = (0, params, optimizer.init(params), params, jnp.inf, 0)
  best = jax.lax.while_loop(goes_on, look, start)[3]
  return {"params": best, "mean": mean, "std": std}
