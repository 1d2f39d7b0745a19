r"""Linear inversion: ridge regression from codes to pixels, in closed form.

With centred codes $x_i$, centred images $y_i$ and noise $n$ it minimises

$$ \sum_i E_n \lVert W (x_i + n) - y_i \rVert^2 + \lambda \lVert W \rVert^2, $$

the noise drawn several times for every image.  Wide codes are inverted far
better by it than by a decoder that a short training has not brought far.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import scipy.linalg
from flax import linen as nn

from hybridpriv.attacks import attack as attack_lib
from hybridpriv.attacks import inversion, restoration
from hybridpriv.train import features

_STRENGTHS = tuple(10.0**e for e in range(-6, 3))  # of the mean variance
_PIXELS = 768  # that the strength is chosen by


class Linear(nn.Module):
  """From codes to what is added to the mean image.

  Attributes:
    shape: of the image.
  """

  shape: tuple[int, ...]

  @nn.compact
  def __call__(self, code: jax.Array) -> jax.Array:
    """Compute images `[b, *shape]` from codes `[b d]`."""
    size = int(np.prod(self.shape))
    x = nn.Dense(size, use_bias=False, name="dense")(code)
    return x.reshape((-1, *self.shape))


def linear(*, draws: int = 8) -> restoration.Inversion:
  """Attack with the best linear inversion.

  Args:
    draws: noisy codes of every picture that it sees.
  """

  def fit_to(
    key: jax.Array, knowledge: restoration.Knowledge
  ) -> inversion.Inverter:
    return fit(
      key,
      knowledge.sample,
      knowledge.images,
      index=knowledge.index,
      held_out=knowledge.held_out,
      draws=draws if knowledge.noise.is_random else 1,
    )

  return restoration.Inversion(
    "ridge.linear", fit_to, inversion.restore, ("sample",)
  )


def fit(
  key: jax.Array,
  sample: jax.tree_util.Partial,
  images: np.ndarray,
  *,
  index: np.ndarray,
  held_out: np.ndarray,
  draws: int = 1,
) -> inversion.Inverter:
  """Fit a linear inversion, its strength chosen on held-out images.

  Args:
    key: typed key.
    sample: as in `inversion.train`.
    images: the attacker's own, 0 to 1, float [n, s, s, c].
    index: places of images to fit on.
    held_out: places of images of other people, for the strength only.
    draws: codes drawn of every image; 1 is enough without noise.

  Returns:
    The attacker with the lowest squared error on held-out images.
  """
  places = np.arange(len(images))

  def codes(number: int, at: np.ndarray) -> np.ndarray:
    own = jax.random.fold_in(key, number)
    return features.compute(
      functools.partial(inversion.draw, sample, own), places, at
    )

  x = np.concatenate([codes(i, np.asarray(index)) for i in range(draws)])
  y = images[index].reshape(len(index), -1)
  mean, image = x.mean(axis=0), y.mean(axis=0)
  scale = float(np.max(x.std(axis=0))) or 1.0
  x = np.clip((x - mean) / scale, -attack_lib.LIMIT, attack_lib.LIMIT)
  y = y - image
  # In float32 it has negative eigenvalues where images are fewer than values,
  # and no solution; in parts, as in float64 all codes might not fit in memory.
  gram = np.zeros((x.shape[1], x.shape[1]))
  for part in np.array_split(x, -(-len(x) // 1024)):
    gram += part.T.astype(np.float64) @ part.astype(np.float64)
  cross = x.T @ np.tile(y, (draws, 1)) if draws > 1 else x.T @ y
  unit = np.trace(gram) / len(gram) or 1.0  # constant codes
  judged = (codes(draws, np.asarray(held_out)) - mean) / scale
  judged = np.clip(judged, -attack_lib.LIMIT, attack_lib.LIMIT)
  truth = images[held_out].reshape(len(held_out), -1) - image
  rng = np.random.default_rng(0)  # which pixels, not what is in them
  some = rng.permutation(y.shape[1])[:_PIXELS]

  def solve(strength: float, columns: np.ndarray | slice) -> np.ndarray:
    root = gram + strength * unit * np.eye(len(gram))
    return scipy.linalg.solve(root, cross[:, columns], assume_a="pos")

  errors = [
    np.mean((judged @ solve(s, some) - truth[:, some]) ** 2) for s in _STRENGTHS
  ]
  kernel = solve(_STRENGTHS[int(np.argmin(errors))], slice(None))
  shape = images.shape[1:]
  return inversion.Inverter(
    params={"dense": {"kernel": jnp.asarray(kernel, jnp.float32)}},
    mean=jnp.asarray(mean, jnp.float32),
    std=jnp.full(mean.shape, scale, jnp.float32),
    image=jnp.asarray(image.reshape(shape), jnp.float32),
    network=Linear(shape),
  )
