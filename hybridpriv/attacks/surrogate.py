"""Inversion without the client: another one is trained to stand for it.

The attacker never runs the client half.  It trains a network of its own from
pictures to codes, and a decoder from those codes back to pictures, which it
then applies to the codes that it received.  What tells it how the hidden client
codes is either the cloud half, which must answer its own pictures right
(`shadow`), or no more than how received codes are distributed (`aligned`).
Both take their codes to the mean and spread of the received ones.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import inversion, restoration, stalling
from hybridpriv.data import batches
from hybridpriv.losses import classification
from hybridpriv.networks import decoders
from hybridpriv.train import features, loop

_OPTIMIZER = optax.scale_by_adam()
_SCALES = (0.25, 0.5, 1.0, 2.0, 4.0)  # of kernels, in median squared distances
_COMPARED = 256  # codes whose distribution is compared in one step


def shadow(
  *,
  steps: int,
  width: float,
  alignment: float = 10.0,
  learning_rate: float = 1e-3,
) -> restoration.Inversion:
  """Attack with a client that makes the cloud half answer right.

  It asks the client nothing: its pictures are labelled with the desired label,
  and it minimises the cross-entropy of the cloud's answers, and beside it the
  distance to the distribution of received codes.

  Args:
    steps: the most steps, of the client and of the decoder.
    width: factor on the channels of both.
    alignment: weight of that distance, as in `aligned`; 0 as in the source,
      which was seen to restore far less.
    learning_rate: Adam's, of the client.

  References:
    He, Zhang and Lee 2019 (ACSAC), the query-free attack.
  """
  return _surrogate(
    "surrogate.shadow",
    ("cloud", "labels", "received"),
    steps=steps,
    width=width,
    alignment=alignment,
    learning_rate=learning_rate,
  )


def aligned(
  *, steps: int, width: float, learning_rate: float = 1e-3
) -> restoration.Inversion:
  """Attack with a client whose codes are distributed as received ones.

  It minimises their maximum mean discrepancy over kernels of several widths,
  and knows nothing else of the system.  Turns and mirrorings that leave the
  distribution as it is cannot be told apart: near Gaussian codes it can fail
  where every other attacker succeeds.

  Args:
    steps: the most steps, of the client and of the decoder.
    width: factor on the channels of both.
    learning_rate: Adam's, of the client.

  References:
    After Xu et al. 2024 (CVPR), FORA; Gretton et al. 2012 (JMLR 13) for the
    discrepancy.
  """
  return _surrogate(
    "surrogate.aligned",
    ("received",),
    steps=steps,
    width=width,
    alignment=1.0,
    learning_rate=learning_rate,
  )


def _surrogate(
  name: str,
  needs: tuple[str, ...],
  *,
  steps: int,
  width: float,
  alignment: float,
  learning_rate: float,
) -> restoration.Inversion:
  """Make the attack that trains a client, then a decoder for its codes."""

  def fit(
    key: jax.Array, knowledge: restoration.Knowledge
  ) -> inversion.Inverter:
    client_key, decoder_key = jax.random.split(key)
    images = knowledge.images
    encode = train(
      client_key,
      knowledge,
      width=width,
      alignment=alignment,
      steps=steps,
      learning_rate=learning_rate,
    )
    codes = features.compute(encode, images, np.arange(len(images)))
    victim = attack_lib.Victim(
      codes=jnp.asarray(codes)[None],
      law=jax.tree.map(lambda x: jnp.asarray(x)[None], knowledge.law),
      which=jnp.zeros([], jnp.int32),
      rows=jnp.arange(len(codes)),
      noise=knowledge.noise,
      num_queries=knowledge.num_queries,
    )
    return inversion.train(
      decoder_key,
      jax.tree_util.Partial(attack_lib.Victim.sample, victim),
      images,
      network=decoders.up_convolutional(
        size=images.shape[1], channels=images.shape[-1], width=width
      ),
      index=knowledge.index,
      held_out=knowledge.held_out,
      steps=steps,
      name="decoder",
    )

  return restoration.Inversion(name, fit, inversion.restore, needs)


def train(
  key: jax.Array,
  knowledge: restoration.Knowledge,
  *,
  width: float,
  alignment: float,
  steps: int,
  learning_rate: float,
  batch_size: int = 64,
  look_every: int = 250,
  patience: int = 8,
) -> Any:
  """Train a client until it does held-out pictures no better.

  Args:
    key: typed key.
    knowledge: with "cloud" and "labels" for the task, and "received".
    width: factor on the channels of the client.
    alignment: weight of the discrepancy from received codes.
    steps: the most steps.
    learning_rate: Adam's; it falls to 0, in a line, over `steps`.
    batch_size: pictures a step.
    look_every: steps between two looks at held-out pictures.
    patience: looks without a new best before it stops.

  Returns:
    The compiled function from pictures [b, s, s, c] to codes without noise.

  Raises:
    loop.Diverged: its loss on held-out pictures is not finite.
  """
  images, received = knowledge.images, np.asarray(knowledge.received)
  init_key, step_key, look_key, order_key = jax.random.split(key, 4)
  flat = attack_lib.flatten(jnp.asarray(received))
  network = decoders.Encoder(flat.shape[1], width)
  params = jax.jit(network.init)(init_key, jnp.asarray(images[:1]))["params"]
  seed = int(jax.random.bits(order_key))
  fixed = {
    "mean": jnp.mean(flat, axis=0),
    "std": attack_lib.scale(jnp.var(flat, axis=0)),
    "law": knowledge.law,
    "cloud": knowledge.cloud,
    "alignment": jnp.asarray(alignment, jnp.float32),
  }
  static = {
    "network": network,
    "noise": restoration.with_gradients(knowledge.noise),
    "num_queries": knowledge.num_queries,
    "shape": received.shape[1:],
  }
  labels = knowledge.labels or {}

  def batch(index: np.ndarray, size: int, number: int) -> dict[str, Any]:
    at = batches.indices(index, seed=seed, step=number, batch_size=size)
    others = np.arange(len(received))
    # Received codes are not paired with pictures: an order of their own.
    drawn = batches.indices(
      others,
      seed=seed + 1,
      step=number,
      batch_size=min(_COMPARED, len(received)),
    )
    return {
      "images": images[at],
      "labels": {name: label[at] for name, label in labels.items()},
      "received": received[drawn],
    }

  def step(state: Any, number: int) -> Any:
    return _step(
      *state,
      fixed,
      jax.random.fold_in(step_key, number),
      batch(knowledge.index, batch_size, number - 1),
      learning_rate * (1 - (number - 1) / steps),
      **static,
    )

  def look(state: Any, number: int) -> float:
    own = jax.random.fold_in(look_key, number)
    size = min(len(knowledge.held_out), _COMPARED)
    seen = batch(knowledge.held_out, size, 0)
    now = float(_measure(state[0], fixed, own, seen, **static))
    if not np.isfinite(now):
      raise loop.Diverged(
        f"surrogate client: the loss on held-out pictures is {now} at step"
        f" {number}; lower learning_rate={learning_rate}"
      )
    return now

  params, _ = stalling.train(
    (params, _OPTIMIZER.init(params)),
    step,
    look,
    steps=steps,
    look_every=look_every,
    patience=patience,
    name="client",
  )
  shape = received.shape[1:]
  return functools.partial(
    _encoded, params, fixed, network=network, shape=shape
  )


def _encode(
  params: Any,
  fixed: Any,
  images: jax.Array,
  *,
  network: decoders.Encoder,
  shape: tuple[int, ...],
) -> jax.Array:
  units: Any = network.apply({"params": params}, images)
  codes = fixed["mean"][None] + fixed["std"][None] * units
  return codes.reshape(-1, *shape)


def _loss(
  params: Any,
  fixed: Any,
  key: jax.Array,
  batch: Any,
  *,
  network: decoders.Encoder,
  noise: Any,
  num_queries: int,
  shape: tuple[int, ...],
) -> jax.Array:
  """Compute cross-entropy of the cloud's answers, and discrepancy of codes."""
  clean = _encode(params, fixed, batch["images"], network=network, shape=shape)
  codes = jax.vmap(lambda k: noise.encode(fixed["law"], k, clean))(
    jax.random.split(key, num_queries)
  ).mean(axis=0)  # as those received are
  total = jnp.zeros([])
  if fixed["cloud"] is not None:
    for name, logits in fixed["cloud"](codes).items():
      label = batch["labels"][name]
      value = classification.cross_entropy(logits=logits, labels=label)
      known = label >= 0
      total += jnp.sum(jnp.where(known, value, 0)) / jnp.maximum(
        jnp.sum(known), 1
      )
  both = [
    attack_lib.standardise(x, fixed["mean"], fixed["std"])
    for x in (codes, batch["received"])
  ]
  return total + fixed["alignment"] * discrepancy(*both)


