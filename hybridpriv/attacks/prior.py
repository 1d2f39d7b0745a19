"""Inversion by descent in a latent space: pictures as the attacker knows them.

White box.  A small generator learns what the attacker's own pictures look like;
the latent is sought whose picture has the received code (`descent`), under the
prior that latents are standard normal.  These priors are learned in minutes on
a CPU from some thousand pictures, and stand in for the large generative models
that the literature uses; such a model would restore more.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import linen as nn

from hybridpriv.attacks import descent, restoration, stalling
from hybridpriv.data import batches
from hybridpriv.networks import decoders
from hybridpriv.train import features, loop

_OPTIMIZER = optax.scale_by_adam()
_WEIGHTS = (1e-4, 1e-3, 1e-2, 1e-1)


def eigenfaces(
  *,
  latents: int = 64,
  iterations: int = 200,
  weight: float | tuple[float, ...] = _WEIGHTS,
  learning_rate: float = 0.1,
  draws: int = 4,
  tried_on: int = 32,
  batch_size: int = 32,
) -> restoration.Inversion:
  """Attack by descent on principal components of the attacker's pictures.

  Args:
    latents: components, of which there are at most as many as pictures.
    iterations: see `descent.pixels`.
    weight: of half the squared norm of the latent, or weights to try.
    learning_rate: what a latent changes in the first steps.
    draws: see `descent.pixels`.
    tried_on: see `descent.pixels`.
    batch_size: see `descent.pixels`.

  References:
    Turk and Pentland 1991 (the components).
  """

  def learn(key: jax.Array, knowledge: restoration.Knowledge) -> Any:
    del key  # nothing is random
    own = knowledge.images[knowledge.index]
    return jax.tree_util.Partial(_linear, *components(own, latents))

  return _search(
    "prior.eigenfaces",
    learn,
    latents=latents,
    weights=weight,
    learning_rate=learning_rate,
    iterations=iterations,
    draws=draws,
    tried_on=tried_on,
    batch_size=batch_size,
  )


def vae(
  *,
  steps: int,
  width: float,
  latents: int = 32,
  iterations: int = 200,
  weight: float | tuple[float, ...] = _WEIGHTS,
  learning_rate: float = 0.1,
  draws: int = 4,
  tried_on: int = 32,
  batch_size: int = 32,
) -> restoration.Inversion:
  """Attack by descent on the latent of a small variational autoencoder.

  Args:
    steps: the most steps of its training.
    width: factor on the channels of its two networks.
    latents: size of its latent.
    iterations: see `descent.pixels`.
    weight: of half the squared norm of the latent, or weights to try.
    learning_rate: what a latent changes in the first steps.
    draws: see `descent.pixels`.
    tried_on: see `descent.pixels`.
    batch_size: see `descent.pixels`.

  References:
    Kingma and Welling 2014, arXiv 1312.6114; with the variance of pixels
    solved for, Rybkin et al. 2021, arXiv 2006.13202.
  """

  def learn(key: jax.Array, knowledge: restoration.Knowledge) -> Any:
    images = knowledge.images
    size, channels = images.shape[1], images.shape[-1]
    network = Autoencoder(size, channels, latents, width)
    mean = jnp.asarray(images[knowledge.index].mean(axis=0))
    params = train(key, network, mean, knowledge, steps=steps)
    render = functools.partial(_generated, network)
    return jax.tree_util.Partial(render, params, mean)

  return _search(
    "prior.vae",
    learn,
    latents=latents,
    weights=weight,
    learning_rate=learning_rate,
    iterations=iterations,
    draws=draws,
    tried_on=tried_on,
    batch_size=batch_size,
  )


def _search(
  name: str, learn: Any, *, latents: int, batch_size: int, **knobs: Any
) -> restoration.Inversion:
  """Make the attack that learns a prior and then goes down in its latent."""

  def fit(
    key: jax.Array, knowledge: restoration.Knowledge
  ) -> descent.Descender:
    own_key, key = jax.random.split(key)
    return descent.tuned(
      key,
      knowledge,
      render=learn(own_key, knowledge),
      price=_normal,
      start=jnp.zeros(latents),
      batch_size=batch_size,
      **knobs,
    )

  def restore(attacker: descent.Descender, codes: np.ndarray) -> np.ndarray:
    return descent.restored(attacker, codes, batch_size=batch_size)

  return restoration.Inversion(name, fit, restore, descent.NEEDS)


def _normal(latent: jax.Array) -> jax.Array:
  """Compute minus the log density of latents [b, d], up to a constant."""
  return jnp.sum(latent**2, axis=1) / 2


def components(images: np.ndarray, number: int) -> tuple[jax.Array, jax.Array]:
  """Compute principal components of pictures, as large as they vary.

  Args:
    images: [n, s, s, c].
    number: how many; those that there are not are 0.

  Returns:
    The mean picture, and components [number, s, s, c].
  """
  mean = images.mean(axis=0)
  flat = (images - mean).reshape(len(images), -1)
  # Of the smaller side's products, as there are thousands of pixels.
  few = len(flat) < flat.shape[1]
  values, vectors = np.linalg.eigh(flat @ flat.T if few else flat.T @ flat)
  values, vectors = values[::-1][:number], vectors[:, ::-1][:, :number]
  if few:
    found = vectors.T @ flat / np.sqrt(len(flat))
  else:
    deviation = np.sqrt(np.maximum(values, 0) / len(flat))
    found = vectors.T * deviation[:, None]
  found = np.pad(found, [(0, number - len(found)), (0, 0)])
  return jnp.asarray(mean), jnp.asarray(
    found.reshape(number, *mean.shape), jnp.float32
  )


def _linear(
  mean: jax.Array, directions: jax.Array, latent: jax.Array
) -> jax.Array:
  return jnp.clip(mean[None] + jnp.tensordot(latent, directions, 1), 0, 1)


class Autoencoder(nn.Module):
  """A picture to the law of its latent, and a latent to a picture.

  Attributes:
    size: side of the picture.
    channels: of it.
    latents: size of the latent.
    width: factor on the channels of both networks.
  """

  size: int
  channels: int
  latents: int
  width: float

  def setup(self) -> None:
    """Make both networks."""
    self.encoder = decoders.Encoder(2 * self.latents, self.width)
    self.decoder = decoders.up_convolutional(
      size=self.size, channels=self.channels, width=self.width, layers=2
    )

  def __call__(
    self, image: jax.Array, noise: jax.Array
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Give the change of the mean picture, and mean and log-variance."""
    mean, log = jnp.split(self.encoder(image), 2, axis=1)
    log = jnp.clip(log, -10, 10)
    return self.decode(mean + jnp.exp(log / 2) * noise), mean, log

  def decode(self, latent: jax.Array) -> jax.Array:
    """Give what a latent [b, latents] adds to the mean picture."""
    return self.decoder(latent)


