import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybridpriv.privatizers import learning, noise, privatizer, project


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


def test_learned_noise_is_loud_where_the_answer_does_not_care(key, linear):
  """Levels are in inverse proportion to weights, and at the top without."""
  rng = np.random.default_rng(0)
  weights = np.asarray([2.0, 1.0, 0.5, 0, 0, 0], "f4")
  feature = rng.normal(size=(4000, 6)).astype("f4")
  # Labels as the service's answer has them, e^(2 a) to 1.
  answer = rng.random(4000) < special.expit(2 * feature @ weights)
  state = noise.learned(weight=0.1).fit(
    key,
    {
      "features": feature,
      "labels": {"answer": answer.astype(int)},
      "desired": ("answer",),
      "cloud": linear(weights),
    },
  )
  std = np.asarray(state["std"], "f8")
  np.testing.assert_allclose(std[3:], 100, rtol=0.02)  # of a spread of 1
  assert std[:3].max() < 0.5
  # Stationary: w^2 b^2 E[curvature] is the same for all that matter.
  np.testing.assert_allclose(std[:3] * weights[:3], std[0] * 2, rtol=0.1)
  value = feature @ weights + np.sqrt(
    np.sum((std * weights) ** 2)
  ) * rng.normal(size=4000)
  slope = special.expit(2 * value) * special.expit(-2 * value)
  rewards = 4 * (std * weights)[:3] ** 2 * slope.mean()
  np.testing.assert_allclose(rewards, 0.1 / 6, rtol=0.2)
  # Nothing to gain from a shift where the service is right as it is.
  assert np.abs(state["shift"][:3]).max() < 0.2


def test_a_shift_is_learned_where_the_service_is_off(key, linear):
  """The device sends the code without it, and the cloud adds it."""
  rng = np.random.default_rng(0)
  feature = rng.normal(size=(2000, 2)).astype("f4")
  answer = (rng.random(2000) < special.expit(4 * feature[:, 0])).astype(int)
  own = noise.learned(weight=1e-3)
  state = own.fit(
    key,
    {
      "features": feature - np.asarray([[1.5, 0]], "f4"),
      "labels": {"answer": answer},
      "desired": ("answer",),
      "cloud": linear(np.asarray([2.0, 0], "f4")),
    },
  )
  assert float(state["shift"][0]) == pytest.approx(1.5, abs=0.1)
  code = own.encode(state, key, feature)
  drawn = (code - feature) / state["std"][None]
  assert np.abs(drawn.mean(axis=0)).max() < 0.1
  np.testing.assert_allclose(
    own.decode(state, code) - code,
    jnp.broadcast_to(state["shift"], (2000, 2)),
    atol=1e-3,
  )


def test_louder_noise_is_learned_for_a_larger_weight(key, toy):
  _, context = toy(num=1000)
  levels = [
    noise.learned(weight=w, num_steps=300).fit(key, context)["std"]
    for w in (0.0, 0.01, 1.0)
  ]
  total = [float(np.log(np.maximum(s, 1e-9)).sum()) for s in levels]
  assert total[0] < total[1] < total[2]


def test_no_weight_is_no_noise(key):
  own = noise.learned(weight=0)
  feature = codes()
  state = own.fit(key, {"features": feature})  # and nothing else is asked for
  code = own.encode(state, key, feature)
  np.testing.assert_array_equal(code, feature)
  np.testing.assert_array_equal(own.decode(state, code), feature)


def test_learned_noise_hides_a_secret_and_keeps_the_answer(key, toy, told):
  own, context = toy(turned=False)
  assert told(own.features, own.labels["secret"]) > 0.96
  noisy = noise.learned(weight=0.02)
  state = noisy.fit(key, context)
  code = noisy.encode(state, key, own.features)
  assert told(code, own.labels["secret"]) < 0.56
  assert told(code, own.labels["answer"]) > 0.93


