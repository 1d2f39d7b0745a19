import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.train import augment

# Every pixel tells its row and column, and every image its number.
GRID = np.arange(7)[:, None] * 10 + np.arange(8)[None]
IMAGES = np.repeat(GRID[None, :, :, None], 200, axis=0).astype(np.uint8)


def test_the_centre_is_the_middle():
  cut = augment.centre(jnp.asarray(IMAGES[:2]), shape=(3, 4, 1))
  assert cut.dtype == jnp.uint8
  np.testing.assert_array_equal(cut, IMAGES[:2, 2:5, 2:6])
  same = augment.centre(jnp.asarray(IMAGES[:2]), shape=(7, 8, 1))
  np.testing.assert_array_equal(same, IMAGES[:2])


def test_crops_lie_everywhere_and_half_of_them_are_mirrored(key):
  cut = augment.crop_mirror(key, jnp.asarray(IMAGES), shape=(5, 5, 1))
  assert cut.shape == (200, 5, 5, 1) and cut.dtype == jnp.uint8
  cut = np.asarray(cut)[..., 0].astype(int)
  mirrored = cut[:, 0, 0] > cut[:, 0, -1]
  straight = np.where(mirrored[:, None, None], cut[:, :, ::-1], cut)
  corner = straight[:, 0, 0]
  # Each is a window of the image: its corner says which.
  window = GRID[:5, :5][None] + corner[:, None, None]
  np.testing.assert_array_equal(straight, window)
  assert set(corner) == {10 * i + j for i in range(3) for j in range(4)}
  assert 70 <= mirrored.sum() <= 130  # four standard deviations


def test_crops_are_a_function_of_the_key(key):
  def cut(key):
    return augment.crop_mirror(key, jnp.asarray(IMAGES), shape=(5, 5, 1))

  np.testing.assert_array_equal(cut(key), cut(key))
  assert np.any(cut(key) != cut(jax.random.key(1)))


def test_jitter_scales_and_shifts_every_channel_of_a_window_alike(key):
  rng = np.random.default_rng(0)
  windows = rng.normal(size=(400, 9, 2)).astype(np.float32)
  found = augment.jitter(key, jnp.asarray(windows), shape=(9, 2))
  assert found.shape == windows.shape
  # The first differences lose the shift; their ratio is the gain.
  ratio = np.diff(found, axis=1) / np.diff(windows, axis=1)
  gain = np.median(ratio, axis=1, keepdims=True)
  shift = np.asarray(found) - gain * windows
  np.testing.assert_allclose(shift, shift[:, :1] + 0 * shift, atol=1e-3)
  np.testing.assert_allclose(np.std(np.log(gain)), 0.15, rtol=0.15)
  np.testing.assert_allclose(np.std(shift[:, 0]), 0.1, rtol=0.15)


def test_photos_are_turned_zoomed_shifted_and_half_of_them_mirrored(key):
  # Channels tell column and row, so that differences tell the whole map.
  side, num = 25, 800
  row, column = np.mgrid[:side, :side]
  image = np.stack([column, row, 0 * row], axis=-1) * 5.0
  images = np.repeat(image[None], num, axis=0).astype(np.uint8)
  found = augment.photo(key, jnp.asarray(images), shape=(21, 21, 3))
  assert found.shape == (num, 21, 21, 3) and found.dtype == jnp.float32
  found = np.asarray(found)
  by_column = (found[:, 10, 12, :2] - found[:, 10, 8, :2]) / 20
  by_row = (found[:, 12, 10, :2] - found[:, 8, 10, :2]) / 20
  mirrored = by_column[:, 0] < 0
  assert 0.43 * num < mirrored.sum() < 0.57 * num  # four standard deviations
  by_column = np.where(mirrored[:, None], -by_column, by_column)
  # A turn and a zoom, nothing else: columns stay at right angles to rows.
  np.testing.assert_allclose(by_row[:, 1], by_column[:, 0], atol=1e-4)
  np.testing.assert_allclose(by_row[:, 0], -by_column[:, 1], atol=1e-4)
  angle = np.rad2deg(np.arctan2(by_column[:, 1], by_column[:, 0]))
  assert 11 < np.abs(angle).max() < 12.01 and abs(angle.mean()) < 1
  zoom = np.log(np.hypot(*by_column.T))  # and contrast
  np.testing.assert_allclose(
    zoom.std(), np.hypot(0.25, 0.12 / np.sqrt(3)), rtol=0.1
  )
  # Where the middle of the frame was: free of contrast and brightness.
  empty = found[..., 2].mean((1, 2))
  middle = (found[:, 10, 10, :2] - empty[:, None]) / 5 / np.exp(zoom)[:, None]
  assert np.all(np.abs(middle - 12) < 0.06 * side + 0.12 * 12 + 1)
  assert np.all(middle.std(0) > 0.03 * side / np.sqrt(3))


def test_photos_change_in_brightness(key):
  images = jnp.full((600, 8, 8, 3), 100, jnp.uint8)
  found = np.asarray(augment.photo(key, images, shape=(8, 8, 3)))
  mean = found.mean((1, 2, 3))
  np.testing.assert_allclose(found - mean[:, None, None, None], 0, atol=1e-3)
  np.testing.assert_allclose(np.std(mean), 25.5, rtol=0.12)
  np.testing.assert_allclose(np.mean(mean), 100, atol=4.2)


@pytest.mark.parametrize(
  "function",
  [
    augment.centre,
    lambda inputs, shape: augment.crop_mirror(
      jax.random.key(0), inputs, shape=shape
    ),
    lambda inputs, shape: augment.jitter(
      jax.random.key(0), inputs, shape=shape
    ),
  ],
)
@pytest.mark.parametrize(
  "shape, message",
  [
    ((7, 9, 1), "too small for a network that takes"),
    ((7, 8, 3), "same number of axes and channels"),
    ((7, 8), "same number of axes and channels"),
  ],
)
def test_inputs_that_do_not_fit_are_one_clear_error(function, shape, message):
  with pytest.raises(ValueError, match=message):
    function(jnp.asarray(IMAGES[:2]), shape=shape)


@pytest.mark.parametrize("function", [augment.crop_mirror, augment.photo])
def test_signals_are_not_mirrored(key, function):
  with pytest.raises(ValueError, match="signals have augment.jitter"):
    function(key, jnp.zeros((2, 9, 3)), shape=(8, 3))
