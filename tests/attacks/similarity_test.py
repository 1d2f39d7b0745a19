import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage, signal

from hybridpriv.attacks import similarity

RNG = np.random.default_rng(0)


def test_psnr_counts_decibels_from_the_full_range():
  a = np.zeros((3, 4, 5, 3), np.float32)
  b = np.full_like(a, 0.1)
  b[1] = 1.0
  b[2] = 0.0
  np.testing.assert_allclose(similarity.psnr(a, b), [20, 0, np.inf], atol=1e-5)


def _ssim(a, b):
  """Structural similarity of two images [h, w], term by term."""
  window = np.zeros((11, 11))
  window[5, 5] = 1
  window = ndimage.gaussian_filter(window, 1.5, radius=5, mode="constant")

  def mean(x):
    return signal.convolve2d(x, window, mode="valid")

  ma, mb = mean(a), mean(b)
  va, vb, c = mean(a * a) - ma**2, mean(b * b) - mb**2, mean(a * b) - ma * mb
  light = (2 * ma * mb + 1e-4) / (ma**2 + mb**2 + 1e-4)
  return np.mean(light * (2 * c + 9e-4) / (va + vb + 9e-4))


def test_ssim_is_that_of_wang_et_al():
  a = RNG.uniform(size=(4, 17, 20, 3))
  b = np.clip(
    a
    + np.array([0.02, 0.1, 0.5, 2])[:, None, None, None]
    * RNG.normal(size=a.shape),
    0,
    1,
  )
  expected = [
    np.mean([_ssim(x[..., i], y[..., i]) for i in range(3)])
    for x, y in zip(a, b, strict=True)
  ]
  found = similarity.ssim(*(jnp.asarray(x, jnp.float32) for x in (a, b)))
  np.testing.assert_allclose(found, expected, atol=1e-5)
  assert np.all(np.diff(found) < 0)


def test_ssim_of_equal_images_is_one_and_of_opposite_ones_negative():
  image = jnp.asarray(RNG.uniform(size=(2, 11, 11, 1)), jnp.float32)
  np.testing.assert_allclose(similarity.ssim(image, image), 1, atol=1e-6)
  opposite = similarity.ssim(image, 1 - image)
  assert np.all((opposite > -1) & (opposite < -0.8))
  with pytest.raises(ValueError, match="10 x 11 pixels.*11 x 11 or more"):
    similarity.ssim(image[:, 1:], image[:, 1:])


def test_reconstructions_match_the_nearest_person_of_the_gallery():
  # Persons 7 and 9 have the same centroid, (4, 0); person 3 has (0, 0).
  gallery = np.array([[1, 1], [-1, -1], [4, 0], [3, 1], [5, -1]], "f4")
  gallery_person = np.array([3, 3, 7, 9, 9])
  found = similarity.matched(
    np.array([[1, 1], [1, 1], [3, 0], [3, 0], [3, 0]], "f4"),
    gallery,
    gallery_person,
    np.array([3, 7, 7, 9, 3]),
  )
  np.testing.assert_array_equal(found, [1, 0, 0.5, 0.5, 0])


def test_a_gallery_without_the_person_or_with_nan_is_one_clear_error():
  gallery, who = np.eye(2), np.array([3, 7])
  with pytest.raises(ValueError, match=r"2 people has no picture of \[5\]"):
    similarity.matched(gallery, gallery, who, np.array([3, 5]))
  with pytest.raises(ValueError, match="not finite"):
    similarity.matched(gallery * np.nan, gallery, who, who)
