import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import attack, outliers
from hybridpriv.privatizers import noise, privatizer

RNG = np.random.default_rng(0)
NEAR = RNG.normal(size=(400, 5)).astype("f4")


@pytest.mark.parametrize("scale, offset", [(1, 0), (1e-6, 0), (3, -50)])
def test_codes_without_outliers_stay_as_they_are(scale, offset):
  codes = (scale * NEAR + offset).astype("f4")
  found = outliers.bulk(jnp.asarray(codes[:128]))
  np.testing.assert_array_equal(outliers.draw_in(codes, found), codes)
  # The spread of a Gaussian is about its standard deviation.
  assert np.all(np.abs(found.spread / scale - 1) < 0.4)


def test_what_lies_far_out_is_drawn_in_by_its_logarithm():
  codes = NEAR.copy()
  codes[::100] = [[1e12], [-1e6], [30], [1e3]]
  found = outliers.bulk(jnp.asarray(codes))
  middle, spread = (np.asarray(x, "f8") for x in found)
  z = (codes - middle) / spread
  expected = middle + spread * np.sign(z) * (
    10 + np.log(np.maximum(np.abs(z) - 9, 1)) / 4
  )
  seen = np.asarray(outliers.draw_in(codes, found))
  far = np.abs(z) > 10
  assert far.sum() == 4 * 5
  np.testing.assert_allclose(seen[far], expected[far], rtol=1e-5)
  np.testing.assert_array_equal(seen[~far], codes[~far])


def test_no_two_codes_become_one():
  size = np.logspace(-3, 30, 400, dtype="f4")
  values = np.concatenate([-size[::-1], size])[:, None]
  found = outliers.Bulk(jnp.zeros(1), jnp.ones(1))
  seen = np.asarray(outliers.draw_in(values, found))[:, 0]
  assert np.all(np.diff(seen) > 0)


@pytest.mark.parametrize("share", [0.01, 0.3, 0.7])
def test_most_codes_may_be_outliers(share):
  codes = NEAR.copy()
  codes[: int(share * len(codes))] *= 1e15
  found = outliers.bulk(jnp.asarray(RNG.permutation(codes)))
  assert np.all((found.spread > 0.3) & (found.spread < 10))


def test_a_component_that_never_differs_has_no_spread():
  found = outliers.bulk(jnp.full((9, 2), 7.0))
  np.testing.assert_array_equal(found.middle, [7, 7])
  assert np.all(np.isinf(found.spread))
  codes = np.array([[7.0, 1e9]], "f4")
  np.testing.assert_array_equal(outliers.draw_in(codes, found), codes)


def test_a_component_that_seldom_differs_is_scaled_by_what_does():
  codes = np.zeros((100, 1), "f4")
  codes[::10, 0] = np.linspace(1, 2, 10)
  spread = float(outliers.bulk(jnp.asarray(codes)).spread[0])
  # The eighth of ten: three quarters are nearer.
  assert spread == pytest.approx((1 + 7 / 9) / 1.1503, rel=1e-3)


def test_rectified_codes_stay_as_they_are():
  # Zero for about half: the middle is next to it, and a quarter is as near.
  codes = np.maximum(RNG.normal(size=(2000, 50)) + 0.05, 0).astype("f4")
  found = outliers.bulk(jnp.asarray(codes[:128]))
  np.testing.assert_array_equal(outliers.draw_in(codes, found), codes)


@pytest.mark.parametrize("num", [1, 2, 5, 128])
def test_the_kth_smallest_is_that_of_a_sort(num):
  values = RNG.normal(size=(num, 9)) * 10.0 ** RNG.integers(-30, 30, (1, 9))
  values = np.concatenate([values, np.round(RNG.normal(size=(num, 9)))], 1)
  values = values.astype("f4")
  for k in range(1, num + 1):
    found = outliers._kth_smallest(jnp.asarray(values), jnp.asarray(k))
    np.testing.assert_array_equal(found, np.sort(values, axis=0)[k - 1])


@pytest.mark.parametrize("num", [3, 128, 500])
def test_only_places_that_count_are_chosen(num):
  used = np.zeros(num, "f4")
  used[1::2] = 1
  found = np.asarray(outliers.some(jnp.asarray(used)))
  assert len(found) == min(num, 128) and np.all(used[found] == 1)
  assert len(np.unique(found)) == min(used.sum(), 128)


def test_queries_are_drawn_in_before_they_are_averaged():
  # One draw in eight is far out: their plain mean is one of these.
  def encode(state, key, x):
    far = jax.random.bernoulli(key, 1 / 8, x.shape)
    return jnp.where(far, 1e3, x)

  stage = noise.isotropic(sigma=1.0)._replace(encode=encode)
  clean = jnp.asarray(NEAR[None])
  found = attack.Victim(
    clean,
    ({},),
    jnp.int32(0),
    jnp.arange(400),
    privatizer.chain(stage),
    num_queries=64,
    bulk=outliers.bulk(clean[0]),
  ).sample(jax.random.key(0), jnp.arange(400))
  assert float(jnp.max(jnp.abs(found))) < 15
  for i in range(5):
    assert np.corrcoef(found[:, i], NEAR[:, i])[0, 1] > 0.7
