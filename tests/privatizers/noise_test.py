import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybridpriv.privatizers import noise


def codes(num=400, seed=0):
  rng = np.random.default_rng(seed)
  mix = np.array([[3.0, 0, 0], [1.0, 0.5, 0], [0.2, -0.3, 0.1]])
  return (5 + rng.normal(size=(num, 3)) @ mix).astype("f4")


@pytest.mark.parametrize("relative", [True, False])
def test_isotropic_noise_has_the_stated_scale(key, relative):
  feature = codes()
  own = noise.isotropic(sigma=0.5, relative=relative)
  state = own.fit(key, {"features": feature})
  unit = np.sqrt(feature.var(axis=0, ddof=1).mean()) if relative else 1.0
  assert float(state["std"]) == pytest.approx(0.5 * unit, rel=1e-4)
  zeros = jnp.zeros((20_000, 3))
  drawn = np.asarray(own.encode(state, key, zeros))
  expected = float(state["std"]) ** 2 * np.eye(3)
  # Five standard errors of a variance of 20,000 draws: 5 sqrt(2 / 20000).
  np.testing.assert_allclose(
    np.cov(drawn, rowvar=False), expected, atol=0.05 * expected[0, 0]
  )
  assert np.abs(drawn.mean(axis=0)).max() < 5 * state["std"] / np.sqrt(20_000)


def test_covariance_noise_has_the_shape_of_the_codes(key):
  feature = codes()
  own = noise.covariance(scale=0.25)
  state = own.fit(key, {"features": feature})
  expected = 0.25 * np.cov(feature, rowvar=False)
  np.testing.assert_allclose(
    state["factor"] @ state["factor"].T, expected, rtol=1e-4, atol=1e-5
  )
  drawn = own.encode(state, key, jnp.zeros((20_000, 3)))
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
  own = noise.covariance(scale=1.0)
  state = own.fit(key, {"features": feature})
  code = own.encode(state, key, feature)
  np.testing.assert_allclose(code[:, 1], 2.0, atol=1e-4)


@pytest.mark.parametrize(
  "own",
  [
    noise.isotropic(sigma=1.0),
    noise.covariance(scale=1.0),
    noise.pac(budget=1.0),
  ],
)
def test_noise_follows_its_key_and_keeps_the_shape(key, own):
  feature = codes(24).reshape(12, 2, 3)
  state = own.fit(key, {"features": feature})
  draw = jax.jit(own.encode)
  one, two = (draw(state, jax.random.key(seed), feature) for seed in (1, 2))
  again = draw(state, jax.random.key(1), feature)
  assert one.shape == feature.shape
  np.testing.assert_array_equal(one, again)
  assert np.all(one != two)
  # Rows of a batch do not share their noise.
  assert np.all((one - feature)[0] != (one - feature)[1])
  np.testing.assert_array_equal(own.decode(state, one), one)
  assert own.is_random
  assert own.radius(state, 1.0) == np.inf


def test_half_precision_codes_get_float32_noise(key):
  own = noise.isotropic(sigma=1.0, relative=False)
  state = own.fit(key, {})
  code = own.encode(state, key, jnp.zeros((4, 2), jnp.bfloat16))
  assert code.dtype == jnp.float32


def test_no_noise_changes_nothing(key):
  feature = codes()
  for own in (noise.isotropic(sigma=0), noise.covariance(scale=0)):
    state = own.fit(key, {"features": feature})
    np.testing.assert_array_equal(own.encode(state, key, feature), feature)


def test_a_grid_of_noise_levels_vmaps(key):
  feature = codes()
  own = noise.isotropic(sigma=1.0)
  state = own.fit(key, {"features": feature})
  grid = {"std": state["std"] * jnp.asarray([0.0, 1.0, 2.0])}
  drawn = jax.vmap(own.encode, (0, None, None))(grid, key, feature)
  np.testing.assert_array_equal(drawn[0], feature)
  np.testing.assert_allclose(
    drawn[2] - feature, 2 * (drawn[1] - feature), rtol=1e-4, atol=1e-5
  )


