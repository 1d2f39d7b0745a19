import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.attacks import whitening

NUM = 2000
WEIGHTS = np.full(NUM, 1 / NUM, "f4")


def turned(*stds):
  """Makes independent numbers, and codes of them turned by a rotation."""
  rng = np.random.default_rng(0)
  values = rng.normal(size=(NUM, len(stds))) * stds
  values -= values.mean(0)
  turn = np.linalg.qr(rng.normal(size=(len(stds),) * 2))[0]
  return values, (values @ turn).astype("f4")


@pytest.mark.parametrize("ridge", [0.0, 0.01, 3.0])
def test_the_covariance_and_its_ridge_become_the_identity(ridge):
  _, codes = turned(1.0, 0.5, 0.1)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS), ridge)
  covariance = np.cov(codes.T.astype("f8"), bias=True)
  covariance += ridge * np.trace(covariance) / 3 * np.eye(3)
  whole = np.asarray(found, "f8").T @ covariance @ np.asarray(found, "f8")
  np.testing.assert_allclose(whole, np.eye(3), atol=1e-3)


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


def test_a_large_ridge_scales_all_directions_alike():
  _, codes = turned(1.0, 0.1)
  found = whitening.matrix(jnp.asarray(codes), jnp.asarray(WEIGHTS), 1e5)
  whole = np.asarray(found @ found.T)
  np.testing.assert_allclose(whole / whole[0, 0], np.eye(2), atol=1e-3)


@pytest.mark.parametrize("size", [2, 17, 64])
def test_elimination_is_the_inverse_of_a_root(size):
  _, codes = turned(*np.linspace(0.3, 1.0, size))
  covariance = np.cov(codes.T.astype("f8"), bias=True)
  root = whitening._inverse_root(jnp.asarray(covariance, jnp.float32))
  expected = np.linalg.inv(np.linalg.cholesky(covariance)).T
  np.testing.assert_allclose(root, expected, rtol=1e-3, atol=1e-3)


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


@pytest.mark.parametrize("num", [60, 2000])  # fewer codes than directions
def test_principal_directions_hold_what_varies_most(num):
  rng = np.random.default_rng(3)
  hidden = rng.normal(size=(num, 8)) * 10.0 ** np.arange(2, -2, -0.5)
  mixed = np.linalg.qr(rng.normal(size=(1200, 8)))[0]
  codes = (hidden @ mixed.T + 1e-3 * rng.normal(size=(num, 1200))).astype("f4")
  codes -= codes.mean(0)
  weights = jnp.full(num, 1 / num)
  turn = whitening.principal(jax.random.key(0), jnp.asarray(codes), weights, 32)
  assert turn.shape == (1200, 32)
  # Each is divided by its size, to which a hundredth of the mean is added.
  variance = np.linalg.svd(codes / np.sqrt(num), compute_uv=False)[:32] ** 2
  expected = variance / (variance + 0.01 * variance.mean())
  found = np.linalg.svd(codes @ turn / np.sqrt(num), compute_uv=False) ** 2
  np.testing.assert_allclose(found, expected, atol=0.01)


@pytest.mark.parametrize("rank", [0, 1, 2])
def test_principal_directions_of_a_collapsed_code_are_finite(rank):
  rng = np.random.default_rng(4)
  codes = rng.normal(size=(300, rank)) @ rng.normal(size=(rank, 1100))
  codes = (codes * 1e3 + 1e-4 * rng.normal(size=(300, 1100))).astype("f4")
  codes -= codes.mean(0)
  weights = jnp.full(300, 1 / 300)
  turn = whitening.principal(
    jax.random.key(0), jnp.asarray(codes), weights, 256
  )
  seen = codes @ turn
  assert np.all(np.isfinite(seen)) and np.linalg.norm(np.cov(seen.T), 2) < 1.1


@pytest.mark.parametrize("known", [30, 250])
def test_of_fewer_samples_than_directions_none_is_rounding(known):
  rng = np.random.default_rng(6)
  codes = rng.normal(size=(300, 1100)).astype("f4")
  weights = (np.arange(300) < known).astype("f4") / known
  codes -= weights @ codes

  def turn(codes):
    return np.asarray(
      whitening.principal(jax.random.key(0), codes, jnp.asarray(weights), 256)
    )

  found = turn(codes)
  assert np.sum(np.any(found != 0, axis=0)) == known - 1
  # The last digits of codes say nothing about new ones.
  again = turn(codes * (1 + 1e-7 * rng.normal(size=codes.shape)).astype("f4"))
  new = rng.normal(size=(50, 1100))
  np.testing.assert_allclose(new @ again, new @ found, atol=1e-4)


def test_directions_that_drown_all_others_are_brought_to_their_size():
  rng = np.random.default_rng(5)
  mixed = np.linalg.qr(rng.normal(size=(600, 3)))[0]
  large = rng.normal(size=(300, 3)) * (1e4, 1e3, 1e2)
  rows = (large @ mixed.T + 0.1 * rng.normal(size=(300, 600))).astype("f4")
  levels = whitening.level(jnp.asarray(rows))
  seen = np.asarray(whitening.levelled(jnp.asarray(rows), levels))
  before, after = (np.linalg.svd(x, compute_uv=False) for x in (rows, seen))
  assert before[0] > 1e4 * before[3] and after[0] < 3 * after[20]
  # Those that are as small as the others keep half of their size or more.
  share = after[:200] / before[3:203]
  assert np.all((share > 0.5) & (share < 1.5))
  turn = rng.normal(size=(600, 2)).astype("f4")
  np.testing.assert_allclose(
    whitening.product(rows, whitening.of_levelled(levels, turn)),
    seen @ turn,
    atol=0.05 * np.std(seen @ turn),
  )


@pytest.mark.parametrize("used", [300, 200])  # samples: none drown, and few
def test_codes_of_which_nothing_is_drowned_are_not_levelled(used):
  rng = np.random.default_rng(6)
  rows = rng.normal(size=(300, 600)) * np.linspace(0.01, 5, 600)
  if used == 200:  # fewer than four for each direction
    rows += 1e4 * rng.normal(size=(300, 1))
  rows = (rows * (np.arange(300)[:, None] < used)).astype("f4")
  levels = whitening.level(jnp.asarray(rows))
  np.testing.assert_array_equal(whitening.levelled(rows, levels), rows)
