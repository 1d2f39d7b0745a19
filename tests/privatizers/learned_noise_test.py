import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from hybridpriv.privatizers import learning, noise, privatizer, project


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
  feature = 5 + jax.random.normal(key, (400, 3))
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