def test_the_relative_unit_does_not_depend_on_the_scale_of_the_codes(key):
  own = noise.isotropic(sigma=1.0)
  one, ten = (
    own.fit(key, {"features": scale * codes()})["std"] for scale in (1, 10)
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


def achieved(state, feature):
  """Information in nats: ln det of clean and noisy, by NumPy's determinants."""
  factor = np.asarray(state["factor"], "f8")
  law = factor @ factor.T
  clean = np.cov(feature.reshape(len(feature), -1).T.astype("f8"))
  return 0.5 * (np.linalg.slogdet(clean + law)[1] - np.linalg.slogdet(law)[1])


def isotropic_trace(feature, budget):
  """Trace of the isotropic noise that spends a budget, by halving."""
  values = np.linalg.eigvalsh(np.cov(feature.T.astype("f8")))
  low, high = 1e-12, 1e12
  for _ in range(200):
    middle = np.sqrt(low * high)
    told = 0.5 * np.log1p(values / middle).sum()
    low, high = (middle, high) if told > budget else (low, middle)
  return len(values) * high


@pytest.mark.parametrize("budget", [1e-4, 0.1, 1.0, 8.0])
def test_the_budget_is_spent_with_the_least_noise(key, budget):
  feature = codes()
  state = noise.pac(budget=budget).fit(key, {"features": feature})
  assert achieved(state, feature) == pytest.approx(budget, rel=2e-3)
  trace = float(np.sum(np.asarray(state["factor"], "f8") ** 2))
  assert trace < isotropic_trace(feature, budget)
  # Nor less than any other that spends it: exchanges between directions.
  values = np.linalg.eigvalsh(np.cov(feature.T.astype("f8")))
  levels = noise._least_noise(values, budget)
  slope = values / (levels * (levels + values))  # of information, by level
  np.testing.assert_allclose(slope, slope[0], rtol=1e-6)
  # The published noise is louder, by nothing where the budget is small.
  published = np.sqrt(values).sum() ** 2 / (2 * budget)
  assert trace < published
  if budget < 1e-3:
    assert trace == pytest.approx(published, rel=1e-3)


def test_no_budget_spends_more_than_another_that_is_larger(key):
  feature = codes()
  traces = [
    float(
      np.sum(noise.pac(budget=b).fit(key, {"features": feature})["factor"] ** 2)
    )
    for b in (0.01, 0.1, 1.0, 10.0, 100.0, 1e4)
  ]
  assert np.all(np.diff(traces) <= 0) and traces[-1] < 1e-9


def test_budgeted_noise_has_the_stated_law(key):
  feature = codes()
  own = noise.pac(budget=0.5)
  state = own.fit(key, {"features": feature})
  drawn = own.encode(state, key, jnp.zeros((20_000, 3)))
  expected = np.asarray(state["factor"] @ state["factor"].T)
  scale = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
  np.testing.assert_allclose(
    np.cov(np.asarray(drawn), rowvar=False) / scale,
    expected / scale,
    atol=0.05,
  )


def test_directions_without_variance_get_budgeted_noise_too(key):
  feature = codes()
  feature[:, 1] = 2.0
  state = noise.pac(budget=1.0).fit(key, {"features": feature})
  law = state["factor"] @ state["factor"].T
  assert np.linalg.eigvalsh(law)[0] > 1e-5 * np.trace(law)


def test_a_budget_hides_what_is_faint_first(key, toy, told):
  """What anybody reaches is known: two Gaussians, and noise along each."""
  own, context = toy(num=40_000, size=2, gap=(4.0, 0.4), spread=(1.0, 0.1))
  assert told(own.features, own.labels["secret"]) > 0.99
  noisy = noise.pac(budget=1.0)
  state = noisy.fit(key, context)
  code = noisy.encode(state, key, own.features)
  law = np.asarray(state["factor"] @ state["factor"].T, "f8")
  found = {}
  for at, (name, gap, spread) in enumerate(
    [("answer", 4.0, 1.0), ("secret", 0.4, 0.1)]
  ):
    level = own.basis[at] @ law @ own.basis[at]
    found[name] = told(code, own.labels[name])
    best = special.ndtr(gap / np.sqrt(spread**2 + level))
    assert found[name] == pytest.approx(best, abs=0.01)
  assert found["answer"] > 0.9 and found["secret"] < 0.8


def test_budgets_that_are_none_are_refused(key):
  for budget in (0.0, -1.0, np.inf, np.nan):
    with pytest.raises(ValueError, match="budget=.*finite number above 0"):
      noise.pac(budget=budget)
  own = noise.pac(budget=1.0)
  with pytest.raises(ValueError, match=r"3 codes of 3 values.*project\.pca"):
    own.fit(key, {"features": codes(3)})
  with pytest.raises(ValueError, match="all codes of task-train are equal"):
    own.fit(key, {"features": np.ones((9, 3), "f4")})
  with pytest.raises(ValueError, match=r"noise\.pac got codes of 4097 values"):
    own.fit(key, {"features": np.zeros((2, 17, 241), "f4")})
