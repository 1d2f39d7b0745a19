"""Visual inversion: a decoder from codes back to images, and what it restores.

A decoder learns from the attacker's own images and fresh codes of these, and
is kept where it restores held-out images best.  It predicts the difference from
the mean of the attacker's images, which is the best answer to codes that say
nothing.  The source trains it on pixels too and judges by eye;
here errors, similarity and a face recognizer judge.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import restoration, similarity, stalling
from hybridpriv.data import batches
from hybridpriv.networks import decoders
from hybridpriv.train import features, loop

_OPTIMIZER = optax.scale_by_adam()

# (restored, true) images [b, s, s, c] -> what each restored one costs [b].
Loss = Callable[[jax.Array, jax.Array], jax.Array]

LOSSES: dict[str, Loss] = {
  "squared": similarity.squared,
  "absolute": similarity.absolute,
  "ssim": similarity.dissimilar,
}


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["params", "mean", "std", "image"],
  meta_fields=["network"],
)
@dataclasses.dataclass(frozen=True)
class Inverter:
  """A trained attacker.

  Attributes:
    params: of the network.
    mean: of the attacker's own codes [d].
    std: what their differences from it are divided by [d].
    image: mean of the attacker's own images [s, s, c].
    network: from standardised codes to what is added to `image` (static).
  """

  params: Any
  mean: jax.Array
  std: jax.Array
  image: jax.Array
  network: nn.Module


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["params", "moments", "weight"],
  meta_fields=["network"],
)
@dataclasses.dataclass(frozen=True)
class _Critic:
  """Tells restored images from true ones, and what deceiving it is worth."""

  params: Any
  moments: Any
  weight: jax.Array
  network: nn.Module

  def __call__(self, params: Any, images: jax.Array) -> jax.Array:
    """Compute the log odds that patches are of true images, [b, ...]."""
    logits: Any = self.network.apply({"params": params}, images)
    return logits


def decoder(
  *,
  steps: int,
  width: float,
  loss: str = "squared",
  adversarial: float = 0.0,
  batch_size: int = 32,
  learning_rate: float = 1e-3,
  whitening: float = 0.5,
) -> restoration.Inversion:
  """Attack with an inverse network, learned from codes of own pictures.

  Args:
    steps: the most steps.
    width: factor on the channels of the published decoder.
    loss: what it minimises: "squared", "absolute" or "ssim".
    adversarial: weight of deceiving a discriminator, 0 for none, see `train`.
    batch_size: see `train`.
    learning_rate: see `train`.
    whitening: see `train`.

  Raises:
    ValueError: there is no such loss, or the weight is negative.

  References:
    Dosovitskiy and Brox 2016, arXiv 1506.02753; He et al. 2019 (ACSAC).
  """
  if loss not in LOSSES or adversarial < 0:
    raise ValueError(
      f"loss={loss!r}, adversarial={adversarial}; expected a loss of"
      f" {', '.join(LOSSES)}, and a weight of 0 or more"
    )

  def fit(key: jax.Array, knowledge: restoration.Knowledge) -> Inverter:
    images = knowledge.images
    return train(
      key,
      knowledge.sample,
      images,
      network=decoders.up_convolutional(
        size=images.shape[1], channels=images.shape[-1], width=width
      ),
      index=knowledge.index,
      held_out=knowledge.held_out,
      steps=steps,
      loss=LOSSES[loss],
      adversarial=adversarial,
      batch_size=batch_size,
      learning_rate=learning_rate,
      whitening=whitening,
      name="decoder",
    )

  return restoration.Inversion("inversion.decoder", fit, restore, ("sample",))


def train(
  key: jax.Array,
  sample: jax.tree_util.Partial,
  images: np.ndarray,
  *,
  network: nn.Module,
  index: np.ndarray,
  held_out: np.ndarray,
  steps: int,
  loss: Loss = similarity.squared,
  adversarial: float = 0.0,
  batch_size: int = 32,
  learning_rate: float = 1e-3,
  whitening: float = 0.5,
  look_every: int = 250,
  patience: int = 8,
  name: str = "",
) -> Inverter:
  """Train a decoder on fresh codes until held-out images are no better.

  One step is one compiled program, the same for all victims whose `sample` is
  the same function of arrays of the same shapes.

  It is stopped by its own loss on held-out images: an attacker who is after
  similarity is at its best where that is highest, and not where the squared
  error is lowest.  What a discriminator says is left out of it, which is worth
  no more than the discriminator.

  Args:
    key: typed key.
    sample: (key, places [b]) -> codes [b, ...] of the attacker's images at
      these places, with new noise for a new key: a function that can be traced,
      with its arrays bound by `jax.tree_util.Partial`, as in
      `Partial(attack.Victim.sample, victim)`.
    images: the attacker's own, 0 to 1, float [n, s, s, c].
    network: Linen module from codes [b, d] to images [b, s, s, c], near 0 at
      first, such as `decoders.up_convolutional`.
    index: places of images to train on.
    held_out: places of images of other people, for stopping only.
    steps: the most steps.
    loss: what is minimised.
    adversarial: weight of what restored images lose where a discriminator of
      patches, trained in alternation, finds them out: -log of the probability
      that it holds them for true (the non-saturating loss); 0 for none.
    batch_size: images a step.
    learning_rate: Adam's; it falls to 0, in a line, over `steps`.
    whitening: 1 divides every component of the codes by its own spread, 0 all
      by the largest; between, by a geometric mean. With hundreds of principal
      components 1 was seen to restore no more than the mean image: the many
      that hardly matter drown the others.
    look_every: steps between two looks at the held-out images.
    patience: looks without a new best before it stops.
    name: shown by the progress bar; "" for none.

  Returns:
    The attacker of the look with the lowest loss.

  Raises:
    ValueError: an argument is not as described.
    loop.Diverged: the error on held-out images is not finite.
  """
  if not isinstance(sample, jax.tree_util.Partial):
    raise ValueError(
      f"sample is a {type(sample).__name__}; expected a function with its"
      " arrays bound by jax.tree_util.Partial, so that they are arguments of"
      " the program and not part of it"
    )
  restoration.check(images, index, held_out)
  look_key, step_key, init_key, order_key = jax.random.split(key, 4)
  places = np.arange(len(images))
  own = features.compute(
    lambda chosen: draw(sample, look_key, chosen), places, np.asarray(index)
  )
  share = np.bincount(index, minlength=len(images)) / len(index)
  params = jax.jit(network.init)(init_key, jnp.asarray(own[:1]))["params"]
  spread = attack_lib.scale(
    jnp.asarray(own.var(axis=0, dtype=np.float64), jnp.float32)
  )
  attacker = Inverter(
    params=params,
    mean=jnp.asarray(own.mean(axis=0, dtype=np.float64), jnp.float32),
    std=spread**whitening * jnp.max(spread) ** (1 - whitening),
    image=jnp.asarray(np.tensordot(share.astype(images.dtype), images, 1)),
    network=network,
  )
  del own
  critic = None
  if adversarial:
    critic = _new_critic(jax.random.fold_in(init_key, 1), images, adversarial)
  seed = int(jax.random.bits(order_key))

  def step(state: Any, number: int) -> Any:
    at = batches.indices(
      index, seed=seed, step=number - 1, batch_size=batch_size
    )
    return _step(
      *state,
      sample,
      jax.random.fold_in(step_key, number),
      at,
      images[at],
      learning_rate * (1 - (number - 1) / steps),
      loss=loss,
    )

  def look(state: Any, number: int) -> float:
    own_key = jax.random.fold_in(look_key, number)
    now = error(state[0], sample, own_key, images, held_out, loss)
    if not np.isfinite(now):
      raise loop.Diverged(
        f"inversion {name}: the error on held-out images is {now} at step"
        f" {number}; lower learning_rate={learning_rate}"
      )
    return now

  attacker, *_ = stalling.train(
    (attacker, _OPTIMIZER.init(params), critic),
    step,
    look,
    steps=steps,
    look_every=look_every,
    patience=patience,
    name=name,
  )
  return attacker


def _new_critic(key: jax.Array, images: np.ndarray, weight: float) -> _Critic:
  network = decoders.Discriminator()
  params = jax.jit(network.init)(key, jnp.asarray(images[:1]))["params"]
  return _Critic(
    params=params,
    moments=_OPTIMIZER.init(params),
    weight=jnp.asarray(weight, jnp.float32),
    network=network,
  )


def restore(attacker: Inverter, codes: np.ndarray) -> np.ndarray:
  """Restore images [m, s, s, c], as they are, from all codes [m, ...]."""
  run = functools.partial(_restored, attacker)
  return features.compute(run, codes, np.arange(len(codes)))


def decode(attacker: Inverter, codes: jax.Array) -> jax.Array:
  """Restore images [b, s, s, c], as they are, from codes [b, ...]."""
  codes = attack_lib.standardise(codes, attacker.mean, attacker.std)
  change: Any = attacker.network.apply({"params": attacker.params}, codes)
  return attacker.image[None] + change


_restored = jax.jit(decode)


@functools.partial(jax.jit, donate_argnums=(0, 1, 2), static_argnames=("loss",))
def _step(
  attacker: Inverter,
  moments: Any,
  critic: _Critic | None,
  sample: Callable[..., jax.Array],
  key: jax.Array,
  index: jax.Array,
  images: jax.Array,
  learning_rate: jax.Array,
  *,
  loss: Loss,
) -> tuple[Inverter, Any, _Critic | None]:
  """Take one step of Adam on fresh codes of a batch, and one of the critic."""
  codes = sample(key, index)

  def total(params: Any) -> tuple[jax.Array, jax.Array]:
    restored = decode(dataclasses.replace(attacker, params=params), codes)
    value = jnp.mean(loss(restored, images))
    if critic is not None:
      found_out = jax.nn.softplus(-critic(critic.params, restored))
      value += critic.weight * jnp.mean(found_out)
    return value, restored

  def move(params: Any, grads: Any, moments: Any) -> tuple[Any, Any]:
    updates, moments = _OPTIMIZER.update(grads, moments)
    return jax.tree.map(
      lambda p, u: p - learning_rate * u, params, updates
    ), moments

  grads, restored = jax.grad(total, has_aux=True)(attacker.params)
  params, moments = move(attacker.params, grads, moments)
  if critic is not None:
    judge = critic

    def mistaken(params: Any) -> jax.Array:
      true = jax.nn.softplus(-judge(params, images))
      false = jax.nn.softplus(judge(params, restored))
      return jnp.mean(true) + jnp.mean(false)

    own, own_moments = move(
      critic.params, jax.grad(mistaken)(critic.params), critic.moments
    )
    critic = dataclasses.replace(critic, params=own, moments=own_moments)
  return dataclasses.replace(attacker, params=params), moments, critic


@jax.jit
def draw(
  sample: Callable[..., jax.Array], key: jax.Array, index: jax.Array
) -> jax.Array:
  """Draw codes [b, d], with noise of their own in every batch."""
  key = jax.random.fold_in(key, index[0])
  return attack_lib.flatten(sample(key, index))


@functools.partial(jax.jit, static_argnames=("loss",))
def _measure(
  attacker: Inverter, codes: jax.Array, images: jax.Array, *, loss: Loss
) -> jax.Array:
  return loss(decode(attacker, codes), images)


def error(
  attacker: Inverter,
  sample: Callable[..., jax.Array],
  key: jax.Array,
  images: np.ndarray,
  held_out: np.ndarray,
  loss: Loss = similarity.squared,
) -> float:
  """Compute the mean error on held-out images, with fresh noise.

  Args:
    attacker: who restores them.
    sample: as in `train`.
    key: typed key.
    images: [n, s, s, c].
    held_out: places of those that count.
    loss: the error of each.
  """

  def one(chosen: np.ndarray) -> jax.Array:
    codes = draw(sample, key, chosen)
    return _measure(attacker, codes, images[chosen], loss=loss)

  places = np.arange(len(images))
  return float(features.compute(one, places, held_out, batch_size=64).mean())