def test_behind_a_projection_levels_are_of_its_components(key, toy):
  """The service reads a mix of two components; the third is free."""
  own, context = toy(num=2000, size=3, gap=(2.0, 6.0))
  chained = privatizer.chain(
    project.pca(k=3), noise.learned(weight=0.05, num_steps=300)
  )
  state = chained.fit(key, context)
  reads = np.abs(np.asarray(state[0]["components"]) @ own.basis[0])
  order = np.argsort(reads)
  std = np.asarray(state[1]["std"])
  np.testing.assert_array_equal(np.argsort(-std), order)
  assert (
    chained.decode(state, chained.encode(state, key, own.features)).shape
    == own.features.shape
  )


def test_learned_levels_stack_and_vmap(key, toy):
  own, context = toy(num=300)
  grid = [noise.learned(weight=w, num_steps=20) for w in (0.0, 0.1)]
  states = [one.fit(key, context) for one in grid]
  assert privatizer.program(grid[0]) == privatizer.program(grid[1])
  stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *states)
  drawn = jax.vmap(grid[0].encode, (0, None, None))(stacked, key, own.features)
  np.testing.assert_array_equal(drawn[0], own.features)
  alone = grid[1].encode(states[1], key, own.features)
  np.testing.assert_allclose(drawn[1], alone, rtol=1e-5, atol=1e-5)


def test_learned_levels_are_in_units_of_the_code(key, toy, linear):
  own, context = toy(num=300)
  weights = np.asarray(context["cloud"].args[0])
  larger = {
    **context,
    "features": 16 * own.features,
    "cloud": linear(weights / 16),
  }
  one, other = (
    noise.learned(weight=0.1, num_steps=60).fit(key, known)
    for known in (context, larger)
  )
  for name in ("std", "shift"):
    np.testing.assert_allclose(other[name], 16 * one[name], rtol=0.01)


def test_every_step_draws_noise_and_samples_afresh(key, monkeypatch, toy):
  _, context = toy(num=300)
  step, seen = learning._step, []

  def spy(params, slow, step_key, cloud, codes, labels, now):
    seen.append(
      (np.asarray(jax.random.key_data(step_key)).tobytes(), codes.tobytes())
    )
    return step(params, slow, step_key, cloud, codes, labels, now)

  monkeypatch.setattr(learning, "_step", spy)
  noise.learned(weight=0.1, num_steps=9).fit(key, context)
  assert [len(set(own)) for own in zip(*seen, strict=True)] == [9, 9]


def test_unknown_labels_teach_nothing(key, linear):
  """Nor does a wrong class in their place."""
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.normal(size=(50, 3)), jnp.float32)
  label = rng.integers(-1, 3, size=50)
  known = label >= 0
  law = special.log_softmax(np.asarray(logits)[known], axis=1)
  expected = -law[np.arange(known.sum()), label[known]].mean()
  found = learning._cross_entropy(logits, jnp.asarray(label))
  assert float(found) == pytest.approx(expected, rel=1e-5)
  assert float(learning._cross_entropy(logits, jnp.full(50, -1))) == 0.0


def test_what_nothing_can_be_learned_from_is_said(key, toy):
  _, context = toy(num=50)
  with pytest.raises(ValueError, match="weight=-1"):
    noise.learned(weight=-1)
  with pytest.raises(ValueError, match="num_steps=0"):
    noise.learned(weight=1, num_steps=0)
  own = noise.learned(weight=1.0)
  for change, message in (
    ({"cloud": None}, "needs 'cloud'"),
    ({"desired": ()}, "needs 'desired'"),
    ({"desired": ("secret",)}, r"The cloud answers \['answer'\], not 'secret'"),
    ({"labels": {"answer": np.full(50, 2)}}, "goes up to 2 .* 2 classes"),
    ({"labels": {"answer": np.full(50, -1)}}, "All labels 'answer' are unk"),
    ({"labels": {"answer": np.zeros(9, int)}}, r"shape \(9,\) for 50"),
    ({"features": np.ones((50, 8), "f4")}, "all codes of task-train are equal"),
  ):
    with pytest.raises(ValueError, match=message):
      own.fit(key, {**context, **change})
