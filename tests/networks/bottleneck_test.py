"""The two stages of DPFE; `staged_test` has what holds for every network."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hybridpriv.networks import bottleneck, sensor, staged


def narrow(after="conv3", k=3, **knobs):
  return bottleneck.dpfe(
    inner="sensor.sensor",
    after=after,
    k=k,
    num_classes=2,
    width=1 / 16,
    **knobs,
  )


@functools.cache
def example():
  """Returns inputs, and variables of the network without a waist."""
  x = jnp.asarray(np.random.default_rng(0).normal(size=(50, 32, 2)), "f4")
  inner = sensor.sensor(num_classes=2, width=1 / 16)
  return (
    x,
    inner,
    jax.jit(inner.init, static_argnames="train")(
      jax.random.key(0), x[:1], train=False
    ),
  )


def pca(feature, k):
  flat = np.asarray(feature, "f8").reshape(len(feature), -1)
  mean = flat.mean(0)
  _, scale, rows = np.linalg.svd(flat - mean, full_matrices=False)
  variances = scale**2 / (len(flat) - 1)
  return mean.reshape(feature.shape[1:]), rows[:k], variances[:k]


def test_from_a_projection_the_stages_are_a_standardised_pca():
  x, inner, variables = example()
  feature, _ = inner.apply(variables, x, train=False, upto="conv3")
  mean, components, variances = pca(feature, 3)
  start = bottleneck.from_projection(mean, components, variances)
  network = narrow()
  code, _ = network.apply(
    start, feature, train=False, after="conv3", upto="private"
  )
  flat = np.asarray(feature, "f8").reshape(50, -1)
  projected = (flat - mean.ravel()) @ components.T
  expected = projected / np.sqrt(variances)
  np.testing.assert_allclose(code, expected, rtol=1e-2, atol=1e-3)
  np.testing.assert_allclose(np.std(code, axis=0, ddof=1), 1, rtol=1e-2)
  restored, _ = network.apply(
    start, code, train=False, after="private", upto="restore"
  )
  assert restored.shape == feature.shape
  np.testing.assert_allclose(
    np.reshape(restored, (50, -1)),
    projected @ components + mean.ravel(),
    rtol=1e-4,
    atol=1e-5,
  )


def test_with_all_components_the_network_answers_as_without_the_waist():
  x, inner, variables = example()
  answer, captured = inner.apply(variables, x, train=False, capture=("conv3",))
  feature = captured["conv3"]
  size = int(np.prod(feature.shape[1:]))
  start = bottleneck.from_projection(*pca(feature, size))
  network = narrow(k=size)
  merged = {
    "params": variables["params"] | start["params"],
    "batch_stats": start["batch_stats"],
  }
  found, _ = network.apply(merged, x, train=False)
  np.testing.assert_allclose(found, answer, rtol=1e-3, atol=1e-4)
  assert np.ptp(answer) > 0.1


def test_a_projection_has_the_structure_of_drawn_variables():
  x, _, _ = example()
  network = narrow()
  drawn = jax.eval_shape(
    functools.partial(network.init, train=False), jax.random.key(0), x
  )
  feature = np.zeros((8, 4))
  start = bottleneck.from_projection(feature, np.zeros((3, 32)), np.ones(3))
  for collection, stages in start.items():
    for stage, given in stages.items():
      own = drawn[collection][stage]
      assert jax.tree.structure(given) == jax.tree.structure(own)
      jax.tree.map(
        lambda a, b: np.testing.assert_equal(a.shape, b.shape), given, own
      )
  # Nothing else is in them but the stages of the network.
  assert set(drawn["params"]) < set(network.stage_names())


def test_in_training_the_private_feature_is_standardised_over_the_batch():
  x, _, _ = example()
  network = narrow()
  variables = jax.jit(network.init, static_argnames="train")(
    jax.random.key(1), x[:1], train=False
  )
  (code, _), changed = network.apply(
    variables, x, train=True, upto="private", mutable=["batch_stats"]
  )
  np.testing.assert_allclose(np.mean(code, axis=0), 0, atol=1e-5)
  np.testing.assert_allclose(np.std(code, axis=0), 1, rtol=0.05)
  # Neither scale nor bias: what a loss pushes apart cannot just be blown up.
  norm = variables["params"]["private"]["projection"]
  assert set(norm) == {"shift", "dense"}
  old, new = (
    v["batch_stats"]["private"]["projection"]["norm"]["var"]
    for v in (variables, changed)
  )
  np.testing.assert_allclose(old, 1)
  clean, _ = network.apply(
    variables, x, train=False, upto="private"
  )  # by the first statistics: mean 0, variance 1
  np.testing.assert_allclose(new, 0.9 + 0.1 * np.var(clean, axis=0), rtol=1e-3)


def test_a_variational_waist_keeps_its_statistics_and_may_shrink():
  x, _, _ = example()
  knobs = {"inner": "sensor.sensor", "after": "conv3", "k": 3, "width": 1 / 16}
  network = bottleneck.variational(num_classes=2, **knobs)
  dpfe = bottleneck.dpfe(num_classes=2, **knobs)
  init = jax.jit(dpfe.init, static_argnames="train")
  variables = init(jax.random.key(1), x[:1], train=False)
  same = jax.eval_shape(
    functools.partial(network.init, train=False), jax.random.key(1), x
  )
  assert jax.tree.structure(variables) == jax.tree.structure(same)

  def spread(own, factor):
    dense = variables["params"]["private"]["projection"]["dense"]["kernel"]
    changed = jax.tree.map(lambda leaf: leaf, variables)
    changed["params"]["private"]["projection"]["dense"]["kernel"] = (
      factor * dense
    )
    (code, _), after = own.apply(
      changed, x, train=True, upto="private", mutable=["batch_stats"]
    )
    return np.std(code), after["batch_stats"]["private"]

  # Standardised over the batch, a smaller projection gives the same code.
  np.testing.assert_allclose(spread(dpfe, 0.1)[0], spread(dpfe, 1.0)[0], 1e-2)
  whole, stays = spread(network, 1.0)
  np.testing.assert_allclose(spread(network, 0.1)[0], 0.1 * whole, rtol=1e-3)
  jax.tree.map(
    np.testing.assert_array_equal, stays, variables["batch_stats"]["private"]
  )


def test_a_variational_waist_sends_in_evaluation_what_it_trained_on():
  x, inner, variables = example()
  feature, _ = inner.apply(variables, x, train=False, upto="conv3")
  start = bottleneck.from_projection(*pca(feature, 3))
  network = bottleneck.variational(
    inner="sensor.sensor", after="conv3", k=3, width=1 / 16, num_classes=2
  )
  run = functools.partial(
    network.apply, start, feature, after="conv3", upto="private"
  )
  (trained, _), _ = run(train=True, mutable=["batch_stats"])
  np.testing.assert_array_equal(trained, run(train=False)[0])
  np.testing.assert_allclose(np.std(trained, axis=0, ddof=1), 1, rtol=1e-2)


def test_the_recognizer_keeps_its_stages_and_variables():
  network = bottleneck.dpfe(
    inner="dlib.resnet29_dlib", after="block13", num_classes=2
  )
  names = network.stage_names()
  at = names.index("block13")
  assert names[at : at + 4] == ("block13", "private", "restore", "block14")
  x = jax.ShapeDtypeStruct((1, 150, 150, 3), jnp.float32)
  init = functools.partial(network.init, train=False)
  inner = functools.partial(network.inner.init, train=False)
  ours, theirs = (
    jax.eval_shape(run, jax.random.key(0), x)["params"] for run in (init, inner)
  )
  assert {n: ours[n] for n in theirs} == theirs
  assert set(ours) - set(theirs) == {"private", "restore"}
  client, cloud = staged.split_variables({"params": ours}, network, "private")
  assert "private" in client["params"] and "restore" in cloud["params"]
  assert jax.tree.leaves(ours["private"])[0].shape[-1] == 10


def test_a_waist_that_cannot_be_is_refused():
  with pytest.raises(ValueError, match="'conv9'.*conv1, pool1"):
    narrow(after="conv9")
  with pytest.raises(ValueError, match="'fc2'.*before its last"):
    narrow(after="fc2")
  with pytest.raises(ValueError, match="k=0"):
    narrow(k=0)
  with pytest.raises(ValueError, match="'sensor.resnet'.*'module.function'"):
    bottleneck.dpfe(inner="sensor.resnet", after="conv1", num_classes=2)
  with pytest.raises(ValueError, match="sensor.sensor.*depth.*It takes"):
    narrow(depth=3)
  with pytest.raises(ValueError, match="'private', 'restore'.*already"):
    bottleneck.Bottleneck(inner=narrow(), after="conv1", num_classes=2)
  with pytest.raises(ValueError, match="initialise the whole network"):
    narrow().init(
      jax.random.key(0), jnp.ones((1, 3)), train=False, after="private"
    )
