import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import whitening

RNG = np.random.default_rng(0)
NUM = 2000
WEIGHTS = np.full(NUM, 1 / NUM, "f4")


def turned(*stds):
  """Makes independent numbers, and codes of them turned by a rotation."""
  values = RNG.normal(size=(NUM, len(stds))) * stds
  values -= values.mean(0)
  turn = np.linalg.qr(RNG.normal(size=(len(stds),) * 2))[0]
  return values, (values @ turn).astype("f4")


def test_it_is_the_symmetric_root_of_the_inverse_covariance():
  _, codes = turned(1.0, 0.5, 0.1)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS))
  values, vectors = np.linalg.eigh(np.cov(codes.T.astype("f8"), bias=True))
  expected = (vectors / np.sqrt(values)) @ vectors.T
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("ratio", [30, 1000, 10_000])
def test_a_small_direction_is_as_large_as_the_others(ratio):
  values, codes = turned(1.0, 1.0, 1 / ratio)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS))
  seen = np.asarray(whitening.product(jnp.asarray(codes), found), "f8")
  np.testing.assert_allclose(np.cov(seen.T), np.eye(3), atol=0.05)
  # All of the small number is there, in the three together.
  small = values[:, 2] / values[:, 2].std()
  fitted = seen @ np.linalg.lstsq(seen, small, rcond=None)[0]
  assert np.corrcoef(fitted, small)[0, 1] > 0.99


def test_a_floor_keeps_small_directions_small():
  _, codes = turned(1.0, 0.1)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS), 1.0)
  # All as large as the largest: the codes themselves, scaled.
  np.testing.assert_allclose(found, np.eye(2) * found[0, 0], atol=1e-3)


@pytest.mark.parametrize("floor", [1e-2, 1e-4])
def test_every_direction_gets_its_floor_at_least(floor):
  stds = np.sqrt([1.0, 10 * floor, floor / 10])
  values = RNG.normal(size=(NUM, 3))
  values -= values.mean(0)
  values = values @ np.linalg.inv(np.linalg.cholesky(np.cov(values.T))).T
  codes = (values * stds).astype("f4")
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS), floor)
  seen = np.var(codes @ np.asarray(found), axis=0)
  np.testing.assert_allclose(seen, [1, 1, 0.1], rtol=0.02)


def test_samples_of_no_weight_have_no_say():
  _, codes = turned(1.0, 0.1)
  weights = WEIGHTS * (np.arange(NUM) < 500) * 4
  other = np.where(np.arange(NUM)[:, None] < 500, codes, 1e3).astype("f4")
  a, b = (
    whitening.matrix(jnp.asarray(x), jnp.asarray(weights))
    for x in (codes, other)
  )
  np.testing.assert_array_equal(a, b)


def test_even_codes_stay_as_they_are():
  _, codes = turned(1.0, 0.5, 0.2)
  found = whitening.where_uneven(jnp.asarray(codes), jnp.asarray(WEIGHTS))
  np.testing.assert_array_equal(found, np.eye(3))
  _, codes = turned(1.0, 0.5, 0.05)
  codes, weights = jnp.asarray(codes), jnp.asarray(WEIGHTS)
  np.testing.assert_array_equal(
    whitening.where_uneven(codes, weights), whitening.matrix(codes, weights)
  )


@pytest.mark.parametrize("num, is_known", [(5, False), (6, True), (40, True)])
def test_of_few_samples_no_direction_is_known_to_be_small(num, is_known):
  _, codes = turned(1.0, 0.5, 0.01)
  used = np.arange(NUM) < num
  found = whitening.where_uneven(
    jnp.asarray(codes), jnp.asarray((used / num).astype("f4"))
  )
  assert np.array_equal(found, np.eye(3)) != is_known


def test_codes_that_are_all_the_same_stay_finite():
  found = whitening.where_uneven(jnp.zeros((NUM, 3)), jnp.asarray(WEIGHTS))
  assert np.all(np.isfinite(found))
