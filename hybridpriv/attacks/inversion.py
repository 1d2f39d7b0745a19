"""Visual inversion: a decoder from codes back to images, and what it restores.

A decoder learns from the attacker's own images and fresh codes of these, and
is kept where it restores held-out images best.  It predicts the difference from
the mean of the attacker's images, which is the best answer to codes that say
nothing.  The source trains it on pixels too and judges by eye (paper.md 7.3);
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
import tqdm
from flax import linen as nn
from scipy.spatial import distance

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import rank
from hybridpriv.data import batches
from hybridpriv.train import features, loop

_WINDOW, _SIGMA = 11, 1.5  # of the similarity, in pixels
_C1, _C2 = 0.01**2, 0.03**2
_OPTIMIZER = optax.scale_by_adam()


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


def train(
  key: jax.Array,
  sample: jax.tree_util.Partial,
  images: np.ndarray,
  *,
  network: nn.Module,
  index: np.ndarray,
  held_out: np.ndarray,
  steps: int,
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
    The attacker of the look with the lowest squared error.

  Raises:
    ValueError: an argument is not as described.
    loop.Diverged: the error on held-out images is not finite.
  """
  _check(sample, images, index, held_out)
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
  moments = _OPTIMIZER.init(params)
  seed = int(jax.random.bits(order_key))
  best, lowest, since = attacker, np.inf, 0
  bar = tqdm.trange(
    1, steps + 1, desc=name, leave=False, disable=None if name else True
  )
  for number in bar:
    at = batches.indices(
      index, seed=seed, step=number - 1, batch_size=batch_size
    )
    attacker, moments = _step(
      attacker,
      moments,
      sample,
      jax.random.fold_in(step_key, number),
      at,
      images[at],
      learning_rate * (1 - (number - 1) / steps),
    )
    if number % look_every and number != steps:
      continue
    now = error(
      attacker, sample, jax.random.fold_in(look_key, number), images, held_out
    )
    bar.set_postfix(error=now, lowest=lowest)
    if not np.isfinite(now):
      raise loop.Diverged(
        f"inversion {name}: the error on held-out images is {now} at step"
        f" {number}; lower learning_rate={learning_rate}"
      )
    since += 1
    if now < lowest:
      # The step gives its arguments away.
      best, lowest, since = jax.tree.map(jnp.copy, attacker), now, 0
    if since >= patience:
      break
  bar.close()
  return best


@jax.jit
def reconstruct(attacker: Inverter, codes: jax.Array) -> jax.Array:
  """Restore images [b, s, s, c], cut to 0 .. 1, from codes [b, ...]."""
  return jnp.clip(_decode(attacker, codes), 0.0, 1.0)


def _decode(attacker: Inverter, codes: jax.Array) -> jax.Array:
  codes = attack_lib.standardise(codes, attacker.mean, attacker.std)
  change: Any = attacker.network.apply({"params": attacker.params}, codes)
  return attacker.image[None] + change


def _errors(
  attacker: Inverter, codes: jax.Array, images: jax.Array
) -> jax.Array:
  return jnp.mean((_decode(attacker, codes) - images) ** 2, axis=(1, 2, 3))


@functools.partial(jax.jit, donate_argnums=(0, 1))
def _step(
  attacker: Inverter,
  moments: Any,
  sample: Callable[..., jax.Array],
  key: jax.Array,
  index: jax.Array,
  images: jax.Array,
  learning_rate: jax.Array,
) -> tuple[Inverter, Any]:
  """Take one step of Adam on fresh codes of a batch."""
  codes = sample(key, index)

  def loss(params: Any) -> jax.Array:
    now = dataclasses.replace(attacker, params=params)
    return jnp.mean(_errors(now, codes, images))

  grads = jax.grad(loss)(attacker.params)
  updates, moments = _OPTIMIZER.update(grads, moments)
  params = jax.tree.map(
    lambda p, u: p - learning_rate * u, attacker.params, updates
  )
  return dataclasses.replace(attacker, params=params), moments


@jax.jit
def draw(
  sample: Callable[..., jax.Array], key: jax.Array, index: jax.Array
) -> jax.Array:
  """Draw codes [b, d], with noise of their own in every batch."""
  key = jax.random.fold_in(key, index[0])
  return attack_lib.flatten(sample(key, index))


_measure = jax.jit(_errors)


def error(
  attacker: Inverter,
  sample: Callable[..., jax.Array],
  key: jax.Array,
  images: np.ndarray,
  held_out: np.ndarray,
) -> float:
  """Compute the mean squared error on held-out images, with fresh noise.

  Args:
    attacker: who restores them.
    sample: as in `train`.
    key: typed key.
    images: [n, s, s, c].
    held_out: places of those that count.
  """

  def one(chosen: np.ndarray) -> jax.Array:
    return _measure(attacker, draw(sample, key, chosen), images[chosen])

  places = np.arange(len(images))
  return float(features.compute(one, places, held_out, batch_size=64).mean())


