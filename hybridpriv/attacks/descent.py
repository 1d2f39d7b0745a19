r"""Inversion by descent: the picture whose code is nearest to the received one.

White box.  From the mean of the attacker's own pictures it goes downhill in

$$ E_n \lVert c(x) + n - z \rVert^2 / V + w \, R(x), $$

the distance between the code $c(x)$ that a picture $x$ has, client half and
privatizer included, and the received code $z$ (or the mean of several codes of
one input), in units of the variance $V$ of the attacker's own codes, and a
prior $R$ on pictures.  For additive noise the expectation is the squared
distance to the code without noise, up to a constant; otherwise it is the mean
over fresh draws.  The weight $w$ and how far to go are chosen on held-out
pictures.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import restoration
from hybridpriv.train import features

_LOOKS = 4  # places along the way where it may stop
_OPTIMIZER = optax.scale_by_adam()
_MEASURED = 512  # codes whose variance is the unit, at most
_EDGE = 1e-3  # a difference of neighbours so small is none

# (latent) -> its price [b].
Price = Callable[[Any], jax.Array]


@functools.partial(
  jax.tree_util.register_dataclass,
  data_fields=["client", "law", "render", "start", "unit", "knobs", "key"],
  meta_fields=["price", "noise", "iterations", "draws", "look"],
)
@dataclasses.dataclass(frozen=True)
class Descender:
  """An attacker who looks for the picture.

  Attributes:
    client: see `restoration.Knowledge`.
    law: state of the noise.
    render: from a latent [b, ...] to pictures, arrays bound by `Partial`.
    start: the latent of the mean picture, without the axis b.
    unit: total variance of own codes [].
    knobs: "weight" of the prior and learning "rate", [] each.
    key: of the draws of noise.
    price: the prior, of a latent (static).
    noise: its law (static).
    iterations: steps at most (static).
    draws: of noise in a step; 0 where none is needed (static).
    look: at which of the looks on the way it stops, from 0 (static).
  """

  client: Any
  law: Any
  render: Any
  start: jax.Array
  unit: jax.Array
  knobs: dict[str, jax.Array]
  key: jax.Array
  price: Price
  noise: Any
  iterations: int
  draws: int
  look: int = 0


def pixels(
  *,
  iterations: int = 200,
  weight: float | tuple[float, ...] = (0.01, 0.1, 1.0, 10.0),
  learning_rate: float = 0.03,
  draws: int = 4,
  tried_on: int = 32,
  batch_size: int = 32,
) -> restoration.Inversion:
  """Attack by descent on the pixels, with total variation for a prior (rMLE).

  The variation is that of the difference from the mean picture, so that a code
  which says nothing leaves that as it is.  Every step costs one pass through
  the client and one back for each picture.

  Args:
    iterations: steps.
    weight: of the prior, or weights to try.
    learning_rate: what a pixel, 0 to 1, changes in the first steps.
    draws: of noise in a step, for noise that is not additive.
    tried_on: held-out pictures that knobs are chosen on, at most.
    batch_size: pictures in a call.

  References:
    He, Zhang and Lee 2019 (ACSAC), regularized maximum likelihood estimation;
    Athalye et al. 2018, arXiv 1802.00420 (expectation over transformation).
  """

  def fit(key: jax.Array, knowledge: restoration.Knowledge) -> Descender:
    mean = jnp.asarray(knowledge.images[knowledge.index].mean(axis=0))
    return tuned(
      key,
      knowledge,
      render=jax.tree_util.Partial(_add, mean),
      price=total_variation,
      start=jnp.zeros_like(mean),
      weights=weight,
      learning_rate=learning_rate,
      iterations=iterations,
      draws=draws,
      tried_on=tried_on,
      batch_size=batch_size,
    )

  def restore(attacker: Descender, codes: np.ndarray) -> np.ndarray:
    return restored(attacker, codes, batch_size=batch_size)

  return restoration.Inversion("descent.pixels", fit, restore, NEEDS)


NEEDS = ("sample", "client")


def _add(mean: jax.Array, change: jax.Array) -> jax.Array:
  return jnp.clip(mean[None] + change, 0, 1)


def total_variation(change: jax.Array) -> jax.Array:
  """Compute the mean difference of neighbouring pixels, [b, s, s, c] -> [b]."""
  down = jnp.diff(change, axis=1)[:, :, :-1]
  across = jnp.diff(change, axis=2)[:, :-1]
  size = jnp.sqrt(down**2 + across**2 + _EDGE**2) - _EDGE
  return jnp.mean(size, axis=(1, 2, 3))


def tuned(
  key: jax.Array,
  knowledge: restoration.Knowledge,
  *,
  render: Any,
  price: Price,
  start: jax.Array,
  weights: float | tuple[float, ...],
  learning_rate: float,
  iterations: int,
  draws: int,
  tried_on: int,
  batch_size: int,
) -> Descender:
  """Choose the knobs of a descent where held-out pictures are restored best.

  Args:
    key: typed key.
    knowledge: with the client, and codes of own pictures.
    render: see `Descender`.
    price: see `Descender`.
    start: see `Descender`.
    weights: of the prior.
    learning_rate: what a number of the latent changes in the first steps.
    iterations: see `Descender`.
    draws: of noise that is not additive, in a step.
    tried_on: pictures, at most.
    batch_size: pictures in a call.

  Returns:
    The attacker with the lowest squared error.
  """
  choose, noise_key, sent_key = jax.random.split(key, 3)
  images, noise = knowledge.images, knowledge.noise
  own = features.compute(
    functools.partial(_codes, knowledge.client),
    images,
    knowledge.index[:: -(-len(knowledge.index) // _MEASURED)],
  )
  attacker = Descender(
    client=knowledge.client,
    law=knowledge.law,
    render=render,
    start=start,
    unit=jnp.asarray(own.var(axis=0, dtype=np.float64).sum() + 1e-12, "f4"),
    knobs={},
    key=noise_key,
    price=price,
    noise=restoration.with_gradients(noise),
    iterations=iterations,
    draws=0 if restoration.is_additive(noise) else draws,
  )
  order = np.asarray(jax.random.permutation(choose, len(knowledge.held_out)))
  some = knowledge.held_out[order[:tried_on]]
  codes = np.asarray(knowledge.sample(sent_key, some))
  best, lowest = attacker, np.inf
  for weight in np.atleast_1d(weights):
    knobs = {"weight": weight, "rate": learning_rate}
    knobs = {k: jnp.asarray(v, jnp.float32) for k, v in knobs.items()}
    tried = dataclasses.replace(attacker, knobs=knobs)
    found = looks(tried, codes, batch_size=batch_size)
    errors = ((found - images[some][:, None]) ** 2).mean(axis=(0, 2, 3, 4))
    if errors.min() < lowest:
      lowest = errors.min()
      best = dataclasses.replace(tried, look=int(errors.argmin()))
  return best


def restored(
  attacker: Descender, codes: np.ndarray, *, batch_size: int
) -> np.ndarray:
  """Restore pictures [m, s, s, c] from codes [m, ...]."""
  return looks(attacker, codes, batch_size=batch_size)[:, attacker.look]


def looks(
  attacker: Descender, codes: np.ndarray, *, batch_size: int
) -> np.ndarray:
  """Restore pictures, and give what they are on the way [m, looks, ...]."""
  # One program, wherever it stops.
  same = dataclasses.replace(attacker, look=0)
  return features.compute(
    functools.partial(_descend, same),
    codes,
    np.arange(len(codes)),
    batch_size=batch_size,
  )


@jax.jit
def _codes(client: Any, images: jax.Array) -> jax.Array:
  return attack_lib.flatten(client(images))


def _descend(attacker: Descender, codes: np.ndarray) -> jax.Array:
  """Go down for codes [b, ...] at once; every picture has a way of its own."""
  start = jnp.broadcast_to(
    attacker.start[None], (len(codes), *attacker.start.shape)
  )
  state = start, _OPTIMIZER.init(start)
  each = max(attacker.iterations // _LOOKS, 1)
  # A CPU runs convolutions inside a loop several times slower (6.5 times for
  # the dlib recognizer's client): there every step is a call of its own.
  stride = 1 if jax.default_backend() == "cpu" else each
  found = []
  for number in range(0, each * _LOOKS, stride):
    steps = np.arange(number, number + stride)
    state = _steps(attacker, codes, state, steps)
    if (number + stride) % each == 0:
      found.append(_shown(attacker.render, state[0]))
  return jnp.stack(found, axis=1)


@jax.jit
def _shown(render: Any, latent: jax.Array) -> jax.Array:
  return render(latent)


@jax.jit
def _steps(
  attacker: Descender, codes: jax.Array, state: Any, numbers: jax.Array
) -> Any:
  """Take steps of these numbers [n]."""
  target = attack_lib.flatten(codes)
  knobs = attacker.knobs

  def cost(latent: jax.Array, key: jax.Array) -> jax.Array:
    clean = attacker.client(attacker.render(latent))

    def distance(code: jax.Array) -> jax.Array:
      return jnp.sum((attack_lib.flatten(code) - target) ** 2, axis=1)

    if attacker.draws:
      total = jax.vmap(
        lambda k: distance(attacker.noise.encode(attacker.law, k, clean))
      )(jax.random.split(key, attacker.draws))
      away = jnp.mean(total, axis=0)
    else:
      away = distance(clean)
    price = knobs["weight"] * attacker.price(latent)
    return jnp.sum(away / attacker.unit + price)

  def step(carry: Any, number: jax.Array) -> tuple[Any, None]:
    latent, moments = carry
    key = jax.random.fold_in(attacker.key, number)
    grads = jax.grad(cost)(latent, key)
    # Of every number on its own, so that pictures do not know one another.
    updates, moments = _OPTIMIZER.update(grads, moments)
    rate = knobs["rate"] * (1 - number / attacker.iterations)
    return (latent - rate * updates, moments), None

  if len(numbers) == 1:
    return step(state, numbers[0])[0]  # a loop of one is as slow as any
  return jax.lax.scan(step, state, numbers)[0]
