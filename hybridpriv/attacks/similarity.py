"""How like their originals restored pictures are.

By error, by structure, and to a face recognizer.
"""

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import distance

from hybridpriv.attacks import rank

_WINDOW, _SIGMA = 11, 1.5  # of the similarity, in pixels
_C1, _C2 = 0.01**2, 0.03**2


def squared(restored: jax.Array, images: jax.Array) -> jax.Array:
  """Compute the mean squared error of every image [b]."""
  return jnp.mean((restored - images) ** 2, axis=(1, 2, 3))


def absolute(restored: jax.Array, images: jax.Array) -> jax.Array:
  """Compute the mean absolute error of every image [b]."""
  return jnp.mean(jnp.abs(restored - images), axis=(1, 2, 3))


def dissimilar(restored: jax.Array, images: jax.Array) -> jax.Array:
  """Compute one minus the structural similarity of every image [b]."""
  return 1 - ssim(restored, images)


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