def _check(
  sample: Any, images: np.ndarray, index: np.ndarray, held_out: np.ndarray
) -> None:
  if not isinstance(sample, jax.tree_util.Partial):
    raise ValueError(
      f"sample is a {type(sample).__name__}; expected a function with its"
      " arrays bound by jax.tree_util.Partial, so that they are arguments of"
      " the program and not part of it"
    )
  if images.ndim != 4 or not np.issubdtype(images.dtype, np.floating):
    raise ValueError(
      f"images are {images.dtype} {images.shape}; expected floating-point"
      " numbers from 0 to 1 [n, s, s, c]: divide pixels by 255"
    )
  if not len(index) or not len(held_out):
    raise ValueError(
      f"{len(index)} images to train on and {len(held_out)} held out; expected"
      " some of both"
    )
  if both := np.intersect1d(index, held_out).size:
    raise ValueError(
      f"{both} images are both trained on and held out; divide them, by person"
    )


def psnr(a: jax.Array, b: jax.Array) -> jax.Array:
  """Compute the peak signal-to-noise ratio of images [n, h, w, c], 0 to 1.

  Returns:
    In decibels [n]; infinite where two images are equal.
  """
  return -10 * jnp.log10(jnp.mean((a - b) ** 2, axis=(1, 2, 3)))


def ssim(a: jax.Array, b: jax.Array) -> jax.Array:
  """Compute the structural similarity of images [n, h, w, c], 0 to 1.

  Of every channel, over all windows of 11 x 11 pixels (weights of a Gaussian
  with standard deviation 1.5) that fit into the image; then the mean.

  Returns:
    [n], 1 for equal images, never below -1.

  Raises:
    ValueError: no window fits.

  References:
    Wang et al. 2004, IEEE Transactions on Image Processing 13(4), with its
    constants 0.01 and 0.03.
  """
  if min(a.shape[1:3]) < _WINDOW:
    raise ValueError(
      f"images of {a.shape[1]} x {a.shape[2]} pixels; the similarity needs"
      f" {_WINDOW} x {_WINDOW} or more"
    )
  weights = np.exp(-0.5 * ((np.arange(_WINDOW) - _WINDOW // 2) / _SIGMA) ** 2)
  weights /= weights.sum()
  # A band matrix a side: products of matrices are fast on every machine.
  down, across = (
    sum(w * np.eye(n - _WINDOW + 1, n, k) for k, w in enumerate(weights))
    for n in a.shape[1:3]
  )

  def smooth(x: jax.Array) -> jax.Array:
    return jnp.einsum(
      "ih,jw,nhwc->nijc",
      jnp.asarray(down, jnp.float32),
      jnp.asarray(across, jnp.float32),
      x,
      precision="highest",
    )

  mean_a, mean_b = smooth(a), smooth(b)
  var_a = smooth(a * a) - mean_a**2
  var_b = smooth(b * b) - mean_b**2
  covariance = smooth(a * b) - mean_a * mean_b
  value = (2 * mean_a * mean_b + _C1) * (2 * covariance + _C2)
  value /= (mean_a**2 + mean_b**2 + _C1) * (var_a + var_b + _C2)
  return jnp.mean(value, axis=(1, 2, 3))


def matched(
  reconstructed: np.ndarray,
  gallery: np.ndarray,
  gallery_person: np.ndarray,
  person: np.ndarray,
) -> np.ndarray:
  """Say whether a recognizer finds in reconstructions who they show.

  Args:
    reconstructed: the recognizer's embeddings of reconstructions [n, d], e.g.
      the 128 numbers of `resnet29_dlib`.
    gallery: its embeddings of true pictures, others than the attacked [g, d].
    gallery_person: who these show [g].
    person: who the reconstructions should show [n].

  Returns:
    [n], 1 where the nearest centroid of a person's pictures is that of the
    right one, 1/j where it is as near as those of j - 1 others, else 0.

  Raises:
    ValueError: an embedding is not finite, or someone is not in the gallery.
  """
  if not (np.isfinite(reconstructed).all() and np.isfinite(gallery).all()):
    raise ValueError("some embeddings are not finite numbers")
  people, group = np.unique(gallery_person, return_inverse=True)
  if missing := np.setdiff1d(person, people).tolist():
    raise ValueError(
      f"the gallery of {len(people)} people has no picture of {missing[:5]}"
      f" ({len(missing)} missing)"
    )
  centroids = np.stack(
    [gallery[group == i].mean(axis=0) for i in range(len(people))]
  )
  scores = -distance.cdist(reconstructed, centroids)
  label = np.searchsorted(people, person)
  return np.asarray(rank.of_scores(jnp.asarray(scores), jnp.asarray(label))[0])
