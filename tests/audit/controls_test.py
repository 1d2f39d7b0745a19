import numpy as np
import pytest

from hybridpriv.audit import controls
from hybridpriv.audit.problems import Problem


def problem(label, num_classes, kind="attribute"):
  label = np.asarray(label)
  return Problem("side", 0, label, np.ones(len(label)), num_classes, kind)


@pytest.mark.parametrize(
  "width, classes", [(1, 2), (1, 5), (2, 7), (8, 2), (8, 62), (64, 10)]
)
def test_a_planted_leak_tells_the_label_at_any_width(width, classes):
  label = np.arange(1000) % classes
  for seed in range(10):
    rng = np.random.default_rng(seed)
    codes = controls.planted(problem(label, classes), width, rng)
    assert codes.shape == (1000, width) and codes.dtype == np.float32
    centre = np.stack([codes[label == c].mean(0) for c in range(classes)])
    distance = np.linalg.norm(codes[:, None] - centre[None], axis=2)
    assert np.mean(distance.argmin(1) == label) > 0.99


def test_a_planted_leak_says_nothing_of_unknown_labels():
  label = np.where(np.arange(400) % 2, 1, -1)
  codes = controls.planted(problem(label, 3), 4, np.random.default_rng(0))
  np.testing.assert_allclose(codes[label < 0].mean(0), 0, atol=0.04)
  assert np.linalg.norm(codes[label == 1].mean(0)) > 7


@pytest.mark.parametrize("ratio", [1, 30, 300])
@pytest.mark.parametrize("far", [0.0, 1e9])
def test_a_leak_is_planted_where_codes_vary_least(ratio, far):
  rng = np.random.default_rng(0)
  turn = np.linalg.qr(rng.normal(size=(3, 3)))[0]
  stds = np.array([ratio, ratio, 1.0])
  codes = (rng.normal(size=(900, 2, 3)) * stds) @ turn
  codes[::100] += far
  codes = codes.astype("f4")
  label = np.where(np.arange(900) % 3 == 2, -1, np.arange(900) % 3)
  moved = controls.planted_beside(problem(label, 2), codes) - codes.astype("f8")
  usual = np.ones(900, bool)
  usual[::100] = False
  # Unknown labels are not moved; others by four deviations either way.
  assert np.all(moved[label < 0] == 0)
  along = (moved @ turn.T)[usual & (label >= 0)]
  side = 2 * label[usual & (label >= 0)] - 1
  size = along[..., 2] * side[:, None]
  if ratio > 1:
    np.testing.assert_allclose(np.abs(size), 4, rtol=0.3)
    # What varies much hides what is moved along with it.
    assert np.all(np.abs(along[..., :2]) < 0.5 * ratio)
  way = np.sign(np.sum(along * along[0, 0], axis=-1)) * side[:, None]
  assert len(np.unique(way)) == 1  # a class goes one way, the other the other


def test_raw_pictures_are_averaged_down_to_at_most_32_pixels():
  rng = np.random.default_rng(0)
  images = rng.integers(256, size=(2, 66, 40, 3)).astype(np.uint8)
  found = controls.raw(images)
  expected = np.zeros((2, 22, 13, 3))
  for i in range(22):
    for j in range(13):
      part = images[:, 3 * i : 3 * i + 3, 3 * j : 3 * j + 3]
      expected[:, i, j] = part.astype(float).mean((1, 2))
  np.testing.assert_allclose(found, expected.reshape(2, -1), rtol=1e-5)
  small = images[:, :32, :20]
  np.testing.assert_array_equal(controls.raw(small), small.reshape(2, -1))


def test_raw_signals_are_laid_out_as_they_are():
  signals = np.random.default_rng(0).normal(size=(3, 50, 2)).astype("f4")
  np.testing.assert_array_equal(controls.raw(signals), signals.reshape(3, 100))


PERSON = np.array([0, 0, 0, 0, 1, 1, 1, 1])
RECORDING = np.array([0, 0, 1, 1, 2, 2, 3, 3])


@pytest.mark.parametrize(
  "label, kind, expected",
  [
    ([0, 0, 0, 0, 1, 1, 1, 1], "attribute", PERSON),
    ([0, -1, 0, 0, 1, 1, 1, -1], "attribute", PERSON),
    ([0, 0, 1, 1, 0, 0, 1, 1], "attribute", RECORDING),
    ([0, 1, 0, 1, 0, 1, 0, 1], "attribute", np.arange(8)),
    ([0, 0, 0, 0, 1, 1, 1, 1], "identity", RECORDING),
  ],
)
def test_labels_are_shuffled_by_the_largest_block_of_one_label(
  label, kind, expected
):
  found = controls.blocks(problem(label, 2, kind), PERSON, RECORDING)
  np.testing.assert_array_equal(found, expected)