def discrepancy(a: jax.Array, b: jax.Array) -> jax.Array:
  """Compute the squared maximum mean discrepancy of codes [n, d] and [m, d].

  Over Gaussian kernels whose squared widths are a quarter to four times the
  median squared distance, averaged; 0 or more.
  """
  away = {
    "aa": _squares(a, a),
    "ab": _squares(a, b),
    "bb": _squares(b, b),
  }
  unit = jax.lax.stop_gradient(jnp.median(away["ab"])) + 1e-12

  def mean(squares: jax.Array) -> jax.Array:
    values = [jnp.mean(jnp.exp(-squares / (s * unit))) for s in _SCALES]
    return sum(values, jnp.zeros([])) / len(values)

  return mean(away["aa"]) + mean(away["bb"]) - 2 * mean(away["ab"])


def _squares(a: jax.Array, b: jax.Array) -> jax.Array:
  norms = jnp.sum(a**2, axis=1)[:, None] + jnp.sum(b**2, axis=1)[None]
  products = jnp.matmul(a, b.T, precision=jax.lax.Precision.HIGHEST)
  return jnp.maximum(norms - 2 * products, 0)


_STATIC = ("network", "noise", "num_queries", "shape")
_measure = jax.jit(_loss, static_argnames=_STATIC)
_encoded = jax.jit(_encode, static_argnames=("network", "shape"))


@functools.partial(jax.jit, donate_argnums=(0, 1), static_argnames=_STATIC)
def _step(
  params: Any,
  moments: Any,
  fixed: Any,
  key: jax.Array,
  batch: Any,
  learning_rate: jax.Array,
  **static: Any,
) -> tuple[Any, Any]:
  grads = jax.grad(_loss)(params, fixed, key, batch, **static)
  updates, moments = _OPTIMIZER.update(grads, moments)
  params = jax.tree.map(lambda p, u: p - learning_rate * u, params, updates)
  return params, moments
