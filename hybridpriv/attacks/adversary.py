"""Training of adversaries that learn by gradient, as pure functions.

The whole training (batches, fresh noise, Adam, early stopping) is a
`lax.while_loop`, so hundreds of adversaries, over victims, knobs and seeds,
are one vmapped program.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import whitening

# (key, codes [1, ...], number of outputs) -> parameters
Init = Callable[[jax.Array, jax.Array, int], Any]
# (parameters, codes [b, ...]) -> outputs [b, n]
Logits = Callable[[Any, jax.Array], jax.Array]

_LONG = 1024  # values of a code; of more, principal components are seen
_LEAST = 0.03  # of a unit: one huge value would leave all others none
CHUNK = 25  # steps between two looks at validation


def dense(hidden: tuple[int, ...]) -> tuple[Init, Logits]:
  """Make a dense network; its parameters are (kernel, bias) pairs.

  Args:
    hidden: units of its hidden layers.

  Returns:
    How to draw its parameters, and how to run it; see `Init` and `Logits`.
  """

  def init(key: jax.Array, codes: jax.Array, num_outputs: int) -> Any:
    sizes = (codes.size, *hidden, num_outputs)
    keys = jax.random.split(key, len(sizes))
    he = jax.nn.initializers.he_normal()
    layers = [
      (he(k, (a, b)), jnp.zeros(b))
      for k, a, b in zip(keys, sizes[:-1], sizes[1:], strict=False)
    ]
    # From 0: what the attacker's own codes never excite has no say.
    return [*layers[:-1], jax.tree.map(jnp.zeros_like, layers[-1])]

  def logits(params: Any, codes: jax.Array) -> jax.Array:
    codes = attack_lib.flatten(codes)
    for kernel, bias in params[:-1]:
      codes = jax.nn.relu(codes @ kernel + bias[None])
    kernel, bias = params[-1]
    return codes @ kernel + bias[None]

  return init, logits


def descend(
  key: jax.Array,
  params: Any,
  *,
  draw: Callable[[jax.Array], jax.Array],
  loss: Callable[[Any, jax.Array, jax.Array], jax.Array],
  judge: Callable[[Any, jax.Array], jax.Array],
  learning_rate: jax.Array,
  weight_decay: jax.Array | float = 0.0,
  max_steps: int,
  patience: int,
) -> Any:
  """Minimise a loss by Adam until what validation says of it stalls.

  Every step and every look at validation has a key of its own, for noise.

  Args:
    key: typed key.
    params: what to start from.
    draw: key -> samples of the steps until the next look [CHUNK, b], drawn at
      once: choosing is dear when done step by step.
    loss: (parameters, key, samples [b]) -> [].
    judge: (parameters, key) -> [], the loss on validation.
    learning_rate: Adam's, traced.
    weight_decay: decoupled, traced.
    max_steps: hard limit.
    patience: looks at validation without a new best before it stops.

  Returns:
    The parameters of the look with the lowest validation loss.
  """
  optimizer = optax.scale_by_adam()

  def one_step(carry: Any, inputs: Any) -> tuple[Any, None]:
    params, opt_state = carry
    noise, index = inputs
    grads = jax.grad(loss)(params, noise, index)
    updates, opt_state = optimizer.update(grads, opt_state, params)
    params = jax.tree.map(
      lambda p, u: p - learning_rate * (u + weight_decay * p), params, updates
    )
    return (params, opt_state), None

  def look(carry: Any) -> Any:
    number, params, opt_state, best, best_loss, since = carry
    noise, pick, chunk = jax.random.split(jax.random.fold_in(key, number), 3)
    (params, opt_state), _ = jax.lax.scan(
      one_step,
      (params, opt_state),
      (jax.random.split(chunk, CHUNK), draw(pick)),
    )
    now = judge(params, noise)
    better = now < best_loss
    best = jax.tree.map(lambda a, b: jnp.where(better, a, b), params, best)
    since = jnp.where(better, 0, since + 1)
    best_loss = jnp.where(better, now, best_loss)
    return number + 1, params, opt_state, best, best_loss, since

  def goes_on(carry: Any) -> jax.Array:
    number, *_, since = carry
    return (number < max(max_steps // CHUNK, 1)) & (since < patience)

  start = (0, params, optimizer.init(params), params, jnp.inf, 0)
  return jax.lax.while_loop(goes_on, look, start)[3]


def choose(key: jax.Array, weights: jax.Array, size: int) -> jax.Array:
  """Draw places [CHUNK, size], each as often as its weight [m] says."""
  cumulative = jnp.cumsum(weights)
  at = jax.random.uniform(key, (CHUNK, size)) * cumulative[-1]
  found = jnp.searchsorted(cumulative, at, side="right")
  return jnp.minimum(found, weights.shape[0] - 1)


def learn(
  key: jax.Array,
  victim: attack_lib.Victim,
  auxiliary: attack_lib.Auxiliary,
  *,
  init: Init,
  logits: Logits,
  learning_rate: jax.Array,
  weight_decay: jax.Array | float = 0.0,
  by_channel: bool = False,
  components: int = 0,
  batch_size: int = 64,
  max_steps: int = 1000,
  patience: int = 6,
) -> dict[str, Any]:
  """Train an adversary on fresh codes until validation stalls.

  Batches are balanced by class.  Every step draws new noise; validation draws
  new noise at every look.  Codes are standardised by the mean and spread of
  the attacker's own training codes; short ones that still vary much more in one
  direction than in another are whitened too, and of long ones the principal
  components may be, see `whitening`: steps along the values of a whole feature
  end long before what is small in it has its share.

  Args:
    key: typed key.
    victim: sampler of defended codes.
    auxiliary: the attacker's labels and roles.
    init: (key, codes [1, ...], number of classes) -> parameters.
    logits: (parameters, standardised codes [b, ...] in the shape in which they
      are sent) -> [b, num_classes].
    learning_rate: Adam's, traced.
    weight_decay: decoupled, traced.
    by_channel: whether the components of a channel, the last axis, have one
      spread, so that a pattern is as large wherever it stands; such codes are
      not whitened.
    components: whitened principal components that codes of more than 1,024
      values are seen by, at most; 0 for their values.
    batch_size: samples a step.
    max_steps: hard limit.
    patience: looks at validation without a new best before it stops.

  Returns:
    {"params", "mean", "std"}, and "turn" for codes that are whitened, of the
    look with the lowest balanced validation loss.
  """
  keys = jax.random.split(key, 3)
  weights, held_out = auxiliary.train_weights, auxiliary.validation_index
  sent = victim.sample(keys[0], auxiliary.train_index)
  mean, std = attack_lib.moments(attack_lib.flatten(sent), weights)
  if by_channel:
    std = _shared(std, sent.shape[1:])
  scale = {"mean": mean, "std": std}
  if not by_channel and len(std) <= whitening.LONGEST:
    codes = attack_lib.standardise(sent, mean, std)
    scale["turn"] = whitening.where_uneven(codes, weights)
  elif not by_channel and components and len(std) > _LONG:
    codes = attack_lib.flatten(sent)
    scale["turn"] = to_components(scale, codes, weights, components)
  see = sight(scale, victim)

  def entropy(params: Any, noise: jax.Array, index: jax.Array) -> jax.Array:
    return optax.softmax_cross_entropy_with_integer_labels(
      logits(params, see(noise, index)), auxiliary.label[index]
    )

  best = descend(
    keys[2],
    init(keys[1], scaled(scale, sent[:1]), auxiliary.num_classes),
    draw=lambda pick: choose(pick, weights, batch_size),
    loss=lambda params, noise, index: jnp.mean(entropy(params, noise, index)),
    judge=lambda params, noise: jnp.sum(
      entropy(params, noise, held_out) * auxiliary.validation_weights
    ),
    learning_rate=learning_rate,
    weight_decay=weight_decay,
    max_steps=max_steps,
    patience=patience,
  )
  return {"params": best} | scale


def to_components(
  scale: Mapping[str, jax.Array],
  codes: jax.Array,
  weights: jax.Array,
  size: int,
) -> jax.Array:
  """Find the matrix that turns long codes into whitened principal components.

  Components are those of values that keep the root of their unit: one that
  hardly ever varies is as large as others once it is scaled, and says little.
  The search for them starts alike for all attackers, who may share them.

  Args:
    scale: "mean" and "std" of the codes' values [d].
    codes: the attacker's own [m, d].
    weights: of the codes [m], sum 1.
    size: number of components, at most.

  Returns:
    [d, r], for codes that are standardised, see `scaled`.
  """
  unit = jnp.sqrt(scale["std"] / jnp.max(scale["std"]))
  unit = jnp.maximum(unit, _LEAST)
  codes = attack_lib.standardise(codes, scale["mean"], scale["std"])
  size = min(size, *codes.shape)
  start = jax.random.key(0)
  turn = whitening.principal(start, codes * unit[None], weights, size)
  return unit[:, None] * turn


def sight(
  scale: Mapping[str, jax.Array], victim: attack_lib.Victim
) -> Callable[[jax.Array, jax.Array], jax.Array]:
  """Make what draws a victim's codes as its attacker sees them.

  Args:
    scale: see `scaled`.
    victim: sampler of defended codes.

  Returns:
    (key, places [b]) -> codes [b, ...].  Components of what is sent without
    noise are computed once, and not at every step.
  """
  turn = scale.get("turn")
  if victim.noise.is_random or turn is None or turn.shape[0] == turn.shape[1]:
    return lambda key, index: scaled(scale, victim.sample(key, index))
  places = jnp.arange(victim.rows.shape[0])
  own = scaled(scale, victim.clean(places))
  return lambda key, index: own[index]


def scaled(attacker: Mapping[str, jax.Array], codes: jax.Array) -> jax.Array:
  """Give codes [b, ...] as the network of `learn` sees them.

  They keep their shape; of components there are as many as there are, [b, r].
  """
  found = attack_lib.standardise(codes, attacker["mean"], attacker["std"])
  if "turn" in attacker:
    found = whitening.product(found, attacker["turn"])
  return found.reshape(codes.shape if found.size == codes.size else found.shape)


def _shared(std: jax.Array, shape: tuple[int, ...]) -> jax.Array:
  """Give all components of a channel their root mean square spread [d]."""
  positions = math.prod(shape[:-1])
  variance = jnp.mean(std.reshape(positions, -1) ** 2, axis=0)
  return jnp.tile(attack_lib.scale(variance), positions)
