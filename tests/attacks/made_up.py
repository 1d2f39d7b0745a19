"""Pictures of few numbers, clients of one layer, and who attacks them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from hybridpriv.attacks import attack, restoration, similarity
from hybridpriv.privatizers import noise as noise_lib
from hybridpriv.privatizers import privatizer

SIZE = 16
OWN, HELD_OUT, ATTACKED = 400, 60, 60
SILENT = privatizer.chain()
NOISY = privatizer.chain(noise_lib.isotropic(sigma=1.0))
TEST = OWN + HELD_OUT + np.arange(ATTACKED)


def pictures(numbers: np.ndarray) -> np.ndarray:
  """Makes smooth pictures of numbers [n, k], each of one pattern."""
  rng = np.random.default_rng(1)
  base = rng.normal(size=(numbers.shape[1], SIZE, SIZE))
  base = ndimage.gaussian_filter(base, (0, 2, 2)).reshape(len(base), -1)
  base = SIZE * np.linalg.qr(base.T)[0].T
  field = numbers @ base / np.sqrt(numbers.shape[1]) * 1.5
  return (1 / (1 + np.exp(-field))).reshape(-1, SIZE, SIZE, 1).astype("f4")


def of_six(num: int = OWN + HELD_OUT + ATTACKED) -> np.ndarray:
  """Makes pictures of six normal numbers each."""
  return pictures(np.random.default_rng(0).normal(size=(num, 6)))


def _product(matrix: jax.Array, images: jax.Array) -> jax.Array:
  return (images.reshape(len(images), -1) - 0.5) @ matrix


def _constant(value: jax.Array, images: jax.Array) -> jax.Array:
  return jnp.full((len(images), SIZE * SIZE), value)


def linear(size: int = SIZE * SIZE) -> jax.tree_util.Partial:
  """Makes a client of so many values, of random weights."""
  weights = np.random.default_rng(2).normal(size=(SIZE * SIZE, size))
  return jax.tree_util.Partial(_product, jnp.asarray(weights / SIZE, "f4"))


def orthogonal() -> jax.tree_util.Partial:
  """Makes a client that turns pictures, and loses nothing."""
  weights = np.random.default_rng(2).normal(size=(SIZE * SIZE, SIZE * SIZE))
  turned = np.linalg.qr(weights)[0]
  return jax.tree_util.Partial(_product, jnp.asarray(turned, "f4"))


def constant() -> jax.tree_util.Partial:
  """Makes a client that says nothing, in as many values."""
  return jax.tree_util.Partial(_constant, jnp.float32(0.3))


def attacked(
  images: np.ndarray,
  client: Any,
  *,
  sigma: float = 0.0,
  num_queries: int = 1,
  own: int = OWN,
  held_out: int = HELD_OUT,
  **more: Any,
) -> tuple[restoration.Knowledge, np.ndarray]:
  """Gives what is known of a client, and the codes of those that come last.

  Noise is in units of the deviation of a code's values.
  """
  codes = np.asarray(client(jnp.asarray(images)))
  chain, law = SILENT, ()
  if sigma:
    chain = NOISY
    law = ({"std": jnp.asarray(sigma * codes.std(axis=0).mean())},)
  victim = attack.Victim(
    jnp.asarray(codes)[None],
    jax.tree.map(lambda x: x[None], law),
    jnp.int32(0),
    jnp.arange(len(codes)),
    chain,
    num_queries,
  )
  test = np.arange(own + held_out, len(images))
  sent = np.asarray(victim.sample(jax.random.key(9), jnp.asarray(test)))
  return restoration.Knowledge(
    images=images,
    index=np.arange(own),
    held_out=np.arange(own, own + held_out),
    noise=chain,
    law=law,
    num_queries=num_queries,
    sample=jax.tree_util.Partial(attack.Victim.sample, victim),
    client=client,
    received=sent,
    **more,
  ), sent


def ssim(images: np.ndarray, restored: np.ndarray) -> float:
  """Gives the mean similarity of what was restored of the last pictures."""
  truth = jnp.asarray(images[-len(restored) :])
  cut = jnp.clip(jnp.asarray(restored), 0, 1)
  return float(jnp.mean(similarity.ssim(cut, truth)))


def of_mean(images: np.ndarray, num: int, own: int = OWN) -> float:
  """Gives the similarity of the mean picture."""
  mean = images[:own].mean(axis=0)
  return ssim(images, np.broadcast_to(mean, (num, *mean.shape)))


def restore(
  inversion: restoration.Inversion,
  knowledge: restoration.Knowledge,
  sent: np.ndarray,
) -> np.ndarray:
  """Trains an attacker with what it needs, and lets it restore."""
  granted = knowledge.granting(inversion.needs)
  attacker = inversion.fit(jax.random.key(1), granted)
  return inversion.restore(attacker, sent)
