import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.privatizers import noise


def codes(num=400, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.array([[3.0, 0, 0], [1.0, 0.5, 0], [0.2, -0.3, 0.1]])
  return (5 + rng.normal(size=(num, 3)) @ mix).astype("f4")


@pytest.mark.parametrize("relative", [True, False])
def test_isotropic_noise_has_the_stated_scale(key, relative):
  feature = codes()
  privatizer = noise.isotropic(sigma=0.5, relative=relative)
  state = privatizer.fit(key, {"features": feature})
  unit = np.sqrt(feature.var(axis=0, ddof=1).mean()) if relative else 1.0
  assert float(state["std"]) == pytest.approx(0.5 * unit, rel=1e-4)
  zeros = jnp.zeros((20_000, 3))
  drawn = np.asarray(privatizer.encode(state, key, zeros))
  expected = float(state["std"]) ** 2 * np.eye(3)
  # Five standard errors of a variance of 20,000 draws: 5 sqrt(2 / 20000).
  np.testing.assert_allclose(
    np.cov(drawn, rowvar=False), expected, atol=0.05 * expected[0, 0]
  )
  assert np.abs(drawn.mean(axis=0)).max() < 5 * state["std"] / np.sqrt(20_000)


def test_covariance_noise_has_the_shape_of_the_codes(key):
  feature = codes()
  privatizer = noise.covariance(scale=0.25)
  state = privatizer.fit(key, {"features": feature})
  expected = 0.25 * np.cov(feature, rowvar=False)
  np.testing.assert_allclose(
    state["factor"] @ state["factor"].T, expected, rtol=1e-4, atol=1e-5
  )
  drawn = privatizer.encode(state, key, jnp.zeros((20_000, 3)))
  # Relative to the scale of each pair of components, as standard errors are.
  scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
  np.testing.assert_allclose(
    np.cov(np.asarray(drawn), rowvar=False) / scale,
    expected / scale,
    atol=0.05,
  )


def test_directions_without_variance_get_no_covariance_noise(key):
  feature = codes()
  feature[:, 1] = 2.0
  privatizer = noise.covariance(scale=1.0)
  state = privatizer.fit(key, {"features": feature})
  code = privatizer.encode(state, key, feature)
  np.testing.assert_allclose(code[:, 1], 2.0, atol=1e-4)


@pytest.mark.parametrize(
  "privatizer", [noise.isotropic(sigma=1.0), noise.covariance(scale=1.0)]
)
def test_noise_follows_its_key_and_keeps_the_shape(key, privatizer):
  feature = codes(12).reshape(6, 2, 3)
  state = privatizer.fit(key, {"features": feature})
  draw = jax.jit(privatizer.encode)
  one, two = (draw(state, jax.random.key(seed), feature) for seed in (1, 2))
  again = draw(state, jax.random.key(1), feature)
  assert one.shape == feature.shape
  np.testing.assert_array_equal(one, again)
  assert np.all(one != two)
  # Rows of a batch do not share their noise.
  assert np.all((one - feature)[0] != (one - feature)[1])
  np.testing.assert_array_equal(privatizer.decode(state, one), one)
  assert privatizer.is_random
  assert privatizer.radius(state, 1.0) == np.inf


def test_half_precision_codes_get_float32_noise(key):
  privatizer = noise.isotropic(sigma=1.0, relative=False)
  state = privatizer.fit(key, {})
  code = privatizer.encode(state, key, jnp.zeros((4, 2), jnp.bfloat16))
  assert code.dtype == jnp.float32


def test_no_noise_changes_nothing(key):
  feature = codes()
  for privatizer in (noise.isotropic(sigma=0), noise.covariance(scale=0)):
    state = privatizer.fit(key, {"features": feature})
    np.testing.assert_array_equal(
      privatizer.encode(state, key, feature), feature
    )


def test_a_grid_of_noise_levels_vmaps(key):
  feature = codes()
  privatizer = noise.isotropic(sigma=1.0)
  state = privatizer.fit(key, {"features": feature})
  grid = {"std": state["std"] * jnp.asarray([0.0, 1.0, 2.0])}
  drawn = jax.vmap(privatizer.encode, (0, None, None))(grid, key, feature)
  np.testing.assert_array_equal(drawn[0], feature)
  np.testing.assert_allclose(
    drawn[2] - feature, 2 * (drawn[1] - feature), rtol=1e-4, atol=1e-5
  )


def test_the_relative_unit_does_not_depend_on_the_scale_of_the_codes(key):
  privatizer = noise.isotropic(sigma=1.0)
  one, ten = (
    privatizer.fit(key, {"features": scale * codes()})["std"]
    for scale in (1, 10)
  )
  assert float(ten / one) == pytest.approx(10, rel=1e-4)


def test_covariance_noise_of_large_codes_is_refused(key):
  features = np.zeros((2, 17, 241), "f4")
  with pytest.raises(ValueError, match=r"4097 values.*4096.*project\.pca"):
    noise.covariance(scale=1.0).fit(key, {"features": features})


@pytest.mark.parametrize("value", [-1.0, np.nan, np.inf])
def test_levels_that_are_no_levels_are_refused(value):
  with pytest.raises(ValueError, match="sigma=.*finite number, 0 or more"):
    noise.isotropic(sigma=value)
  with pytest.raises(ValueError, match="scale=.*finite number, 0 or more"):
    noise.covariance(scale=value)