def _generated(
  network: Autoencoder, params: Any, mean: jax.Array, latent: jax.Array
) -> jax.Array:
  change: Any = network.apply(
    {"params": params}, latent, method=Autoencoder.decode
  )
  return jnp.clip(mean[None] + change, 0, 1)


def train(
  key: jax.Array,
  network: Autoencoder,
  mean: jax.Array,
  knowledge: restoration.Knowledge,
  *,
  steps: int,
  batch_size: int = 32,
  learning_rate: float = 1e-3,
  look_every: int = 250,
  patience: int = 8,
) -> Any:
  """Train an autoencoder until held-out pictures are no more likely.

  Args:
    key: typed key.
    network: what to train.
    mean: the picture that it adds to [s, s, c].
    knowledge: whose pictures.
    steps: the most steps.
    batch_size: pictures a step.
    learning_rate: Adam's; it falls to 0, in a line, over `steps`.
    look_every: steps between two looks at held-out pictures.
    patience: looks without a new best before it stops.

  Returns:
    Its parameters.

  Raises:
    loop.Diverged: the bound on held-out pictures is not finite.
  """
  images, held_out = knowledge.images, knowledge.held_out
  init_key, step_key, look_key, order_key = jax.random.split(key, 4)
  example = jnp.asarray(images[:1])
  noise = jnp.zeros((1, network.latents))
  params = jax.jit(network.init)(init_key, example, noise)["params"]
  seed = int(jax.random.bits(order_key))

  def step(state: Any, number: int) -> Any:
    at = batches.indices(
      knowledge.index, seed=seed, step=number - 1, batch_size=batch_size
    )
    own = jax.random.fold_in(step_key, number)
    rate = learning_rate * (1 - (number - 1) / steps)
    return _step(*state, mean, own, images[at], rate, network=network)

  def look(state: Any, number: int) -> float:
    def one(at: jax.Array) -> tuple[jax.Array, jax.Array]:
      own = jax.random.fold_in(look_key, at[0])
      return _terms(state[0], mean, own, images[at], network=network)

    error, rate = features.compute(
      one, np.arange(len(images)), held_out, batch_size=64
    )
    now = float(_bound(error.mean(), rate.mean(), mean.size))
    if not np.isfinite(now):
      raise loop.Diverged(
        f"autoencoder: the bound on held-out pictures is {now} at step"
        f" {number}; lower its learning rate, {learning_rate}"
      )
    return now

  params, _ = stalling.train(
    (params, _OPTIMIZER.init(params)),
    step,
    look,
    steps=steps,
    look_every=look_every,
    patience=patience,
    name="autoencoder",
  )
  return params


@functools.partial(jax.jit, static_argnames=("network",))
def _terms(
  params: Any,
  mean: jax.Array,
  key: jax.Array,
  images: jax.Array,
  *,
  network: Autoencoder,
) -> tuple[jax.Array, jax.Array]:
  """Compute squared error and divergence from the prior of every picture."""
  noise = jax.random.normal(key, (len(images), network.latents))
  found: Any = network.apply({"params": params}, images, noise)
  change, centre, log = found
  error = jnp.mean((mean[None] + change - images) ** 2, axis=(1, 2, 3))
  rate = jnp.sum(jnp.exp(log) + centre**2 - 1 - log, axis=1) / 2
  return error, rate


def _bound(error: jax.Array, rate: jax.Array, size: int) -> jax.Array:
  """Compute the mean negative bound of the likelihood, up to a constant."""
  return size * jnp.log(error) / 2 + rate


@functools.partial(jax.jit, donate_argnums=(0, 1), static_argnames=("network",))
def _step(
  params: Any,
  moments: Any,
  mean: jax.Array,
  key: jax.Array,
  images: jax.Array,
  learning_rate: jax.Array,
  *,
  network: Autoencoder,
) -> tuple[Any, Any]:
  def loss(params: Any) -> jax.Array:
    error, rate = _terms(params, mean, key, images, network=network)
    return _bound(jnp.mean(error), jnp.mean(rate), mean.size)

  grads = jax.grad(loss)(params)
  updates, moments = _OPTIMIZER.update(grads, moments)
  params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
  return params, moments
