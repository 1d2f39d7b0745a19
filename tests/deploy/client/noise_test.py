import numpy as np
import pytest
from scipy import stats

from hybridpriv.deploy import wire
from hybridpriv.deploy.client import noise, sending

pytest.importorskip("opendp")

NUM = 20_000


def _law(sigma):
  """The whole numbers that matter and their exact probabilities."""
  reach = int(np.ceil(12 * sigma)) + 3
  j = np.arange(-reach, reach + 1)
  share = np.exp(-(j**2) / (2 * sigma**2))
  return j, share / share.sum()


def _p_value(drawn, j, share):
  """Chi-square of counts; what is rarer than five is one class."""
  counts = np.asarray([np.sum(drawn == i) for i in j])
  assert counts.sum() == len(drawn)  # nothing lies beyond
  common = len(drawn) * share >= 5
  seen = np.append(counts[common], counts[~common].sum())
  expected = len(drawn) * np.append(share[common], share[~common].sum())
  if expected[-1] < 1:  # so few together that a class of them has no law
    assert seen[-1] <= 8
    seen, expected = seen[:-1], expected[:-1]
    expected *= seen.sum() / expected.sum()
  if len(seen) == 1:
    return 1.0
  return stats.chisquare(seen, expected).pvalue


@pytest.mark.parametrize("sigma", [0.2, 0.35, 0.5, 1.0, 3.0, 12.0])
def test_the_noise_has_the_exact_probabilities(sigma):
  drawn = noise.discrete_gaussian(np.zeros(NUM, int), sigma=sigma)
  # Right once in a million runs, at each of the six.
  assert _p_value(drawn, *_law(sigma)) > 1e-6


@pytest.mark.parametrize("wrong", ["rounded", "scaled"])
def test_another_law_would_be_seen(wrong):
  rng = np.random.default_rng(0)
  if wrong == "rounded":  # a continuous one, of the same sigma
    drawn, sigma = np.rint(rng.normal(scale=0.5, size=NUM)), 0.5
  else:
    drawn, sigma = np.rint(rng.normal(scale=3.3, size=NUM)), 3.0
  assert _p_value(drawn, *_law(sigma)) < 1e-6


def test_noise_is_added_to_each_value_on_its_own():
  values = np.asarray([-1000, 0, 1000, 2**40])
  drawn = np.stack(
    [noise.discrete_gaussian(values, sigma=2.0) for _ in range(2000)]
  )
  assert drawn.dtype == np.int64
  # Five deviations of the mean of 2000; the centre does not move the law.
  np.testing.assert_allclose(drawn.mean(0), values, atol=5 * 2 / 2000**0.5)
  for column in (drawn - values).T:
    assert _p_value(column, *_law(2.0)) > 1e-6
  # And no value tells another's noise.
  between = np.corrcoef((drawn - values).T)[~np.eye(4, dtype=bool)]
  assert np.abs(between).max() < 5.5 / 2000**0.5


def test_no_two_draws_are_the_same():
  values = np.zeros(40, int)
  drawn = {
    noise.discrete_gaussian(values, sigma=8.0).tobytes() for _ in range(50)
  }
  assert len(drawn) == 50


def test_almost_no_noise_changes_nothing():
  values = np.arange(-5, 5)
  drawn = noise.discrete_gaussian(values, sigma=0.05)  # e^-200
  np.testing.assert_array_equal(drawn, values)


@pytest.mark.parametrize(
  ("values", "sigma", "message"),
  [
    ([0.0], 1.0, "whole numbers"),
    ([[0]], 1.0, "whole numbers"),
    ([0], 0.0, "sigma=0"),
    ([0], -1.0, "sigma=-1"),
    ([0], np.inf, "sigma=inf"),
    ([0], np.nan, "sigma=nan"),
  ],
)
def test_what_has_no_law_is_one_clear_error(values, sigma, message):
  with pytest.raises(ValueError, match=message):
    noise.discrete_gaussian(np.asarray(values), sigma=sigma)


def test_a_code_beyond_the_bits_is_saturated(own):
  own.values["code"].update(sigma=500.0)
  prepared = sending.Prepared(np.asarray([0, 0, 0]), False)
  sent = np.concatenate(
    [
      wire.decode(sending.frame(own, prepared), bundle=own.id).values
      for _ in range(300)
    ]
  )
  j, share = _law(500.0)
  expected = {
    -128: share[j <= -128].sum(),
    127: share[j >= 127].sum(),
  }
  for value, probability in expected.items():
    seen = int(np.sum(sent == value))
    test = stats.binomtest(seen, len(sent), float(probability))
    assert test.pvalue > 1e-6, value
  assert sent.min() == -128 and sent.max() == 127


def test_a_frame_has_the_law_of_the_noise_about_the_code(own):
  own.values["code"]["sigma"] = 12.0  # of what nothing is saturated
  prepared = sending.Prepared(np.asarray([20, -3, 0]), False)
  drawn = np.stack(
    [
      wire.decode(sending.frame(own, prepared), bundle=own.id).values
      for _ in range(1500)
    ]
  )
  for column in (drawn - prepared.values).T:
    assert _p_value(column, *_law(12.0)) > 1e-6
