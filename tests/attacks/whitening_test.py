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


def test_a_triangle_whitens_as_well():
  _, codes = turned(1.0, 0.5, 0.1)
  found = whitening.triangle(jnp.asarray(codes), jnp.asarray(WEIGHTS), 1e-6)
  np.testing.assert_array_equal(found, np.triu(found))
  seen = np.asarray(whitening.product(jnp.asarray(codes), found), "f8")
  np.testing.assert_allclose(np.cov(seen.T), np.eye(3), atol=0.01)


def test_a_floor_keeps_small_directions_small():
  _, codes = turned(1.0, 0.1)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS), 1.0)
  # All as large as the largest: the codes themselves, scaled.
  np.testing.assert_allclose(found, np.eye(2) * found[0, 0], atol=1e-3)


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


def test_codes_that_are_all_the_same_stay_finite():
  found = whitening.where_uneven(jnp.zeros((NUM, 3)), jnp.asarray(WEIGHTS))
  assert np.all(np.isfinite(found))
